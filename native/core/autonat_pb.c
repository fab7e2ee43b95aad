/* Owns the encoding of AutoNAT v2's messages. */
#include "autonat_pb.h"
#include "pb.h"

#include <string.h>

enum { REQUEST_ADDRS = 1, REQUEST_NONCE = 2 };
enum { RESPONSE_STATUS = 1, RESPONSE_INDEX = 2, RESPONSE_DIAL_STATUS = 3 };
enum { DATA_INDEX = 1, DATA_BYTES = 2 }; /* of DialDataRequest */
enum { DATA = 1 };                       /* of DialDataResponse */
enum { DIAL_BACK_NONCE = 1 };

static uint32_t index_of(const tp_pb_field *f) {
    return f->value > UINT32_MAX ? UINT32_MAX : (uint32_t)f->value;
}

static int request_field(const tp_pb_field *f, tp_autonat_msg *m) {
    if (f->number == REQUEST_ADDRS) {
        if (f->wire != TP_PB_BYTES)
            return -1;
        if (m->addrs_n < TP_AUTONAT_ADDRS)
            m->addrs[m->addrs_n++] = f->bytes;
    } else if (f->number == REQUEST_NONCE) {
        if (f->wire != TP_PB_FIXED64)
            return -1;
        m->nonce = tp_pb_fixed64(f);
    }
    return 0;
}

static int response_field(const tp_pb_field *f, tp_autonat_msg *m) {
    if (f->number > RESPONSE_DIAL_STATUS)
        return 0;
    if (f->wire != TP_PB_VARINT)
        return -1;
    if (f->number == RESPONSE_STATUS)
        m->status = tp_pb_int(f);
    else if (f->number == RESPONSE_INDEX)
        m->index = index_of(f);
    else
        m->dial_status = tp_pb_int(f);
    return 0;
}

static int data_request_field(const tp_pb_field *f, tp_autonat_msg *m) {
    if (f->number > DATA_BYTES)
        return 0;
    if (f->wire != TP_PB_VARINT)
        return -1;
    if (f->number == DATA_INDEX)
        m->index = index_of(f);
    else
        m->bytes = f->value;
    return 0;
}

static int data_field(const tp_pb_field *f, tp_autonat_msg *m) {
    if (f->number != DATA)
        return 0;
    if (f->wire != TP_PB_BYTES)
        return -1;
    m->data = f->bytes;
    return 0;
}

static int kind_get(int kind, tp_slice s, tp_autonat_msg *m) {
    static int (*const fields[])(const tp_pb_field *, tp_autonat_msg *) = {
        [TP_AUTONAT_REQUEST] = request_field,
        [TP_AUTONAT_RESPONSE] = response_field,
        [TP_AUTONAT_DATA_REQUEST] = data_request_field,
        [TP_AUTONAT_DATA] = data_field,
    };
    tp_pb_reader r = tp_pb_read(s.p, s.n);
    tp_pb_field f;
    int more;
    memset(m, 0, sizeof *m);
    m->kind = kind;
    while ((more = tp_pb_next(&r, &f)) > 0)
        if (fields[kind](&f, m) != 0)
            return -1;
    return more;
}

int tp_autonat_get(const uint8_t *p, size_t n, tp_autonat_msg *m) {
    tp_pb_reader r = tp_pb_read(p, n);
    tp_pb_field f;
    int more;
    memset(m, 0, sizeof *m);
    if (n > TP_AUTONAT_MAX)
        return -1;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number > TP_AUTONAT_DATA)
            continue;
        if (f.wire != TP_PB_BYTES || kind_get((int)f.number, f.bytes, m) != 0)
            return -1;
    }
    return more;
}

/* A number as proto3 has it: left out when 0. */
static void put_number(tp_pb_writer *w, uint32_t number, uint64_t value) {
    if (value != 0)
        tp_pb_put_varint(w, number, value);
}

static void put_inner(tp_pb_writer *w, const tp_autonat_msg *m) {
    switch (m->kind) {
    case TP_AUTONAT_REQUEST:
        for (int i = 0; i < m->addrs_n; i++)
            tp_pb_put_bytes(w, REQUEST_ADDRS, m->addrs[i]);
        tp_pb_put_fixed64(w, REQUEST_NONCE, m->nonce);
        break;
    case TP_AUTONAT_RESPONSE:
        put_number(w, RESPONSE_STATUS, (uint64_t)m->status);
        put_number(w, RESPONSE_INDEX, m->index);
        put_number(w, RESPONSE_DIAL_STATUS, (uint64_t)m->dial_status);
        break;
    case TP_AUTONAT_DATA_REQUEST:
        put_number(w, DATA_INDEX, m->index);
        put_number(w, DATA_BYTES, m->bytes);
        break;
    case TP_AUTONAT_DATA:
        tp_pb_put_bytes(w, DATA, m->data);
        break;
    }
}

int tp_autonat_put(uint8_t *out, size_t out_max, const tp_autonat_msg *m) {
    tp_pb_writer count = {NULL, 0, 0}, w = {out, out_max, 0};
    if (m->kind == TP_AUTONAT_NOTHING)
        return 0;
    put_inner(&count, m);
    tp_pb_put_header(&w, (uint32_t)m->kind, count.n);
    put_inner(&w, m);
    return tp_pb_done(&w);
}

int tp_dial_back_get(const uint8_t *p, size_t n, uint64_t *nonce) {
    tp_pb_reader r = tp_pb_read(p, n);
    tp_pb_field f;
    int more;
    *nonce = 0;
    if (n > TP_DIAL_BACK_MAX)
        return -1;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        if (f.number != DIAL_BACK_NONCE)
            continue;
        if (f.wire != TP_PB_FIXED64)
            return -1;
        *nonce = tp_pb_fixed64(&f);
    }
    return more;
}

int tp_dial_back_put(uint8_t *out, size_t out_max, uint64_t nonce) {
    tp_pb_writer w = {out, out_max, 0};
    tp_pb_put_fixed64(&w, DIAL_BACK_NONCE, nonce);
    return tp_pb_done(&w);
}
