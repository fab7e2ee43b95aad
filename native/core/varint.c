/* Owns varint decoding and encoding. */
#include "varint.h"

enum { PB_MAX = 10 };

int tp_varint_get(const uint8_t *p, size_t n, uint64_t *value) {
    uint64_t v = 0;
    for (int i = 0; i < TP_VARINT_MAX; i++) {
        if ((size_t)i == n)
            return 0;
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            if (i > 0 && p[i] == 0)
                return -1;
            *value = v;
            return i + 1;
        }
    }
    return -1;
}

int tp_varint_get_pb(const uint8_t *p, size_t n, uint64_t *value) {
    uint64_t v = 0;
    for (int i = 0; i < PB_MAX; i++) {
        if ((size_t)i == n)
            return 0;
        if (i == PB_MAX - 1 && p[i] > 1)
            return -1;
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            *value = v;
            return i + 1;
        }
    }
    return -1;
}

size_t tp_varint_put(uint8_t *p, uint64_t value) {
    size_t n = 0;
    while (value >= 0x80) {
        p[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    p[n++] = (uint8_t)value;
    return n;
}

size_t tp_varint_size(uint64_t value) {
    size_t n = 1;
    while (value >= 0x80) {
        value >>= 7;
        n++;
    }
    return n;
}
