/* Identities of the load's peers: an Ed25519 key, a Noise static key, the handshake payload that binds them.
 */
#ifndef LOAD_IDENTITY_H
#define LOAD_IDENTITY_H
#include "handshake_payload.h"

typedef struct {
    uint8_t key_pb[TP_ED25519_PB];
    uint8_t peer_id[TP_PEER_ID_MAX];
    int peer_id_n;
    uint8_t static_public[32], static_secret[32];
    uint8_t payload[160];
    size_t payload_n;
} identity;

/* Makes an identity from a number: the same number gives the same identity. */
void identity_make(identity *id, uint64_t number);
/* n identities, numbers `first` and up. */
identity *identity_pool(uint64_t first, size_t n);
#endif
