/* Unsigned LEB128 varints, as multiformats limits them: at most 9 bytes, shortest form only.
 * Source: github.com/multiformats/unsigned-varint. */
#ifndef TP_VARINT_H
#define TP_VARINT_H
#include <stddef.h>
#include <stdint.h>

enum { TP_VARINT_MAX = 9 };

/* Reads one varint from p[0..n). Returns the bytes used, 0 if more bytes are needed, -1 if it is
 * longer than 9 bytes or not in shortest form. */
int tp_varint_get(const uint8_t *p, size_t n, uint64_t *value);
/* The same for protobuf tags and values, where up to 10 bytes and any form are valid. */
int tp_varint_get_pb(const uint8_t *p, size_t n, uint64_t *value);
/* Writes value (at most 10 bytes); returns the bytes written. */
size_t tp_varint_put(uint8_t *p, uint64_t value);
size_t tp_varint_size(uint64_t value);
#endif
