/* Lines of multistream-select 1.0: varint length, text, newline. */
#ifndef TP_MULTISTREAM_H
#define TP_MULTISTREAM_H
#include <stddef.h>
#include <stdint.h>

enum { TP_MULTISTREAM_LINE_MAX = 1024 };

/* Finds the line at the start of p[0..n). Returns the bytes it takes with length and newline, 0 if more are
 * needed, -1 if it is longer than TP_MULTISTREAM_LINE_MAX, empty, or does not end in a newline. *text
 * (without the newline) points into p. */
int tp_multistream_get(const uint8_t *p, size_t n, const uint8_t **text, size_t *text_n);
/* Writes one line; returns its length, -1 when out_max is too small. */
int tp_multistream_put(uint8_t *out, size_t out_max, const char *text, size_t text_n);
#endif
