/* Owns the encoding of the Identify message. */
#include "identify_pb.h"
#include "pb.h"

#include <string.h>

enum { KEY = 1, LISTEN = 2, PROTOCOL = 3, OBSERVED = 4, PROTOCOL_VERSION = 5, AGENT = 6, SIGNED_RECORD = 8 };

static void add(tp_slice *list, int *n, tp_slice s) {
    if (*n < TP_IDENTIFY_LISTS)
        list[(*n)++] = s;
}

/* Where a singular field goes, NULL for any other number. */
static tp_slice *singular(tp_identify *m, uint32_t number) {
    switch (number) {
    case KEY:
        return &m->key_pb;
    case OBSERVED:
        return &m->observed;
    case PROTOCOL_VERSION:
        return &m->protocol_version;
    case AGENT:
        return &m->agent;
    case SIGNED_RECORD:
        return &m->signed_record;
    default:
        return NULL;
    }
}

int tp_identify_get(const uint8_t *p, size_t n, tp_identify *m) {
    tp_pb_reader r = tp_pb_read(p, n);
    tp_pb_field f;
    int more;
    memset(m, 0, sizeof *m);
    if (n > TP_IDENTIFY_MAX)
        return -1;
    while ((more = tp_pb_next(&r, &f)) > 0) {
        tp_slice *one = singular(m, f.number);
        if (one == NULL && f.number != LISTEN && f.number != PROTOCOL)
            continue;
        if (f.wire != TP_PB_BYTES)
            return -1;
        if (one != NULL)
            *one = f.bytes;
        else if (f.number == LISTEN)
            add(m->listen, &m->listen_n, f.bytes);
        else
            add(m->protocols, &m->protocols_n, f.bytes);
    }
    return more;
}

static void put(tp_pb_writer *w, uint32_t number, tp_slice s) {
    if (s.n != 0)
        tp_pb_put_bytes(w, number, s);
}

int tp_identify_put(uint8_t *out, size_t out_max, const tp_identify *m) {
    tp_pb_writer w = {out, out_max, 0};
    put(&w, KEY, m->key_pb);
    for (int i = 0; i < m->listen_n; i++)
        put(&w, LISTEN, m->listen[i]);
    for (int i = 0; i < m->protocols_n; i++)
        put(&w, PROTOCOL, m->protocols[i]);
    put(&w, OBSERVED, m->observed);
    put(&w, PROTOCOL_VERSION, m->protocol_version);
    put(&w, AGENT, m->agent);
    put(&w, SIGNED_RECORD, m->signed_record);
    return tp_pb_done(&w);
}
