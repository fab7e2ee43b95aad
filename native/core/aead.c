/* Owns the two cipher libraries: which one seals and opens, and the OpenSSL contexts with their keys. */
#include "aead.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NONCE = 12, CALIBRATION_BYTES = 16384, CALIBRATION_ROUNDS = 24 };

/* One direction: the context, and whose key stands in it (0: nobody's). */
typedef struct {
    EVP_CIPHER_CTX *ctx;
    uint64_t serial;
} direction;

struct tp_aead {
    tp_aead_kind kind;
    EVP_CIPHER *cipher;
    direction seal, open;
};

static _Atomic uint64_t last_serial;

static void put_nonce(uint8_t out[NONCE], uint64_t counter) {
    memset(out, 0, 4);
    for (int i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(counter >> (8 * i));
}

static int openssl_open_contexts(tp_aead *a) {
    a->cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    a->seal.ctx = EVP_CIPHER_CTX_new();
    a->open.ctx = EVP_CIPHER_CTX_new();
    if (a->cipher == NULL || a->seal.ctx == NULL || a->open.ctx == NULL)
        return -1;
    return EVP_EncryptInit_ex2(a->seal.ctx, a->cipher, NULL, NULL, NULL) == 1 &&
                   EVP_DecryptInit_ex2(a->open.ctx, a->cipher, NULL, NULL, NULL) == 1
               ? 0
               : -1;
}

static void openssl_close_contexts(tp_aead *a) {
    EVP_CIPHER_CTX_free(a->seal.ctx);
    EVP_CIPHER_CTX_free(a->open.ctx);
    EVP_CIPHER_free(a->cipher);
    a->cipher = NULL;
    a->seal = a->open = (direction){NULL, 0};
}

/* Sets the nonce, the key when another one stands in the context, and the tag that is expected (NULL when
 * sealing).
 *
 * A context with its key takes nonce and tag as parameters: "tlsivfixed" replaces the whole 12-byte nonce and
 * costs 0.2 µs less than an EVP_CipherInit_ex. openssl_works checks at start that it does what is said here.
 */
static int openssl_begin(direction *d, const tp_cipher *c, uint8_t *tag) {
    uint8_t nonce[NONCE];
    OSSL_PARAM params[3] = {OSSL_PARAM_END, OSSL_PARAM_END, OSSL_PARAM_END}, *next = params;
    put_nonce(nonce, c->nonce);
    if (d->serial != c->serial) {
        d->serial = 0;
        if (EVP_CipherInit_ex(d->ctx, NULL, NULL, c->key, nonce, -1) != 1)
            return -1;
        d->serial = c->serial;
    } else {
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, nonce, NONCE);
    }
    if (tag != NULL)
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, TP_AEAD_TAG);
    return next == params || EVP_CIPHER_CTX_set_params(d->ctx, params) == 1 ? 0 : -1;
}

/* EVP_Cipher is EVP_CipherUpdate without its checks for overlap and partial blocks. */
static int openssl_update(direction *d, uint8_t *out, const uint8_t *in, size_t n) {
    return n == 0 || EVP_Cipher(d->ctx, out, in, (unsigned)n) >= 0 ? 0 : -1;
}

static int openssl_seal(tp_aead *a, const tp_cipher *c, uint8_t *out, const uint8_t *in, size_t n,
                        const uint8_t *ad, size_t ad_n) {
    direction *d = &a->seal;
    int none;
    OSSL_PARAM tag[2] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, out + n, TP_AEAD_TAG),
                         OSSL_PARAM_END};
    if (openssl_begin(d, c, NULL) == 0 && openssl_update(d, NULL, ad, ad_n) == 0 &&
        openssl_update(d, out, in, n) == 0 && EVP_EncryptFinal_ex(d->ctx, out + n, &none) == 1 &&
        EVP_CIPHER_CTX_get_params(d->ctx, tag) == 1)
        return 0;
    d->serial = 0;
    return -1;
}

static int openssl_open(tp_aead *a, const tp_cipher *c, uint8_t *buf, size_t n, const uint8_t *ad,
                        size_t ad_n) {
    direction *d = &a->open;
    size_t plain = n - TP_AEAD_TAG;
    int none;
    if (openssl_begin(d, c, buf + plain) == 0 && openssl_update(d, NULL, ad, ad_n) == 0 &&
        openssl_update(d, buf, buf, plain) == 0 && EVP_DecryptFinal_ex(d->ctx, buf + plain, &none) == 1)
        return 0;
    d->serial = 0;
    return -1;
}

static int seal_with(tp_aead *a, tp_aead_kind kind, const tp_cipher *c, uint8_t *out, const uint8_t *in,
                     size_t n, const uint8_t *ad, size_t ad_n) {
    if (kind == TP_AEAD_OPENSSL)
        return openssl_seal(a, c, out, in, n, ad, ad_n);
    uint8_t nonce[NONCE];
    put_nonce(nonce, c->nonce);
    return crypto_aead_chacha20poly1305_ietf_encrypt_detached(out, out + n, NULL, in, n, ad, ad_n, NULL,
                                                              nonce, c->key);
}

static int open_with(tp_aead *a, tp_aead_kind kind, const tp_cipher *c, uint8_t *buf, size_t n,
                     const uint8_t *ad, size_t ad_n) {
    if (kind == TP_AEAD_OPENSSL)
        return openssl_open(a, c, buf, n, ad, ad_n);
    size_t plain = n - TP_AEAD_TAG;
    uint8_t nonce[NONCE];
    put_nonce(nonce, c->nonce);
    return crypto_aead_chacha20poly1305_ietf_decrypt_detached(buf, NULL, buf, plain, buf + plain, ad, ad_n,
                                                              nonce, c->key);
}

/* Do both libraries agree on two messages under one key, and does OpenSSL refuse a wrong tag? */
static int openssl_works(tp_aead *a) {
    static const uint8_t key[TP_AEAD_KEY] = {1};
    uint8_t theirs[80 + TP_AEAD_TAG], ours[sizeof theirs];
    tp_cipher c;
    int good = 1;
    tp_cipher_init(a, &c, key);
    for (int i = 0; i < 3 && good; i++, c.nonce++) {
        memset(theirs, i, sizeof theirs);
        memset(ours, i, sizeof ours);
        good = seal_with(a, TP_AEAD_SODIUM, &c, ours, ours, 80, key, 5) == 0 &&
               seal_with(a, TP_AEAD_OPENSSL, &c, theirs, theirs, 80, key, 5) == 0 &&
               memcmp(ours, theirs, sizeof ours) == 0 &&
               open_with(a, TP_AEAD_OPENSSL, &c, theirs, sizeof theirs, key, 5) == 0 && theirs[79] == i;
    }
    good = good && open_with(a, TP_AEAD_OPENSSL, &c, ours, sizeof ours, key, 5) != 0;
    tp_cipher_wipe(a, &c);
    return good;
}

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* The shortest time of one seal and open with this library, UINT64_MAX when it fails. */
static uint64_t time_of(tp_aead *a, tp_aead_kind kind, tp_cipher *c, uint8_t *buf) {
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < CALIBRATION_ROUNDS; i++) {
        uint64_t start = cpu_ns();
        if (seal_with(a, kind, c, buf, buf, CALIBRATION_BYTES, NULL, 0) != 0 ||
            open_with(a, kind, c, buf, CALIBRATION_BYTES + TP_AEAD_TAG, NULL, 0) != 0)
            return UINT64_MAX;
        uint64_t took = cpu_ns() - start;
        best = took < best ? took : best;
        c->nonce++;
    }
    return best;
}

static tp_aead_kind calibrate(tp_aead *a) {
    static const uint8_t key[TP_AEAD_KEY];
    tp_cipher c;
    uint8_t *buf = calloc(1, CALIBRATION_BYTES + TP_AEAD_TAG);
    if (buf == NULL)
        return TP_AEAD_SODIUM;
    tp_cipher_init(a, &c, key);
    uint64_t sodium = time_of(a, TP_AEAD_SODIUM, &c, buf);
    uint64_t openssl = time_of(a, TP_AEAD_OPENSSL, &c, buf);
    tp_cipher_wipe(a, &c);
    free(buf);
    return openssl < sodium ? TP_AEAD_OPENSSL : TP_AEAD_SODIUM;
}

tp_aead *tp_aead_new(tp_aead_kind kind) {
    if (sodium_init() < 0)
        return NULL;
    tp_aead *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->kind = kind;
    if (kind == TP_AEAD_SODIUM)
        return a;
    if (openssl_open_contexts(a) != 0 || !openssl_works(a)) {
        openssl_close_contexts(a);
        if (kind == TP_AEAD_OPENSSL) {
            free(a);
            return NULL;
        }
        a->kind = TP_AEAD_SODIUM;
        return a;
    }
    if (kind == TP_AEAD_AUTO)
        a->kind = calibrate(a);
    if (a->kind == TP_AEAD_SODIUM)
        openssl_close_contexts(a);
    return a;
}

void tp_aead_free(tp_aead *a) {
    if (a == NULL)
        return;
    openssl_close_contexts(a);
    free(a);
}

tp_aead_kind tp_aead_which(const tp_aead *a) {
    return a->kind;
}

void tp_cipher_init(tp_aead *a, tp_cipher *c, const uint8_t key[TP_AEAD_KEY]) {
    (void)a;
    memcpy(c->key, key, TP_AEAD_KEY);
    c->nonce = 0;
    c->serial = atomic_fetch_add_explicit(&last_serial, 1, memory_order_relaxed) + 1;
}

static void forget(direction *d, uint64_t serial) {
    static const uint8_t zero[TP_AEAD_KEY];
    if (d->ctx == NULL || d->serial != serial)
        return;
    EVP_CipherInit_ex(d->ctx, NULL, NULL, zero, zero, -1);
    d->serial = 0;
}

void tp_cipher_wipe(tp_aead *a, tp_cipher *c) {
    if (c->serial != 0) {
        forget(&a->seal, c->serial);
        forget(&a->open, c->serial);
    }
    sodium_memzero(c, sizeof *c);
}

int tp_seal(tp_aead *a, tp_cipher *c, uint8_t *out, const uint8_t *in, size_t n, const uint8_t *ad,
            size_t ad_n) {
    if (c->nonce == UINT64_MAX || n > INT32_MAX || ad_n > INT32_MAX)
        return -1;
    if (seal_with(a, a->kind, c, out, in, n, ad, ad_n) != 0)
        return -1;
    c->nonce++;
    return 0;
}

int tp_open(tp_aead *a, tp_cipher *c, uint8_t *buf, size_t n, const uint8_t *ad, size_t ad_n) {
    if (c->nonce == UINT64_MAX || n < TP_AEAD_TAG || n > INT32_MAX || ad_n > INT32_MAX)
        return -1;
    if (open_with(a, a->kind, c, buf, n, ad, ad_n) != 0)
        return -1;
    c->nonce++;
    return 0;
}
