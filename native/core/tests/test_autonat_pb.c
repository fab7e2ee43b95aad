/* AutoNAT v2's messages against go-libp2p's. */
#include "autonat_pb.h"
#include "check.h"

static const char *const vectors[][1] = {
#include "vectors/autonat.h"
};

enum { REQUEST, RESPONSE, REFUSAL, DATA_REQUEST, DATA, DIAL_BACK };
static const uint64_t nonce_of_vectors = 0x0123456789abcdefU;

static size_t vector(int which, uint8_t *p, tp_autonat_msg *m) {
    size_t n = from_hex(vectors[which][0], p, 256);
    CHECK(tp_autonat_get(p, n, m) == 0);
    return n;
}

static void go_messages_are_understood(void) {
    uint8_t p[256];
    tp_autonat_msg m;
    vector(REQUEST, p, &m);
    CHECK(m.kind == TP_AUTONAT_REQUEST && m.addrs_n == 2 && m.addrs[0].n == 8 && m.addrs[1].n == 20);
    CHECK(m.nonce == nonce_of_vectors);
    vector(RESPONSE, p, &m);
    CHECK(m.kind == TP_AUTONAT_RESPONSE && m.status == TP_AUTONAT_OK && m.index == 1);
    CHECK(m.dial_status == TP_AUTONAT_DIAL_BACK_ERROR);
    vector(REFUSAL, p, &m);
    CHECK(m.status == TP_AUTONAT_DIAL_REFUSED && m.index == 0 && m.dial_status == TP_AUTONAT_UNUSED);
    vector(DATA_REQUEST, p, &m);
    CHECK(m.kind == TP_AUTONAT_DATA_REQUEST && m.index == 3 && m.bytes == 65432);
    vector(DATA, p, &m);
    CHECK(m.kind == TP_AUTONAT_DATA && m.data.n == 7 && memcmp(m.data.p, "towpath", 7) == 0);
}

static void ours_are_the_same(void) {
    uint8_t p[256], out[256];
    tp_autonat_msg m;
    for (int which = REQUEST; which <= DATA; which++) {
        size_t n = vector(which, p, &m);
        for (size_t max = 0; max < n; max++) {
            uint8_t *exact = malloc(max == 0 ? 1 : max);
            CHECK(tp_autonat_put(exact, max, &m) == -1);
            free(exact);
        }
        CHECK(tp_autonat_put(out, n, &m) == (int)n && memcmp(out, p, n) == 0);
    }
}

static void a_dial_back_is_a_nonce(void) {
    uint8_t p[TP_DIAL_BACK_MAX + 1] = {0}, out[16];
    uint64_t nonce;
    size_t n = from_hex(vectors[DIAL_BACK][0], p, sizeof p);
    CHECK(tp_dial_back_get(p, n, &nonce) == 0 && nonce == nonce_of_vectors);
    CHECK(tp_dial_back_put(out, 8, nonce) == -1);
    CHECK(tp_dial_back_put(out, 9, nonce) == 9 && n == 9 && memcmp(out, p, 9) == 0);
    for (size_t cut = 1; cut < n; cut++) {
        uint8_t *copy = exact_copy(p, cut);
        CHECK(tp_dial_back_get(copy, cut, &nonce) == -1);
        free(copy);
    }
    CHECK(tp_dial_back_get(p, 0, &nonce) == 0 && nonce == 0);
    CHECK(tp_dial_back_get((const uint8_t *)"\x08\x01", 2, &nonce) == -1);
    CHECK(tp_dial_back_get(p, sizeof p, &nonce) == -1);
}

static void cuts_never_read_beyond(void) {
    uint8_t p[256];
    tp_autonat_msg m;
    for (int which = REQUEST; which <= DATA; which++) {
        size_t n = vector(which, p, &m);
        for (size_t cut = 1; cut < n; cut++) {
            uint8_t *copy = exact_copy(p, cut);
            CHECK(tp_autonat_get(copy, cut, &m) == -1);
            free(copy);
        }
        CHECK(tp_autonat_get(p, 0, &m) == 0 && m.kind == TP_AUTONAT_NOTHING);
    }
}

static void wrong_types_are_refused_and_unknown_fields_skipped(void) {
    static const char *const wrong[] = {
        "0801",     /* a request that is a number */
        "0a020801", /* an address that is a number */
        "0a021001", /* a nonce that is a varint */
        "12020a00", /* a status of bytes */
        "12021200", /* an index of bytes */
        "1a020a00", /* an index of bytes, of a request for data */
        "22020801", /* data that is a number */
    };
    uint8_t p[16];
    tp_autonat_msg m;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(tp_autonat_get(p, from_hex(wrong[i], p, sizeof p), &m) == -1);
    CHECK(tp_autonat_get(p, from_hex("2801120408c82001", p, sizeof p), &m) == -1);
    CHECK(tp_autonat_get(p, from_hex("280112042005086a", p, sizeof p), &m) == 0 && m.status == 106);
}

static void numbers_beyond_their_type_are_bounded(void) {
    uint8_t p[32];
    tp_autonat_msg m;
    CHECK(tp_autonat_get(p, from_hex("121108ffffffffffffffff7f10808080808010", p, sizeof p), &m) == 0);
    CHECK(m.status == INT32_MAX && m.index == UINT32_MAX);
}

static void long_lists_are_cut_and_long_messages_refused(void) {
    static uint8_t p[TP_AUTONAT_MAX + 1];
    tp_autonat_msg m;
    size_t n = 3;
    for (int i = 0; i < TP_AUTONAT_ADDRS + 5; i++, n += 3)
        memcpy(p + n, "\x0a\x01L", 3);
    p[0] = 0x0a;
    p[1] = (uint8_t)((n - 3) | 0x80);
    p[2] = (uint8_t)((n - 3) >> 7);
    CHECK(tp_autonat_get(p, n, &m) == 0 && m.addrs_n == TP_AUTONAT_ADDRS);
    CHECK(tp_autonat_get(p, sizeof p, &m) == -1);
}

int main(void) {
    RUN(go_messages_are_understood);
    RUN(ours_are_the_same);
    RUN(a_dial_back_is_a_nonce);
    RUN(cuts_never_read_beyond);
    RUN(wrong_types_are_refused_and_unknown_fields_skipped);
    RUN(numbers_beyond_their_type_are_bounded);
    RUN(long_lists_are_cut_and_long_messages_refused);
    return 0;
}
