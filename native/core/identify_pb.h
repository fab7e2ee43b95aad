/* The Identify message (libp2p specs, identify). */
#ifndef TP_IDENTIFY_PB_H
#define TP_IDENTIFY_PB_H
#include "circuit_pb.h"

enum { TP_IDENTIFY_MAX = 8192, TP_IDENTIFY_LISTS = 128 };

typedef struct {
    tp_slice key_pb, observed, protocol_version, agent;
    tp_slice listen[TP_IDENTIFY_LISTS];
    tp_slice protocols[TP_IDENTIFY_LISTS];
    tp_slice signed_record;
    int listen_n, protocols_n;
} tp_identify;

/* 0, or -1 when malformed. Entries beyond TP_IDENTIFY_LISTS are dropped. Slices point into p. */
int tp_identify_get(const uint8_t *p, size_t n, tp_identify *m);
/* The length, or -1 when out_max is too small. Empty slices are left out. */
int tp_identify_put(uint8_t *out, size_t out_max, const tp_identify *m);
#endif
