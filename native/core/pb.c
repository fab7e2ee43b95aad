/* Owns the protobuf wire format. */
#include "pb.h"
#include "varint.h"

#include <limits.h>
#include <string.h>

enum { FIELD_NUMBER_MAX = (1 << 29) - 1 };

static int take(tp_pb_reader *r, size_t n, tp_slice *s) {
    if (n > (size_t)(r->end - r->p))
        return -1;
    *s = (tp_slice){r->p, n};
    r->p += n;
    return 1;
}

static int take_varint(tp_pb_reader *r, uint64_t *value) {
    int used = tp_varint_get_pb(r->p, (size_t)(r->end - r->p), value);
    if (used <= 0)
        return -1;
    r->p += used;
    return 1;
}

int tp_pb_next(tp_pb_reader *r, tp_pb_field *f) {
    uint64_t tag, length;
    if (r->p == r->end)
        return 0;
    if (take_varint(r, &tag) < 0 || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return -1;
    *f = (tp_pb_field){(uint32_t)(tag >> 3), (int)(tag & 7), 0, {NULL, 0}};
    switch (f->wire) {
    case TP_PB_VARINT:
        return take_varint(r, &f->value);
    case TP_PB_FIXED64:
        return take(r, 8, &f->bytes);
    case TP_PB_FIXED32:
        return take(r, 4, &f->bytes);
    case TP_PB_BYTES:
        if (take_varint(r, &length) < 0 || length > SIZE_MAX)
            return -1;
        return take(r, (size_t)length, &f->bytes);
    default:
        return -1;
    }
}

int tp_pb_int(const tp_pb_field *f) {
    return f->value > INT_MAX ? INT_MAX : (int)f->value;
}

uint64_t tp_pb_fixed64(const tp_pb_field *f) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | f->bytes.p[i];
    return value;
}

void tp_pb_put_raw(tp_pb_writer *w, const void *p, size_t n) {
    if (n != 0 && w->n <= w->max && n <= w->max - w->n)
        memcpy(w->out + w->n, p, n);
    w->n += n;
}

static void put_number(tp_pb_writer *w, uint64_t value) {
    uint8_t b[10];
    tp_pb_put_raw(w, b, tp_varint_put(b, value));
}

void tp_pb_put_varint(tp_pb_writer *w, uint32_t number, uint64_t value) {
    put_number(w, (uint64_t)number << 3 | TP_PB_VARINT);
    put_number(w, value);
}

void tp_pb_put_fixed64(tp_pb_writer *w, uint32_t number, uint64_t value) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(value >> 8 * i);
    put_number(w, (uint64_t)number << 3 | TP_PB_FIXED64);
    tp_pb_put_raw(w, b, sizeof b);
}

void tp_pb_put_header(tp_pb_writer *w, uint32_t number, size_t n) {
    put_number(w, (uint64_t)number << 3 | TP_PB_BYTES);
    put_number(w, n);
}

void tp_pb_put_bytes(tp_pb_writer *w, uint32_t number, tp_slice s) {
    tp_pb_put_header(w, number, s.n);
    tp_pb_put_raw(w, s.p, s.n);
}

size_t tp_pb_varint_size(uint32_t number, uint64_t value) {
    return tp_varint_size((uint64_t)number << 3) + tp_varint_size(value);
}

size_t tp_pb_bytes_size(uint32_t number, size_t n) {
    return tp_varint_size((uint64_t)number << 3) + tp_varint_size(n) + n;
}

int tp_pb_done(const tp_pb_writer *w) {
    return w->n <= w->max && w->n <= INT_MAX ? (int)w->n : -1;
}
