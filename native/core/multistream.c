/* Owns the framing of multistream-select lines. */
#include "multistream.h"
#include "varint.h"

#include <string.h>

int tp_multistream_get(const uint8_t *p, size_t n, const uint8_t **text, size_t *text_n) {
    size_t header = 1, length;
    if (n == 0)
        return 0;
    length = p[0];
    if (p[0] >= 0x80) {
        /* A valid length has two bytes at most. */
        if (n == 1)
            return 0;
        if (p[1] == 0 || p[1] >= 0x80)
            return -1;
        header = 2;
        length = (size_t)(p[0] & 0x7f) | (size_t)p[1] << 7;
    }
    if (length < 2 || length > TP_MULTISTREAM_LINE_MAX)
        return -1;
    if (n - header < length)
        return 0;
    if (p[header + length - 1] != '\n')
        return -1;
    *text = p + header;
    *text_n = length - 1;
    return (int)(header + length);
}

int tp_multistream_put(uint8_t *out, size_t out_max, const char *text, size_t text_n) {
    size_t length = text_n + 1;
    if (text_n >= TP_MULTISTREAM_LINE_MAX || out_max < tp_varint_size(length) + length)
        return -1;
    size_t header = tp_varint_put(out, length);
    memcpy(out + header, text, text_n);
    out[header + text_n] = '\n';
    return (int)(header + length);
}
