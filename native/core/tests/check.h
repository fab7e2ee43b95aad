/* What the tests are written with: CHECK ends the program with the place and the expression. Also
 * hexadecimal, and a random source that repeats. */
#ifndef TP_CHECK_H
#define TP_CHECK_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(expression)                                                                                    \
    do {                                                                                                     \
        if (!(expression)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #expression);         \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define RUN(test)                                                                                            \
    do {                                                                                                     \
        test();                                                                                              \
        printf("%s\n", #test);                                                                               \
    } while (0)

/* Decodes hexadecimal digits into out; returns the bytes. */
static inline size_t from_hex(const char *digits, uint8_t *out, size_t max) {
    size_t n = strlen(digits) / 2;
    CHECK(n <= max && strlen(digits) % 2 == 0);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        CHECK(sscanf(digits + 2 * i, "%2x", &byte) == 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

/* A copy that ends where its allocation ends, so that the sanitizer sees every read beyond it. Free it. */
static inline uint8_t *exact_copy(const uint8_t *p, size_t n) {
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    CHECK(copy != NULL);
    if (n != 0)
        memcpy(copy, p, n);
    return copy;
}

/* xorshift64*: the same numbers in every run. */
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dU;
}
#endif
