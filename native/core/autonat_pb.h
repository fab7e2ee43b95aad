/* The messages of AutoNAT v2 (libp2p specs, autonat/autonat-v2.md). Messages are handled without the varint
 * length that precedes each on the wire. */
#ifndef TP_AUTONAT_PB_H
#define TP_AUTONAT_PB_H
#include "slice.h"

enum { TP_AUTONAT_MAX = 8192, TP_AUTONAT_ADDRS = 50, TP_AUTONAT_DATA_MAX = 4096, TP_DIAL_BACK_MAX = 1024 };
enum {
    TP_AUTONAT_NOTHING = 0,
    TP_AUTONAT_REQUEST = 1,
    TP_AUTONAT_RESPONSE = 2,
    TP_AUTONAT_DATA_REQUEST = 3,
    TP_AUTONAT_DATA = 4
};
enum {
    TP_AUTONAT_INTERNAL_ERROR = 0,
    TP_AUTONAT_REJECTED = 100,
    TP_AUTONAT_DIAL_REFUSED = 101,
    TP_AUTONAT_OK = 200
};
enum {
    TP_AUTONAT_UNUSED = 0,
    TP_AUTONAT_DIAL_ERROR = 100,
    TP_AUTONAT_DIAL_BACK_ERROR = 101,
    TP_AUTONAT_DIAL_OK = 200
};

/* One message of a dial-request stream; kind says which, and so which fields count. Slices point into the
 * input. */
typedef struct {
    int kind;
    tp_slice addrs[TP_AUTONAT_ADDRS]; /* REQUEST: multiaddrs, not yet checked; those beyond are dropped */
    int addrs_n;
    uint64_t nonce;  /* REQUEST */
    int status;      /* RESPONSE */
    int dial_status; /* RESPONSE */
    uint32_t index;  /* RESPONSE, DATA_REQUEST: which of the addresses; larger numbers become UINT32_MAX */
    uint64_t bytes;  /* DATA_REQUEST */
    tp_slice data;   /* DATA */
} tp_autonat_msg;

/* 0, or -1 when malformed or longer than TP_AUTONAT_MAX. The last of several kinds wins, as protobuf has it;
 * unknown fields are skipped, and a message with none of the kinds is NOTHING. */
int tp_autonat_get(const uint8_t *p, size_t n, tp_autonat_msg *m);
/* The length, or -1 when out_max is too small. */
int tp_autonat_put(uint8_t *out, size_t out_max, const tp_autonat_msg *m);

/* DialBack. 0, or -1 when malformed or longer than TP_DIAL_BACK_MAX; a nonce left out is 0. */
int tp_dial_back_get(const uint8_t *p, size_t n, uint64_t *nonce);
/* The length, or -1 when out_max is too small. */
int tp_dial_back_put(uint8_t *out, size_t out_max, uint64_t nonce);
#endif
