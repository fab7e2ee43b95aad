/* Protobuf's wire format, for the messages of this library alone: a reader over a piece of memory, and
 * a writer that counts before it writes. */
#ifndef TP_PB_H
#define TP_PB_H
#include "slice.h"

enum { TP_PB_VARINT = 0, TP_PB_FIXED64 = 1, TP_PB_BYTES = 2, TP_PB_FIXED32 = 5 };

typedef struct {
    const uint8_t *p, *end;
} tp_pb_reader;

typedef struct {
    uint32_t number;
    int wire;
    uint64_t value; /* of a varint */
    tp_slice bytes; /* of a length-delimited field */
} tp_pb_field;

static inline tp_pb_reader tp_pb_read(const uint8_t *p, size_t n) {
    return (tp_pb_reader){p, n == 0 ? p : p + n};
}

/* The next field: 1, 0 at the end, -1 when malformed. Groups count as malformed. */
int tp_pb_next(tp_pb_reader *r, tp_pb_field *f);
/* The value of an enum or int32 field, bounded to INT_MAX. */
int tp_pb_int(const tp_pb_field *f);
/* The value of a fixed64 field. */
uint64_t tp_pb_fixed64(const tp_pb_field *f);

/* Writes into out[0..max); what does not fit is counted and not written. */
typedef struct {
    uint8_t *out;
    size_t max, n;
} tp_pb_writer;

void tp_pb_put_raw(tp_pb_writer *w, const void *p, size_t n);
void tp_pb_put_varint(tp_pb_writer *w, uint32_t number, uint64_t value);
void tp_pb_put_fixed64(tp_pb_writer *w, uint32_t number, uint64_t value);
/* Tag and length of a length-delimited field whose n bytes are put next. */
void tp_pb_put_header(tp_pb_writer *w, uint32_t number, size_t n);
void tp_pb_put_bytes(tp_pb_writer *w, uint32_t number, tp_slice s);
/* Bytes that the field takes with its tag. */
size_t tp_pb_varint_size(uint32_t number, uint64_t value);
size_t tp_pb_bytes_size(uint32_t number, size_t n);
/* The length written, -1 when it did not fit. */
int tp_pb_done(const tp_pb_writer *w);
#endif
