/* libp2p public keys and peer ids (libp2p specs, peer-ids). */
#ifndef TP_KEY_H
#define TP_KEY_H
#include <stddef.h>
#include <stdint.h>

/* KeyType of the specification's protobuf. */
enum { TP_KEY_RSA = 0, TP_KEY_ED25519 = 1, TP_KEY_SECP256K1 = 2, TP_KEY_ECDSA = 3 };
enum {
    TP_KEY_PB_MAX = 1200,    /* an RSA-8192 key is the longest: 1,062 + header */
    TP_PEER_ID_MAX = 42 + 2, /* identity multihash of a key of at most 42 bytes, or sha2-256: 34 */
    TP_ED25519_PB = 36       /* 08 01 12 20 + key */
};

/* Checks the signature `sig` over `msg` by the key encoded in `pb` (PublicKey protobuf). Ed25519 by
 * libsodium, the others by OpenSSL: RSA PKCS1-v1.5/SHA-256 with 2,048 to 8,192 bits, ECDSA (P-256/384/521,
 * DER SPKI)/SHA-256, secp256k1 (compressed point)/SHA-256 DER. 0: good. -1: not decodable, of unknown type,
 * out of bounds. -2: the signature is wrong. */
int tp_key_verify(const uint8_t *pb, size_t pb_n, const uint8_t *msg, size_t msg_n, const uint8_t *sig,
                  size_t sig_n);
/* Peer id (binary multihash) of an encoded key; returns its length, -1 if pb is over TP_KEY_PB_MAX or not a
 * PublicKey. */
int tp_peer_id_of_key(const uint8_t *pb, size_t pb_n, uint8_t out[TP_PEER_ID_MAX]);
/* Is it a well-formed peer id: identity multihash of 1..42 bytes, or sha2-256 of 32? */
int tp_peer_id_valid(const uint8_t *id, size_t n);
/* Encodes an Ed25519 public key as the PublicKey protobuf. */
void tp_ed25519_pb(const uint8_t public_key[32], uint8_t out[TP_ED25519_PB]);
#endif
