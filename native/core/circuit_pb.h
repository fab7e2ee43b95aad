/* The messages of circuit relay v2 (libp2p specs, relay/circuit-v2.md): HopMessage, StopMessage, voucher and
 * its signed envelope. Messages are handled without the varint length that precedes each on the wire. */
#ifndef TP_CIRCUIT_PB_H
#define TP_CIRCUIT_PB_H
#include "key.h"
#include "slice.h"

enum { TP_HOP_MAX = 4096, TP_HOP_ADDRS = 64 };
enum { TP_HOP_RESERVE = 0, TP_HOP_CONNECT = 1, TP_HOP_STATUS = 2 };
enum { TP_STOP_CONNECT = 0, TP_STOP_STATUS = 1 };
enum {
    TP_OK = 100,
    TP_RESERVATION_REFUSED = 200,
    TP_RESOURCE_LIMIT_EXCEEDED = 201,
    TP_PERMISSION_DENIED = 202,
    TP_CONNECTION_FAILED = 203,
    TP_NO_RESERVATION = 204,
    TP_MALFORMED_MESSAGE = 400,
    TP_UNEXPECTED_MESSAGE = 401
};

/* One decoded HopMessage or StopMessage. type and status are -1 when absent. Slices point into the input. */
typedef struct {
    int type;
    int has_peer;
    tp_slice peer_id;             /* Peer.id, not yet checked to be a valid peer id */
    tp_slice addrs[TP_HOP_ADDRS]; /* Peer.addrs, or Reservation.addrs where a reservation is present */
    int addrs_n;
    int has_reservation;
    uint64_t expire;  /* seconds since 1970 */
    tp_slice voucher; /* a signed envelope */
    int has_limit;
    uint64_t limit_duration; /* seconds, 0: none */
    uint64_t limit_data;     /* bytes each way, 0: none */
    int status;
} tp_circuit_msg;

/* 0, or -1 when malformed (bad wire types, lengths beyond the end, more than TP_HOP_ADDRS addresses). The
 * last of a repeated singular field wins, as protobuf has it. Unknown fields are skipped. Unknown enum values
 * are kept as they are, bounded to int. */
int tp_hop_get(const uint8_t *p, size_t n, tp_circuit_msg *m);
int tp_stop_get(const uint8_t *p, size_t n, tp_circuit_msg *m);

/* Encoders return the length, or -1 when out_max is too small. Fields that are absent in m (-1, has_x == 0)
 * are left out; a limit with both parts 0 is left out too; a part of it that is 0 is left out. */
int tp_hop_put(uint8_t *out, size_t out_max, const tp_circuit_msg *m);
int tp_stop_put(uint8_t *out, size_t out_max, const tp_circuit_msg *m);

/* Voucher {relay, peer, expiration} in a signed envelope (libp2p specs RFC 0002; payload type 0x0302, domain
 * "libp2p-relay-rsvp"), signed by an Ed25519 key pair (secret: libsodium's 64 bytes). Returns the length, -1
 * if out_max is too small. */
int tp_voucher_put(uint8_t *out, size_t out_max, const uint8_t public_key[32], const uint8_t secret[64],
                   tp_slice relay, tp_slice peer, uint64_t expire);

typedef struct {
    tp_slice relay, peer, signer_key_pb;
    uint64_t expire;
} tp_voucher;
/* Decodes and verifies an envelope with a voucher, that its signer is its relay included. 0, or -1. */
int tp_voucher_get(const uint8_t *p, size_t n, tp_voucher *out);
#endif
