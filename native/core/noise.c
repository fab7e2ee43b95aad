/* Owns one side of a Noise XX handshake: the symmetric state and the three messages. */
#include "noise.h"
#include "hash.h"

#include <sodium.h>
#include <string.h>

enum { DH = 32, HASH = TP_HASH, TAG = TP_AEAD_TAG, FAILED = -1 };

static const char protocol_name[32] = "Noise_XX_25519_ChaChaPoly_SHA256";

static void mix_hash(tp_noise *x, const uint8_t *p, size_t n) {
    tp_sha256_2(x->h, x->h, HASH, p, n);
}

/* Mixes DH(secret, public) into the chaining key. -1 for a public key of low order. */
static int mix_dh(tp_noise *x, const uint8_t secret[DH], const uint8_t public_key[DH]) {
    uint8_t shared[DH], key[TP_AEAD_KEY];
    if (crypto_scalarmult(shared, secret, public_key) != 0)
        return -1;
    tp_hkdf2(x->ck, shared, DH, x->ck, key);
    tp_cipher_wipe(x->aead, &x->k);
    tp_cipher_init(x->aead, &x->k, key);
    x->has_key = 1;
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(key, sizeof key);
    return 0;
}

/* Appends n bytes, sealed once there is a key. Returns the bytes written, -1 when the cipher fails. */
static int encrypt_and_hash(tp_noise *x, const uint8_t *in, size_t n, uint8_t *out) {
    size_t written = n;
    if (x->has_key) {
        if (tp_seal(x->aead, &x->k, out, in, n, x->h, HASH) != 0)
            return -1;
        written += TAG;
    } else if (n != 0) {
        memcpy(out, in, n);
    }
    mix_hash(x, out, written);
    return (int)written;
}

/* Opens n bytes in place. Returns the plaintext's length, -1 when it is truncated or forged. */
static int decrypt_and_hash(tp_noise *x, uint8_t *p, size_t n) {
    uint8_t h[HASH];
    if (!x->has_key) {
        mix_hash(x, p, n);
        return (int)n;
    }
    memcpy(h, x->h, HASH);
    mix_hash(x, p, n);
    if (tp_open(x->aead, &x->k, p, n, h, HASH) != 0)
        return -1;
    return (int)(n - TAG);
}

void tp_noise_init(tp_noise *x, tp_aead *aead, int initiator, const uint8_t static_public[32],
                   const uint8_t static_secret[32]) {
    memset(x, 0, sizeof *x);
    x->aead = aead;
    x->initiator = initiator != 0;
    memcpy(x->h, protocol_name, HASH);
    memcpy(x->ck, protocol_name, HASH);
    memcpy(x->s_public, static_public, DH);
    memcpy(x->s_secret, static_secret, DH);
    mix_hash(x, NULL, 0); /* the empty prologue */
}

void tp_noise_fix_ephemeral(tp_noise *x, const uint8_t secret[32]) {
    memcpy(x->e_secret, secret, DH);
    x->has_e = 1;
}

int tp_noise_writes(const tp_noise *x) {
    return x->step >= 0 && x->step < 3 && (x->step % 2 == 0) == x->initiator;
}

int tp_noise_done(const tp_noise *x) {
    return x->step == 3;
}

static int write_e(tp_noise *x, uint8_t *out) {
    if (!x->has_e)
        randombytes_buf(x->e_secret, DH);
    if (crypto_scalarmult_base(x->e_public, x->e_secret) != 0)
        return -1;
    memcpy(out, x->e_public, DH);
    mix_hash(x, out, DH);
    return DH;
}

static int write_s(tp_noise *x, uint8_t *out) {
    return encrypt_and_hash(x, x->s_public, DH, out);
}

/* The tokens of the message at this step; returns the bytes written, or -1. */
static int write_tokens(tp_noise *x, uint8_t *out) {
    int e, s;
    switch (x->step) {
    case 0:
        return write_e(x, out);
    case 1:
        if ((e = write_e(x, out)) < 0 || mix_dh(x, x->e_secret, x->re) != 0 ||
            (s = write_s(x, out + e)) < 0 || mix_dh(x, x->s_secret, x->re) != 0)
            return -1;
        return e + s;
    default:
        if ((s = write_s(x, out)) < 0 || mix_dh(x, x->s_secret, x->re) != 0)
            return -1;
        return s;
    }
}

int tp_noise_write(tp_noise *x, const uint8_t *payload, size_t payload_n, uint8_t *out, size_t out_max) {
    static const size_t overhead[3] = {DH, DH + DH + TAG + TAG, DH + TAG + TAG};
    if (!tp_noise_writes(x))
        return -1;
    size_t needed = overhead[x->step];
    if (payload_n > TP_NOISE_MAX - needed || out_max < needed + payload_n)
        return -1;
    int tokens = write_tokens(x, out);
    int body = tokens < 0 ? -1 : encrypt_and_hash(x, payload, payload_n, out + tokens);
    if (body < 0) {
        x->step = FAILED;
        return -1;
    }
    x->step++;
    return tokens + body;
}

static int read_e(tp_noise *x, const uint8_t *msg, size_t n) {
    if (n < DH)
        return -1;
    memcpy(x->re, msg, DH);
    mix_hash(x, msg, DH);
    return DH;
}

static int read_s(tp_noise *x, uint8_t *msg, size_t n) {
    if (n < DH + TAG || decrypt_and_hash(x, msg, DH + TAG) != DH)
        return -1;
    memcpy(x->rs, msg, DH);
    return DH + TAG;
}

/* The tokens of the message at this step; returns the bytes they take, or -1. */
static int read_tokens(tp_noise *x, uint8_t *msg, size_t n) {
    int e, s;
    switch (x->step) {
    case 0:
        return read_e(x, msg, n);
    case 1:
        if ((e = read_e(x, msg, n)) < 0 || mix_dh(x, x->e_secret, x->re) != 0 ||
            (s = read_s(x, msg + e, n - (size_t)e)) < 0 || mix_dh(x, x->e_secret, x->rs) != 0)
            return -1;
        return e + s;
    default:
        if ((s = read_s(x, msg, n)) < 0 || mix_dh(x, x->e_secret, x->rs) != 0)
            return -1;
        return s;
    }
}

int tp_noise_read(tp_noise *x, uint8_t *msg, size_t n, uint8_t **payload, size_t *payload_n) {
    if (x->step < 0 || x->step > 2 || tp_noise_writes(x))
        return -1;
    int tokens = n > TP_NOISE_MAX ? -1 : read_tokens(x, msg, n);
    int body = tokens < 0 ? -1 : decrypt_and_hash(x, msg + tokens, n - (size_t)tokens);
    if (body < 0) {
        x->step = FAILED;
        return -1;
    }
    x->step++;
    *payload = msg + tokens;
    *payload_n = (size_t)body;
    return 0;
}

void tp_noise_split(tp_noise *x, tp_cipher *send, tp_cipher *recv) {
    uint8_t k1[HASH], k2[HASH];
    tp_hkdf2(x->ck, NULL, 0, k1, k2);
    tp_cipher_init(x->aead, send, x->initiator ? k1 : k2);
    tp_cipher_init(x->aead, recv, x->initiator ? k2 : k1);
    sodium_memzero(k1, sizeof k1);
    sodium_memzero(k2, sizeof k2);
    tp_cipher_wipe(x->aead, &x->k);
    x->has_key = 0;
    sodium_memzero(x->ck, sizeof x->ck);
    sodium_memzero(x->s_secret, sizeof x->s_secret);
    sodium_memzero(x->e_secret, sizeof x->e_secret);
}

void tp_noise_wipe(tp_noise *x) {
    if (x->aead != NULL)
        tp_cipher_wipe(x->aead, &x->k);
    sodium_memzero(x, sizeof *x);
}
