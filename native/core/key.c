/* Owns public keys as libp2p encodes them: their canonical form, the check of a signature, the peer id.
 *
 * Only what its own bytes prove to be a bounded key of a known kind reaches OpenSSL: EC keys must match a
 * fixed DER prefix of a named curve, RSA keys are taken apart here. */
#include "key.h"
#include "slice.h"
#include "varint.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <sodium.h>
#include <string.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192, ID_INLINE_MAX = 42, BAD_KEY = -1, BAD_SIGNATURE = -2 };

typedef struct {
    int type;
    tp_slice data;
} public_key;

/* The one encoding that libp2p's specification allows: type, then data, nothing else. */
static int key_get(const uint8_t *pb, size_t n, public_key *k) {
    uint64_t length;
    if (n < 4 || n > TP_KEY_PB_MAX || pb[0] != 0x08 || pb[1] > TP_KEY_ECDSA || pb[2] != 0x12)
        return -1;
    int used = tp_varint_get(pb + 3, n - 3, &length);
    if (used <= 0 || length != n - 3 - (size_t)used)
        return -1;
    k->type = pb[1];
    k->data = (tp_slice){pb + 3 + used, (size_t)length};
    return 0;
}

static int ed25519_verify(tp_slice key, tp_slice msg, tp_slice sig) {
    if (key.n != crypto_sign_PUBLICKEYBYTES)
        return BAD_KEY;
    if (sig.n != crypto_sign_BYTES || crypto_sign_verify_detached(sig.p, msg.p, msg.n, key.p) != 0)
        return BAD_SIGNATURE;
    return 0;
}

/* The type of the named curve's SubjectPublicKeyInfo; everything before the point is fixed. */
typedef struct {
    const char *group;
    const uint8_t *prefix;
    size_t prefix_n, point_n;
} curve;

static const uint8_t p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};
static const uint8_t p384_prefix[] = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                                      0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00};
static const uint8_t p521_prefix[] = {0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                      0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
                                      0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00};
static const curve curves[] = {{"P-256", p256_prefix, sizeof p256_prefix, 65},
                               {"P-384", p384_prefix, sizeof p384_prefix, 97},
                               {"P-521", p521_prefix, sizeof p521_prefix, 133}};

/* Takes ownership of the builder. NULL when OpenSSL refuses the key, a point off the curve included. */
static EVP_PKEY *pkey_of(const char *algorithm, OSSL_PARAM_BLD *builder) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *ctx = params == NULL ? NULL : EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    return key;
}

static EVP_PKEY *ec_key(const char *group, const uint8_t *point, size_t n) {
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    if (b == NULL || !OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) ||
        !OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, n)) {
        OSSL_PARAM_BLD_free(b);
        return NULL;
    }
    return pkey_of("EC", b);
}

static EVP_PKEY *secp256k1_key(tp_slice key) {
    if (key.n != 33 || (key.p[0] != 2 && key.p[0] != 3))
        return NULL;
    return ec_key("secp256k1", key.p, key.n);
}

static EVP_PKEY *ecdsa_key(tp_slice der) {
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        const curve *c = &curves[i];
        if (der.n == c->prefix_n + c->point_n && memcmp(der.p, c->prefix, c->prefix_n) == 0 &&
            der.p[c->prefix_n] == 4)
            return ec_key(c->group, der.p + c->prefix_n, c->point_n);
    }
    return NULL;
}

/* Takes one DER element with this tag off the front of s; its contents go to *body. Shortest lengths only. */
static int der_take(tp_slice *s, uint8_t tag, tp_slice *body) {
    size_t header = 2, length;
    if (s->n < 2 || s->p[0] != tag)
        return -1;
    length = s->p[1];
    if (length == 0x81) {
        if (s->n < 3 || s->p[2] < 0x80)
            return -1;
        header = 3;
        length = s->p[2];
    } else if (length == 0x82) {
        if (s->n < 4 || s->p[2] == 0)
            return -1;
        header = 4;
        length = (size_t)s->p[2] << 8 | s->p[3];
    } else if (length > 0x7f) {
        return -1;
    }
    if (length > s->n - header)
        return -1;
    *body = (tp_slice){s->p + header, length};
    s->p += header + length;
    s->n -= header + length;
    return 0;
}

/* A positive integer in its shortest form, without its sign byte. */
static int der_take_positive(tp_slice *s, tp_slice *number) {
    if (der_take(s, 0x02, number) != 0 || number->n == 0 || number->p[0] >= 0x80)
        return -1;
    if (number->p[0] == 0) {
        if (number->n < 2 || number->p[1] < 0x80)
            return -1;
        number->p++;
        number->n--;
    }
    return 0;
}

static unsigned bits_of(tp_slice number) {
    unsigned bits = (unsigned)(number.n - 1) * 8;
    for (uint8_t top = number.p[0]; top != 0; top >>= 1)
        bits++;
    return bits;
}

/* n and e of a SubjectPublicKeyInfo with an RSA key, nothing left over. */
static int rsa_get(tp_slice der, tp_slice *modulus, tp_slice *exponent) {
    static const uint8_t algorithm[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                        0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
    tp_slice info, bit_string, pair;
    if (der_take(&der, 0x30, &info) != 0 || der.n != 0 || info.n < sizeof algorithm ||
        memcmp(info.p, algorithm, sizeof algorithm) != 0)
        return -1;
    info.p += sizeof algorithm;
    info.n -= sizeof algorithm;
    if (der_take(&info, 0x03, &bit_string) != 0 || info.n != 0 || bit_string.n < 1 || bit_string.p[0] != 0)
        return -1;
    bit_string.p++;
    bit_string.n--;
    if (der_take(&bit_string, 0x30, &pair) != 0 || bit_string.n != 0)
        return -1;
    return der_take_positive(&pair, modulus) == 0 && der_take_positive(&pair, exponent) == 0 && pair.n == 0
               ? 0
               : -1;
}

/* Bounded so that a check costs what it should: modulus as stated, exponent odd, 3 to 2^31 - 1. */
static EVP_PKEY *rsa_key(tp_slice der) {
    tp_slice modulus, exponent;
    if (rsa_get(der, &modulus, &exponent) != 0)
        return NULL;
    unsigned bits = bits_of(modulus), exponent_bits = bits_of(exponent);
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || (modulus.p[modulus.n - 1] & 1) == 0 ||
        exponent_bits < 2 || exponent_bits > 31 || (exponent.p[exponent.n - 1] & 1) == 0)
        return NULL;
    BIGNUM *n = BN_bin2bn(modulus.p, (int)modulus.n, NULL);
    BIGNUM *e = BN_bin2bn(exponent.p, (int)exponent.n, NULL);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (n != NULL && e != NULL && b != NULL && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e)) {
        key = pkey_of("RSA", b);
        b = NULL;
    }
    OSSL_PARAM_BLD_free(b);
    BN_free(n);
    BN_free(e);
    return key;
}

/* SHA-256 with the key's usual scheme: ECDSA in DER, or RSA PKCS1-v1.5. */
static int pkey_verify(EVP_PKEY *key, tp_slice msg, tp_slice sig) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int good = ctx != NULL && EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
               EVP_DigestVerify(ctx, sig.p, sig.n, msg.p, msg.n) == 1;
    EVP_MD_CTX_free(ctx);
    return good ? 0 : BAD_SIGNATURE;
}

int tp_key_verify(const uint8_t *pb, size_t pb_n, const uint8_t *msg, size_t msg_n, const uint8_t *sig,
                  size_t sig_n) {
    public_key k;
    EVP_PKEY *key;
    tp_slice m = {msg, msg_n}, s = {sig, sig_n};
    if (key_get(pb, pb_n, &k) != 0)
        return BAD_KEY;
    switch (k.type) {
    case TP_KEY_ED25519:
        return ed25519_verify(k.data, m, s);
    case TP_KEY_SECP256K1:
        key = secp256k1_key(k.data);
        break;
    case TP_KEY_ECDSA:
        key = ecdsa_key(k.data);
        break;
    default:
        key = rsa_key(k.data);
        break;
    }
    int result = key == NULL ? BAD_KEY : pkey_verify(key, m, s);
    EVP_PKEY_free(key);
    return result;
}

int tp_peer_id_of_key(const uint8_t *pb, size_t pb_n, uint8_t out[TP_PEER_ID_MAX]) {
    public_key k;
    if (key_get(pb, pb_n, &k) != 0)
        return -1;
    if (pb_n <= ID_INLINE_MAX) {
        out[0] = 0x00;
        out[1] = (uint8_t)pb_n;
        memcpy(out + 2, pb, pb_n);
        return (int)pb_n + 2;
    }
    out[0] = 0x12;
    out[1] = 32;
    crypto_hash_sha256(out + 2, pb, pb_n);
    return 34;
}

int tp_peer_id_valid(const uint8_t *id, size_t n) {
    if (n < 3 || n != (size_t)id[1] + 2)
        return 0;
    return (id[0] == 0x00 && id[1] <= ID_INLINE_MAX) || (id[0] == 0x12 && id[1] == 32);
}

void tp_ed25519_pb(const uint8_t public_key[32], uint8_t out[TP_ED25519_PB]) {
    static const uint8_t header[4] = {0x08, TP_KEY_ED25519, 0x12, 32};
    memcpy(out, header, sizeof header);
    memcpy(out + 4, public_key, 32);
}
