/* Identify messages against go-libp2p's. */
#include "check.h"
#include "identify_pb.h"

static const char *const vectors[][1] = {
#include "vectors/identify.h"
};

static int is(tp_slice s, const char *text) {
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static void go_messages_are_understood_and_ours_are_the_same(void) {
    uint8_t p[1024], out[1024];
    tp_identify m;
    size_t n = from_hex(vectors[0][0], p, sizeof p);
    CHECK(tp_identify_get(p, n, &m) == 0);
    CHECK(m.key_pb.n == TP_ED25519_PB && m.listen_n == 2 && m.listen[0].n == 8 && m.listen[1].n == 20);
    CHECK(m.protocols_n == 3 && is(m.protocols[0], "/ipfs/ping/1.0.0") &&
          is(m.protocols[2], "/libp2p/circuit/relay/0.2.0/hop"));
    CHECK(m.observed.n == 8 && is(m.protocol_version, "ipfs/0.1.0") && is(m.agent, "go-libp2p"));
    CHECK(m.signed_record.n > 64);
    for (size_t max = 0; max <= n; max++) {
        uint8_t *exact = malloc(max == 0 ? 1 : max);
        CHECK(tp_identify_put(exact, max, &m) == (max < n ? -1 : (int)n));
        free(exact);
    }
    CHECK(tp_identify_put(out, sizeof out, &m) == (int)n && memcmp(out, p, n) == 0);
}

static void cuts_never_read_beyond(void) {
    uint8_t p[1024];
    tp_identify m;
    size_t n = from_hex(vectors[0][0], p, sizeof p);
    int refused = 0;
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = exact_copy(p, cut);
        refused += tp_identify_get(copy, cut, &m) != 0;
        free(copy);
    }
    CHECK(refused == (int)n - 10); /* the ends of nothing and of nine fields are whole messages */
}

static void long_lists_are_cut_and_not_refused(void) {
    static uint8_t p[TP_IDENTIFY_MAX];
    size_t n = 0;
    tp_identify m;
    for (int i = 0; i < TP_IDENTIFY_LISTS + 5; i++) {
        memcpy(p + n, "\x12\x01L\x1a\x01P", 6);
        n += 6;
    }
    CHECK(tp_identify_get(p, n, &m) == 0 && m.listen_n == TP_IDENTIFY_LISTS &&
          m.protocols_n == TP_IDENTIFY_LISTS);
    CHECK(is(m.listen[TP_IDENTIFY_LISTS - 1], "L") && is(m.protocols[TP_IDENTIFY_LISTS - 1], "P"));
}

static void wrong_types_and_sizes_are_refused(void) {
    static const uint8_t numbers[] = {0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x40};
    static uint8_t big[TP_IDENTIFY_MAX + 1];
    tp_identify m;
    for (size_t i = 0; i < sizeof numbers; i++) {
        uint8_t p[2] = {numbers[i], 0};
        CHECK(tp_identify_get(p, 2, &m) == -1);
    }
    CHECK(tp_identify_get((const uint8_t *)"\x38\x01\x48\x01", 4, &m) == 0);
    /* One unknown field of TP_IDENTIFY_MAX bytes in all. */
    big[0] = 0x3a;
    big[1] = (uint8_t)((TP_IDENTIFY_MAX - 3) | 0x80);
    big[2] = (TP_IDENTIFY_MAX - 3) >> 7;
    CHECK(tp_identify_get(big, TP_IDENTIFY_MAX, &m) == 0);
    big[1]++;
    CHECK(tp_identify_get(big, TP_IDENTIFY_MAX + 1, &m) == -1);
}

int main(void) {
    RUN(go_messages_are_understood_and_ours_are_the_same);
    RUN(cuts_never_read_beyond);
    RUN(long_lists_are_cut_and_not_refused);
    RUN(wrong_types_and_sizes_are_refused);
    return 0;
}
