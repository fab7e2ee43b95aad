/* Owns the hashing of handshakes.
 *
 * By OpenSSL's SHA256_* although they are deprecated: they use the processor's SHA instructions (0.15 µs for
 * 64 bytes; libsodium takes 0.7, EVP 0.22 and a context to keep), which is a tenth of a handshake's
 * arithmetic. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hash.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <string.h>

enum { BLOCK = 64 };

/* The states after the inner and the outer key block. */
typedef struct {
    SHA256_CTX inner, outer;
} hmac_key;

static void hmac_set_key(hmac_key *k, const uint8_t key[TP_HASH]) {
    uint8_t pad[BLOCK];
    memset(pad, 0x36, BLOCK);
    for (int i = 0; i < TP_HASH; i++)
        pad[i] ^= key[i];
    SHA256_Init(&k->inner);
    SHA256_Update(&k->inner, pad, BLOCK);
    for (int i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&k->outer);
    SHA256_Update(&k->outer, pad, BLOCK);
    sodium_memzero(pad, BLOCK);
}

static void hmac(const hmac_key *k, uint8_t out[TP_HASH], const uint8_t *a, size_t a_n, const uint8_t *b,
                 size_t b_n) {
    SHA256_CTX s = k->inner;
    uint8_t digest[TP_HASH];
    SHA256_Update(&s, a, a_n);
    SHA256_Update(&s, b, b_n);
    SHA256_Final(digest, &s);
    s = k->outer;
    SHA256_Update(&s, digest, TP_HASH);
    SHA256_Final(out, &s); /* clears s */
    sodium_memzero(digest, sizeof digest);
}

void tp_sha256_2(uint8_t out[TP_HASH], const uint8_t *a, size_t a_n, const uint8_t *b, size_t b_n) {
    SHA256_CTX s;
    SHA256_Init(&s);
    SHA256_Update(&s, a, a_n);
    SHA256_Update(&s, b, b_n);
    SHA256_Final(out, &s);
}

void tp_hkdf2(const uint8_t ck[TP_HASH], const uint8_t *input, size_t n, uint8_t out1[TP_HASH],
              uint8_t out2[TP_HASH]) {
    static const uint8_t one = 1, two = 2;
    hmac_key k;
    uint8_t temp[TP_HASH];
    hmac_set_key(&k, ck);
    hmac(&k, temp, input, n, NULL, 0);
    hmac_set_key(&k, temp);
    hmac(&k, out1, &one, 1, NULL, 0);
    hmac(&k, out2, out1, TP_HASH, &two, 1);
    sodium_memzero(temp, sizeof temp);
    sodium_memzero(&k, sizeof k);
}
