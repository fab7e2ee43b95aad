/* NoiseHandshakePayload of libp2p's noise specification: identity key, its signature over
 * "noise-libp2p-static-key:" + static key, and extensions with the stream muxers on offer. */
#ifndef TP_HANDSHAKE_PAYLOAD_H
#define TP_HANDSHAKE_PAYLOAD_H
#include "key.h"

enum { TP_PAYLOAD_MAX = 4096 };

typedef struct {
    const uint8_t *key_pb, *signature;
    size_t key_pb_n, signature_n;
    int has_muxers;   /* any stream muxer named at all */
    int offers_yamux; /* "/yamux/1.0.0" among them */
} tp_payload;

/* Pointers go into p. 0, or -1: malformed, over TP_PAYLOAD_MAX, key or signature missing. Unknown fields are
 * skipped. */
int tp_payload_get(const uint8_t *p, size_t n, tp_payload *out);
/* Encodes ours, an Ed25519 key of 36 encoded and a signature of 64 bytes; with_muxer adds extensions
 * {"/yamux/1.0.0"}. Returns the length (at most 160). */
size_t tp_payload_put(uint8_t out[160], const uint8_t key_pb[TP_ED25519_PB], const uint8_t signature[64],
                      int with_muxer);
/* Verifies the payload against the static key of the handshake and gives the peer id. 0, or -1. */
int tp_payload_verify(const tp_payload *p, const uint8_t static_key[32], uint8_t peer_id[TP_PEER_ID_MAX],
                      int *peer_id_n);
#endif
