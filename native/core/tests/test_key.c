/* Keys of every type against go-libp2p's, and the ways in which a hostile one is malformed. */
#include "check.h"
#include "key.h"

#include <sodium.h>

static const struct {
    const char *name, *pb, *peer_id, *signature;
} vectors[] = {
#include "vectors/keys.h"
};
enum { VECTORS = sizeof vectors / sizeof *vectors, BAD_KEY = -1, BAD_SIGNATURE = -2 };

static const uint8_t message[] = "what every key here has signed";
enum { MESSAGE = sizeof message - 1 };

typedef struct {
    uint8_t pb[TP_KEY_PB_MAX], id[TP_PEER_ID_MAX], signature[1025];
    size_t pb_n, id_n, signature_n;
} sample;

static sample get(size_t i) {
    sample s;
    s.pb_n = from_hex(vectors[i].pb, s.pb, sizeof s.pb);
    s.id_n = from_hex(vectors[i].peer_id, s.id, sizeof s.id);
    s.signature_n = from_hex(vectors[i].signature, s.signature, sizeof s.signature);
    return s;
}

static sample get_named(const char *name) {
    size_t i = 0;
    while (i < VECTORS && strcmp(vectors[i].name, name) != 0)
        i++;
    CHECK(i < VECTORS);
    return get(i);
}

/* What tp_key_verify says of the sample, read from memory of exactly its size. */
static int verify(const sample *s) {
    uint8_t *pb = exact_copy(s->pb, s->pb_n), *signature = exact_copy(s->signature, s->signature_n);
    int result = tp_key_verify(pb, s->pb_n, message, MESSAGE, signature, s->signature_n);
    free(pb);
    free(signature);
    return result;
}

static void go_keys_verify_and_have_their_peer_ids(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        sample s = get(i);
        uint8_t id[TP_PEER_ID_MAX];
        CHECK(verify(&s) == 0);
        CHECK(tp_peer_id_of_key(s.pb, s.pb_n, id) == (int)s.id_n && memcmp(id, s.id, s.id_n) == 0);
        CHECK(tp_peer_id_valid(s.id, s.id_n));
    }
}

static void a_wrong_signature_is_told_from_a_wrong_key(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        sample s = get(i);
        s.signature[s.signature_n / 2] ^= 1;
        CHECK(verify(&s) == BAD_SIGNATURE);
        s = get(i);
        s.signature_n--;
        CHECK(verify(&s) == BAD_SIGNATURE);
        s.signature_n = 0;
        CHECK(verify(&s) == BAD_SIGNATURE);
        s = get(i);
        s.signature[s.signature_n++] = 0;
        CHECK(verify(&s) == BAD_SIGNATURE);
        s = get(i);
        CHECK(tp_key_verify(s.pb, s.pb_n, message, MESSAGE - 1, s.signature, s.signature_n) == BAD_SIGNATURE);
    }
}

static void every_cut_and_every_addition_is_refused(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t id[TP_PEER_ID_MAX];
        sample s = get(i);
        size_t whole = s.pb_n;
        for (s.pb_n = 0; s.pb_n < whole; s.pb_n++) {
            CHECK(verify(&s) == BAD_KEY);
            CHECK(tp_peer_id_of_key(s.pb, s.pb_n, id) == -1);
        }
        for (size_t more = 1; more <= 3; more++) {
            s = get(i);
            memset(s.pb + whole, 0, more);
            s.pb_n += more;
            CHECK(verify(&s) == BAD_KEY);
        }
    }
}

/* The same for the data inside, with the protobuf's length fitting it. */
static void every_cut_of_the_data_is_refused(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        sample good = get(i);
        size_t header = good.pb[3] < 0x80 ? 4 : 5, whole = good.pb_n - header;
        for (size_t n = 0; n < whole; n++) {
            sample s = good;
            s.pb[3] = (uint8_t)(n < 128 ? n : n | 0x80);
            s.pb[4] = (uint8_t)(n >> 7);
            s.pb_n = (n < 128 ? 4 : 5) + n;
            memcpy(s.pb + s.pb_n - n, good.pb + header, n);
            CHECK(verify(&s) == BAD_KEY);
        }
    }
}

/* Up to 42 bytes an encoded key is its own peer id. */
static void the_border_between_the_forms_of_a_peer_id(void) {
    uint8_t pb[43] = {0x08, TP_KEY_RSA, 0x12, 38}, id[TP_PEER_ID_MAX];
    CHECK(tp_peer_id_of_key(pb, 42, id) == 44 && id[0] == 0 && id[1] == 42 && memcmp(id + 2, pb, 42) == 0);
    pb[3] = 39;
    CHECK(tp_peer_id_of_key(pb, 43, id) == 34 && id[0] == 0x12 && id[1] == 32);
}

/* A flipped bit of the encoding makes another key or none; none of them has signed. */
static void no_changed_key_verifies(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        sample good = get(i);
        size_t stride = good.pb_n > 300 ? 41 : 3;
        for (size_t bit = 0; bit < good.pb_n * 8; bit += stride) {
            sample s = good;
            s.pb[bit / 8] ^= (uint8_t)(1 << bit % 8);
            CHECK(verify(&s) < 0);
        }
    }
}

static void only_the_canonical_protobuf_is_a_key(void) {
    sample good = get_named("ed25519"), s;
    s = good; /* type 4 */
    s.pb[1] = 4;
    CHECK(verify(&s) == BAD_KEY);
    s = good; /* fields in the other order */
    memcpy(s.pb, good.pb + 2, 34);
    memcpy(s.pb + 34, good.pb, 2);
    CHECK(verify(&s) == BAD_KEY);
    s = good; /* an unknown field behind */
    s.pb[36] = 0x18;
    s.pb[37] = 1;
    s.pb_n = 38;
    CHECK(verify(&s) == BAD_KEY);
    s = good; /* a length longer than it needs to be */
    s.pb[3] = 0xa0;
    s.pb[4] = 0;
    memcpy(s.pb + 5, good.pb + 4, 32);
    s.pb_n = 37;
    CHECK(verify(&s) == BAD_KEY);
    s = good; /* no type */
    memcpy(s.pb, good.pb + 2, 34);
    s.pb_n = 34;
    CHECK(verify(&s) == BAD_KEY);
}

/* Data of one type declared as another. */
static void types_are_not_confused(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        for (uint8_t type = 0; type < 4; type++) {
            sample s = get(i);
            if (s.pb[1] == type)
                continue;
            s.pb[1] = type;
            CHECK(verify(&s) == BAD_KEY);
        }
    }
}

static void points_off_the_curve_are_refused(void) {
    static const char *const names[] = {"P-256", "P-384", "P-521"};
    for (size_t i = 0; i < 3; i++) {
        sample s = get_named(names[i]);
        s.pb[s.pb_n - 1] ^= 1;
        CHECK(verify(&s) == BAD_KEY);
    }
    sample s = get_named("secp256k1");
    memset(s.pb + s.pb_n - 32, 0xff, 32); /* x beyond the field */
    CHECK(verify(&s) == BAD_KEY);
    s = get_named("secp256k1");
    s.pb[4] = 4; /* neither 02 nor 03 */
    CHECK(verify(&s) == BAD_KEY);
}

static void put_der(uint8_t **p, uint8_t tag, size_t n) {
    *(*p)++ = tag;
    if (n >= 0x80)
        *(*p)++ = n > 0xff ? 0x82 : 0x81;
    if (n > 0xff)
        *(*p)++ = (uint8_t)(n >> 8);
    *(*p)++ = (uint8_t)n;
}

static size_t der_size(size_t n) {
    return n + (n > 0xff ? 4 : n >= 0x80 ? 3 : 2);
}

static void put_positive(uint8_t **p, const uint8_t *number, size_t n) {
    int sign = number[0] >= 0x80;
    put_der(p, 0x02, n + (size_t)sign);
    if (sign)
        *(*p)++ = 0;
    memcpy(*p, number, n);
    *p += n;
}

/* A PublicKey with an RSA key whose modulus is `bits` long (its last byte as given), exponent as given. */
static sample rsa(unsigned bits, uint8_t last, const uint8_t *e, size_t e_n) {
    static const uint8_t algorithm[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                        0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
    uint8_t modulus[1100];
    sample s = get_named("rsa 2048");
    size_t n = (bits + 7) / 8;
    memset(modulus, 0x55, n);
    modulus[0] = (uint8_t)(1 << (bits - 1) % 8);
    modulus[n - 1] = last;
    size_t pair = der_size(n + (modulus[0] >= 0x80)) + der_size(e_n + (e[0] >= 0x80));
    size_t string = 1 + der_size(pair), info = sizeof algorithm + der_size(string), spki = der_size(info);
    uint8_t *p = s.pb;
    *p++ = 0x08;
    *p++ = TP_KEY_RSA;
    *p++ = 0x12;
    *p++ = (uint8_t)(spki | 0x80);
    *p++ = (uint8_t)(spki >> 7);
    put_der(&p, 0x30, info);
    memcpy(p, algorithm, sizeof algorithm);
    p += sizeof algorithm;
    put_der(&p, 0x03, string);
    *p++ = 0;
    put_der(&p, 0x30, pair);
    put_positive(&p, modulus, n);
    put_positive(&p, e, e_n);
    s.pb_n = (size_t)(p - s.pb);
    CHECK(s.pb_n <= sizeof s.pb && spki < 1 << 14);
    return s;
}

static void rsa_keys_are_bounded(void) {
    static const uint8_t f4[] = {1, 0, 1}, one[] = {1}, two[] = {2}, three[] = {3},
                         most[] = {0x7f, 0xff, 0xff, 0xff}, big[] = {0x80, 0, 0, 1};
    static const unsigned good_bits[] = {2048, 2049, 3072, 4096, 8192},
                          bad_bits[] = {1024, 2040, 2047, 8193, 8200};
    sample s;
    for (size_t i = 0; i < sizeof good_bits / sizeof *good_bits; i++) {
        s = rsa(good_bits[i], 0x55, f4, 3);
        CHECK(verify(&s) == BAD_SIGNATURE);
    }
    for (size_t i = 0; i < sizeof bad_bits / sizeof *bad_bits; i++) {
        s = rsa(bad_bits[i], 0x55, f4, 3);
        CHECK(verify(&s) == BAD_KEY);
    }
    s = rsa(2048, 0x54, f4, 3); /* an even modulus */
    CHECK(verify(&s) == BAD_KEY);
    s = rsa(2048, 0x55, one, 1);
    CHECK(verify(&s) == BAD_KEY);
    s = rsa(2048, 0x55, two, 1);
    CHECK(verify(&s) == BAD_KEY);
    s = rsa(2048, 0x55, big, 4);
    CHECK(verify(&s) == BAD_KEY);
    s = rsa(2048, 0x55, three, 1);
    CHECK(verify(&s) == BAD_SIGNATURE);
    s = rsa(2048, 0x55, most, 4);
    CHECK(verify(&s) == BAD_SIGNATURE);
}

/* Every byte of the DER around modulus and exponent is fixed by them: no other value of it is a key. */
static void rsa_keys_are_der(void) {
    static const uint8_t f4[] = {1, 0, 1};
    sample good = rsa(2048, 0x55, f4, 3);
    size_t exponent = good.pb_n - 3, modulus = exponent - 2 - 256;
    for (size_t i = 5; i < exponent; i++) {
        if (i == modulus)
            i = exponent - 2;
        for (unsigned delta = 1; delta < 256; delta++) {
            sample s = good;
            s.pb[i] = (uint8_t)(s.pb[i] + delta);
            /* The sign byte may become the top byte of a larger modulus. */
            CHECK(verify(&s) == (i == modulus - 1 && s.pb[i] < 0x80 ? BAD_SIGNATURE : BAD_KEY));
        }
    }
}

static void an_encoded_ed25519_key_verifies(void) {
    uint8_t public_key[32], secret[64], pb[TP_ED25519_PB], signature[64], id[TP_PEER_ID_MAX];
    crypto_sign_keypair(public_key, secret);
    crypto_sign_detached(signature, NULL, message, MESSAGE, secret);
    tp_ed25519_pb(public_key, pb);
    CHECK(tp_key_verify(pb, sizeof pb, message, MESSAGE, signature, 64) == 0);
    CHECK(tp_peer_id_of_key(pb, sizeof pb, id) == 38 && id[0] == 0 && id[1] == 36 &&
          memcmp(id + 2, pb, 36) == 0);
}

static void peer_ids_have_two_forms(void) {
    uint8_t id[64] = {0};
    for (int code = 0; code < 256; code++) {
        for (size_t length = 0; length < 60; length++) {
            id[0] = (uint8_t)code;
            id[1] = (uint8_t)length;
            int good = (code == 0 && length >= 1 && length <= 42) || (code == 0x12 && length == 32);
            CHECK(tp_peer_id_valid(id, length + 2) == good);
            CHECK(!tp_peer_id_valid(id, length + 3) && !tp_peer_id_valid(id, length + 1));
        }
    }
    CHECK(!tp_peer_id_valid(NULL, 0));
}

int main(void) {
    CHECK(sodium_init() >= 0);
    RUN(go_keys_verify_and_have_their_peer_ids);
    RUN(a_wrong_signature_is_told_from_a_wrong_key);
    RUN(every_cut_and_every_addition_is_refused);
    RUN(every_cut_of_the_data_is_refused);
    RUN(the_border_between_the_forms_of_a_peer_id);
    RUN(no_changed_key_verifies);
    RUN(only_the_canonical_protobuf_is_a_key);
    RUN(types_are_not_confused);
    RUN(points_off_the_curve_are_refused);
    RUN(rsa_keys_are_bounded);
    RUN(rsa_keys_are_der);
    RUN(an_encoded_ed25519_key_verifies);
    RUN(peer_ids_have_two_forms);
    return 0;
}
