/* Identities: see identity.h. */
#include "identity.h"

#include "loop.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

void identity_make(identity *id, uint64_t number) {
    static const char prefix[] = "noise-libp2p-static-key:";
    uint8_t seed[32], public_key[32], secret_key[64], signature[64], message[sizeof prefix - 1 + 32];

    crypto_generichash(seed, 32, (const uint8_t *)&number, sizeof number, (const uint8_t *)"ed25519 of load",
                       15);
    crypto_sign_seed_keypair(public_key, secret_key, seed);
    tp_ed25519_pb(public_key, id->key_pb);
    id->peer_id_n = tp_peer_id_of_key(id->key_pb, TP_ED25519_PB, id->peer_id);
    crypto_generichash(id->static_secret, 32, seed, 32, (const uint8_t *)"noise key of load", 17);
    crypto_scalarmult_base(id->static_public, id->static_secret);
    memcpy(message, prefix, sizeof prefix - 1);
    memcpy(message + sizeof prefix - 1, id->static_public, 32);
    crypto_sign_detached(signature, NULL, message, sizeof message, secret_key);
    id->payload_n = tp_payload_put(id->payload, id->key_pb, signature, 1);
}

identity *identity_pool(uint64_t first, size_t n) {
    identity *pool = calloc(n, sizeof *pool);

    if (!pool)
        die("memory for %zu identities", n);
    for (size_t i = 0; i < n; i++)
        identity_make(&pool[i], first + i);
    return pool;
}
