/* ChaCha20-Poly1305 (RFC 8439) as Noise uses it, by libsodium or by OpenSSL behind one interface.
 *
 * One tp_aead belongs to one thread. It keeps the cipher contexts, each remembering whose key stands in
 * it, so a connection needs 48 bytes a direction and connections that take turns rarely set their keys anew.
 */
#ifndef TP_AEAD_H
#define TP_AEAD_H
#include <stddef.h>
#include <stdint.h>

enum { TP_AEAD_TAG = 16, TP_AEAD_KEY = 32 };
typedef enum { TP_AEAD_AUTO = 0, TP_AEAD_SODIUM = 1, TP_AEAD_OPENSSL = 2 } tp_aead_kind;

typedef struct tp_aead tp_aead;

/* A key and the number of messages it has sealed or opened. `serial` is unique per key of one
 * tp_aead, given by tp_cipher_init; nonce is Noise's: 4 zero bytes, then the counter little-endian. */
typedef struct {
    uint8_t key[TP_AEAD_KEY];
    uint64_t nonce;
    uint64_t serial;
} tp_cipher;

/* NULL when memory is short or the library lacks the cipher. AUTO calibrates (a few ms): the one that opens
 * and seals 16 KiB messages in less time is taken. */
tp_aead *tp_aead_new(tp_aead_kind kind);
void tp_aead_free(tp_aead *a);
tp_aead_kind tp_aead_which(const tp_aead *a);

void tp_cipher_init(tp_aead *a, tp_cipher *c, const uint8_t key[TP_AEAD_KEY]);
/* Clears the key, and the context that holds it. */
void tp_cipher_wipe(tp_aead *a, tp_cipher *c);

/* Seals n bytes of `in` into `out` (n + 16 bytes) under the next nonce. `out` may be `in` itself, otherwise
 * they may not overlap. ad may be NULL when ad_n is 0. Returns 0, or -1 when the nonce is spent (2^64 - 1).
 */
int tp_seal(tp_aead *a, tp_cipher *c, uint8_t *out, const uint8_t *in, size_t n, const uint8_t *ad,
            size_t ad_n);
/* Opens n bytes (tag included, so n >= 16) in place; the plaintext is the first n - 16. Returns 0, or -1 when
 * the tag is wrong: then the contents of buf are undefined and the nonce is not advanced. */
int tp_open(tp_aead *a, tp_cipher *c, uint8_t *buf, size_t n, const uint8_t *ad, size_t ad_n);
#endif
