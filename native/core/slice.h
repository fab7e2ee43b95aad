/* Bytes that somebody else owns. */
#ifndef TP_SLICE_H
#define TP_SLICE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *p;
    size_t n;
} tp_slice;
#endif
