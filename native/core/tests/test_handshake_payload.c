/* The Noise handshake payload against go-libp2p's. */
#include "check.h"
#include "handshake_payload.h"

#include <sodium.h>

static const struct {
    const char *static_key, *peer_id, *none, *others, *yamux;
} vectors[] = {
#include "vectors/payload.h"
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

static void go_payloads_are_read_and_verified(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t static_key[32], id[TP_PEER_ID_MAX], expected[TP_PEER_ID_MAX], p[512];
        const char *forms[3] = {vectors[i].none, vectors[i].others, vectors[i].yamux};
        int id_n;
        CHECK(from_hex(vectors[i].static_key, static_key, 32) == 32);
        size_t expected_n = from_hex(vectors[i].peer_id, expected, sizeof expected);
        for (int form = 0; form < 3; form++) {
            tp_payload payload;
            size_t n = from_hex(forms[form], p, sizeof p);
            CHECK(tp_payload_get(p, n, &payload) == 0);
            CHECK(payload.has_muxers == (form >= 1) && payload.offers_yamux == (form == 2));
            CHECK(tp_payload_verify(&payload, static_key, id, &id_n) == 0);
            CHECK(id_n == (int)expected_n && memcmp(id, expected, expected_n) == 0);
            static_key[31] ^= 1;
            CHECK(tp_payload_verify(&payload, static_key, id, &id_n) == -1);
            static_key[31] ^= 1;
        }
    }
}

static void no_cut_and_no_changed_bit_of_key_or_signature_passes(void) {
    uint8_t static_key[32], id[TP_PEER_ID_MAX], p[512];
    int id_n;
    tp_payload payload;
    CHECK(from_hex(vectors[0].static_key, static_key, 32) == 32);
    size_t n = from_hex(vectors[0].none, p, sizeof p);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = exact_copy(p, cut);
        CHECK(tp_payload_get(copy, cut, &payload) == -1);
        free(copy);
    }
    for (size_t bit = 0; bit < n * 8; bit++) {
        uint8_t *copy = exact_copy(p, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(tp_payload_get(copy, n, &payload) == -1 ||
              tp_payload_verify(&payload, static_key, id, &id_n) == -1);
        free(copy);
    }
}

static void ours_is_what_go_would_send(void) {
    uint8_t public_key[32], secret[64], key_pb[TP_ED25519_PB], signature[64], out[160], static_key[32],
        id[TP_PEER_ID_MAX];
    uint8_t seed[32], signed_bytes[24 + 32], theirs[512];
    int id_n;
    tp_payload payload;
    memset(seed, 1, 32); /* the key of the first vector */
    crypto_sign_seed_keypair(public_key, secret, seed);
    CHECK(from_hex(vectors[0].static_key, static_key, 32) == 32);
    memcpy(signed_bytes, "noise-libp2p-static-key:", 24);
    memcpy(signed_bytes + 24, static_key, 32);
    crypto_sign_detached(signature, NULL, signed_bytes, sizeof signed_bytes, secret);
    tp_ed25519_pb(public_key, key_pb);
    size_t n = tp_payload_put(out, key_pb, signature, 0);
    CHECK(n == from_hex(vectors[0].none, theirs, sizeof theirs) && memcmp(out, theirs, n) == 0);
    n = tp_payload_put(out, key_pb, signature, 1);
    CHECK(n <= 160 && tp_payload_get(out, n, &payload) == 0 && payload.offers_yamux);
    CHECK(tp_payload_verify(&payload, static_key, id, &id_n) == 0 && id_n == 38);
}

static void size_is_bounded_and_unknown_fields_are_skipped(void) {
    static uint8_t p[TP_PAYLOAD_MAX + 1];
    tp_payload payload;
    size_t n = from_hex(vectors[0].none, p, sizeof p);
    size_t filler = TP_PAYLOAD_MAX - n - 4; /* field 100 of this length fills it to the last byte */
    p[n] = 0xa2;
    p[n + 1] = 0x06;
    p[n + 2] = (uint8_t)(filler | 0x80);
    p[n + 3] = (uint8_t)(filler >> 7);
    CHECK(tp_payload_get(p, TP_PAYLOAD_MAX, &payload) == 0);
    p[n + 2]++;
    CHECK(tp_payload_get(p, TP_PAYLOAD_MAX + 1, &payload) == -1);
}

static void fields_of_the_wrong_type_are_refused(void) {
    static const char *const bad[] = {"0801", "1001", "2001", "22021001", "2202", "22031202"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t p[512];
        tp_payload payload;
        size_t n = from_hex(vectors[0].none, p, sizeof p);
        n += from_hex(bad[i], p + n, sizeof p - n);
        CHECK(tp_payload_get(p, n, &payload) == -1);
    }
}

int main(void) {
    CHECK(sodium_init() >= 0);
    RUN(go_payloads_are_read_and_verified);
    RUN(no_cut_and_no_changed_bit_of_key_or_signature_passes);
    RUN(ours_is_what_go_would_send);
    RUN(size_is_bounded_and_unknown_fields_are_skipped);
    RUN(fields_of_the_wrong_type_are_refused);
    return 0;
}
