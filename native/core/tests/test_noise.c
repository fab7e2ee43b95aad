/* The Noise XX handshake against another implementation, and against forged and truncated messages. */
#include "check.h"
#include "noise.h"

#include <sodium.h>

typedef struct {
    tp_aead *aead;
    tp_noise a, b; /* initiator and responder */
} pair;

static void start(pair *p, tp_aead_kind kind) {
    uint8_t public_key[32], secret[32];
    p->aead = tp_aead_new(kind);
    CHECK(p->aead != NULL);
    memset(secret, 11, 32);
    crypto_scalarmult_base(public_key, secret);
    tp_noise_init(&p->a, p->aead, 1, public_key, secret);
    memset(secret, 22, 32);
    crypto_scalarmult_base(public_key, secret);
    tp_noise_init(&p->b, p->aead, 0, public_key, secret);
}

static void stop(pair *p) {
    tp_noise_wipe(&p->a);
    tp_noise_wipe(&p->b);
    tp_aead_free(p->aead);
}

static tp_noise *writer(pair *p) {
    return tp_noise_writes(&p->a) ? &p->a : &p->b;
}

static tp_noise *reader(pair *p) {
    return tp_noise_writes(&p->a) ? &p->b : &p->a;
}

/* Runs the first `steps` messages without payload. */
static void advance(pair *p, int steps) {
    uint8_t msg[256], *payload;
    size_t payload_n;
    for (int i = 0; i < steps; i++) {
        tp_noise *to = reader(p);
        int n = tp_noise_write(writer(p), NULL, 0, msg, sizeof msg);
        CHECK(n > 0 && tp_noise_read(to, msg, (size_t)n, &payload, &payload_n) == 0 && payload_n == 0);
    }
}

static void matches_the_vectors(void) {
    static const struct {
        const char *secrets[4], *payloads[3], *messages[3], *hash, *transport[2];
    } vectors[] = {
#include "vectors/noise.h"
    };
    for (size_t v = 0; v < 2 * sizeof vectors / sizeof *vectors; v++) {
        size_t i = v / 2;
        uint8_t secret[4][32], public_key[32], text[512], expected[512], msg[512], *payload;
        size_t payload_n;
        pair p = {tp_aead_new(v % 2 == 0 ? TP_AEAD_SODIUM : TP_AEAD_OPENSSL), {0}, {0}};
        for (int k = 0; k < 4; k++)
            CHECK(from_hex(vectors[i].secrets[k], secret[k], 32) == 32);
        crypto_scalarmult_base(public_key, secret[0]);
        tp_noise_init(&p.a, p.aead, 1, public_key, secret[0]);
        tp_noise_fix_ephemeral(&p.a, secret[1]);
        crypto_scalarmult_base(public_key, secret[2]);
        tp_noise_init(&p.b, p.aead, 0, public_key, secret[2]);
        tp_noise_fix_ephemeral(&p.b, secret[3]);
        for (int m = 0; m < 3; m++) {
            size_t n = from_hex(vectors[i].payloads[m], text, sizeof text);
            size_t expected_n = from_hex(vectors[i].messages[m], expected, sizeof expected);
            tp_noise *to = reader(&p);
            CHECK(tp_noise_write(writer(&p), text, n, msg, sizeof msg) == (int)expected_n);
            CHECK(memcmp(msg, expected, expected_n) == 0);
            CHECK(tp_noise_read(to, msg, expected_n, &payload, &payload_n) == 0);
            CHECK(payload_n == n && memcmp(payload, text, n) == 0);
        }
        CHECK(tp_noise_done(&p.a) && tp_noise_done(&p.b));
        CHECK(from_hex(vectors[i].hash, expected, 32) == 32);
        CHECK(memcmp(p.a.h, expected, 32) == 0 && memcmp(p.b.h, expected, 32) == 0);
        CHECK(memcmp(p.a.rs, p.b.s_public, 32) == 0 && memcmp(p.b.rs, p.a.s_public, 32) == 0);
        tp_cipher a_send, a_recv, b_send, b_recv;
        tp_noise_split(&p.a, &a_send, &a_recv);
        tp_noise_split(&p.b, &b_send, &b_recv);
        CHECK(from_hex(vectors[i].transport[0], expected, sizeof expected) == 18 + 16);
        CHECK(tp_seal(p.aead, &a_send, msg, (const uint8_t *)"from the initiator", 18, NULL, 0) == 0);
        CHECK(memcmp(msg, expected, 34) == 0 && tp_open(p.aead, &b_recv, msg, 34, NULL, 0) == 0);
        CHECK(from_hex(vectors[i].transport[1], expected, sizeof expected) == 18 + 16);
        CHECK(tp_seal(p.aead, &b_send, msg, (const uint8_t *)"from the responder", 18, NULL, 0) == 0);
        CHECK(memcmp(msg, expected, 34) == 0 && tp_open(p.aead, &a_recv, msg, 34, NULL, 0) == 0);
        stop(&p);
    }
}

static void every_changed_byte_and_every_cut_is_refused(void) {
    for (int step = 1; step < 3; step++) {
        pair p;
        uint8_t msg[256], text[20] = {1}, *payload;
        size_t payload_n;
        start(&p, TP_AEAD_SODIUM);
        advance(&p, step);
        tp_noise to = *reader(&p);
        int n = tp_noise_write(writer(&p), text, sizeof text, msg, sizeof msg);
        CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            /* The top bit of an X25519 key is ignored by the function, but not by the transcript. */
            tp_noise victim = to;
            uint8_t *bad = exact_copy(msg, (size_t)n);
            bad[i] ^= 0x80;
            CHECK(tp_noise_read(&victim, bad, (size_t)n, &payload, &payload_n) == -1);
            CHECK(!tp_noise_done(&victim) && !tp_noise_writes(&victim));
            memcpy(bad, msg, (size_t)n);
            CHECK(tp_noise_read(&victim, bad, (size_t)n, &payload, &payload_n) == -1); /* failure is final */
            free(bad);
        }
        for (int cut = 0; cut < n; cut++) {
            tp_noise victim = to;
            uint8_t *bad = exact_copy(msg, (size_t)cut);
            CHECK(tp_noise_read(&victim, bad, (size_t)cut, &payload, &payload_n) == -1);
            free(bad);
        }
        CHECK(tp_noise_read(&to, msg, (size_t)n, &payload, &payload_n) == 0 && payload_n == sizeof text);
        stop(&p);
    }
}

static void the_first_message_needs_a_whole_key(void) {
    pair p;
    uint8_t msg[40] = {9}, *payload;
    size_t payload_n;
    start(&p, TP_AEAD_SODIUM);
    for (size_t n = 0; n < 32; n++) {
        tp_noise victim = p.b;
        CHECK(tp_noise_read(&victim, msg, n, &payload, &payload_n) == -1);
    }
    CHECK(tp_noise_read(&p.b, msg, 40, &payload, &payload_n) == 0 && payload == msg + 32 && payload_n == 8);
    stop(&p);
}

static void low_order_keys_are_refused(void) {
    static const char *const low_order[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (size_t i = 0; i < sizeof low_order / sizeof *low_order; i++) {
        pair p;
        uint8_t msg[32], out[256], *payload;
        size_t payload_n;
        start(&p, TP_AEAD_SODIUM);
        CHECK(from_hex(low_order[i], msg, 32) == 32);
        CHECK(tp_noise_read(&p.b, msg, 32, &payload, &payload_n) == 0);
        CHECK(tp_noise_write(&p.b, NULL, 0, out, sizeof out) == -1);
        stop(&p);
    }
}

static void turns_are_kept(void) {
    pair p;
    uint8_t msg[256] = {9}, *payload;
    size_t payload_n;
    start(&p, TP_AEAD_SODIUM);
    CHECK(tp_noise_writes(&p.a) && !tp_noise_writes(&p.b));
    CHECK(tp_noise_write(&p.b, NULL, 0, msg, sizeof msg) == -1);
    CHECK(tp_noise_read(&p.a, msg, 32, &payload, &payload_n) == -1);
    advance(&p, 3);
    CHECK(tp_noise_done(&p.a) && tp_noise_done(&p.b));
    CHECK(tp_noise_write(&p.a, NULL, 0, msg, sizeof msg) == -1 &&
          tp_noise_write(&p.b, NULL, 0, msg, sizeof msg) == -1);
    CHECK(tp_noise_read(&p.a, msg, 64, &payload, &payload_n) == -1);
    CHECK(tp_noise_read(&p.b, msg, 64, &payload, &payload_n) == -1);
    stop(&p);
}

static void sizes_are_bounded(void) {
    static uint8_t text[TP_NOISE_MAX], msg[TP_NOISE_MAX + 1], *payload;
    static const size_t overhead[3] = {32, 96, 64};
    size_t payload_n;
    for (int step = 0; step < 3; step++) {
        pair p;
        start(&p, TP_AEAD_SODIUM);
        advance(&p, step);
        size_t most = TP_NOISE_MAX - overhead[step];
        tp_noise *to = reader(&p), *from = writer(&p);
        CHECK(tp_noise_write(from, text, most + 1, msg, sizeof msg) == -1);
        CHECK(tp_noise_write(from, text, 10, msg, overhead[step] + 9) == -1);
        CHECK(tp_noise_write(from, text, most, msg, TP_NOISE_MAX) == TP_NOISE_MAX);
        tp_noise victim = *to;
        CHECK(tp_noise_read(&victim, msg, TP_NOISE_MAX + 1, &payload, &payload_n) == -1);
        CHECK(tp_noise_read(to, msg, TP_NOISE_MAX, &payload, &payload_n) == 0 && payload_n == most);
        stop(&p);
    }
}

static void secrets_are_gone_after_split_and_wipe(void) {
    static const tp_noise nothing;
    pair p;
    tp_cipher send, recv;
    start(&p, TP_AEAD_OPENSSL);
    advance(&p, 3);
    tp_noise_split(&p.a, &send, &recv);
    CHECK(sodium_is_zero(p.a.s_secret, 32) && sodium_is_zero(p.a.e_secret, 32) && sodium_is_zero(p.a.ck, 32));
    CHECK(sodium_is_zero(p.a.k.key, 32));
    tp_noise_wipe(&p.a);
    CHECK(memcmp(&p.a, &nothing, sizeof nothing) == 0);
    stop(&p);
}

int main(void) {
    RUN(matches_the_vectors);
    RUN(every_changed_byte_and_every_cut_is_refused);
    RUN(the_first_message_needs_a_whole_key);
    RUN(low_order_keys_are_refused);
    RUN(turns_are_kept);
    RUN(sizes_are_bounded);
    RUN(secrets_are_gone_after_split_and_wipe);
    return 0;
}
