/* What every fuzz target is made of: libFuzzer's entry point, and EXPECT for what must hold whatever the
 * input is. Targets link with libFuzzer (clang) or with driver/standalone.c (any compiler). */
#ifndef TP_FUZZ_TARGET_H
#define TP_FUZZ_TARGET_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(expression)                                                                                   \
    do {                                                                                                     \
        if (!(expression)) {                                                                                 \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #expression);                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Does the piece s[0..n) lie within data[0..size)? An absent one does. */
static inline int is_within(const uint8_t *s, size_t n, const uint8_t *data, size_t size) {
    return n == 0 || (s >= data && n <= size && s <= data + (size - n));
}
#endif
