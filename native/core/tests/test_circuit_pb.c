/* HOP and STOP messages and vouchers against go-libp2p's, and against what a hostile peer may send. */
#include "check.h"
#include "circuit_pb.h"

#include <sodium.h>

static const struct {
    const char *name;
    int stop;
    const char *bytes;
} vectors[] = {
#include "vectors/circuit.h"
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

static const struct {
    int seed;
    const char *relay, *peer;
    uint64_t expire;
    const char *envelope;
} vouchers[] = {
#include "vectors/voucher.h"
};

static size_t bytes_of(const char *name, int stop, uint8_t *out, size_t max) {
    size_t i = 0;
    while (i < VECTORS && (vectors[i].stop != stop || strcmp(vectors[i].name, name) != 0))
        i++;
    CHECK(i < VECTORS);
    return from_hex(vectors[i].bytes, out, max);
}

static int get(int stop, const uint8_t *p, size_t n, tp_circuit_msg *m) {
    return stop ? tp_stop_get(p, n, m) : tp_hop_get(p, n, m);
}

static int put(int stop, uint8_t *out, size_t max, const tp_circuit_msg *m) {
    return stop ? tp_stop_put(out, max, m) : tp_hop_put(out, max, m);
}

static int is(tp_slice s, const char *digits) {
    uint8_t expected[64];
    size_t n = from_hex(digits, expected, sizeof expected);
    return s.n == n && memcmp(s.p, expected, n) == 0;
}

static const char address[] = "04c0000207060fa1",
                  other_address[] = "2920010db8000000000000000000000007060fa1";

static void go_hop_messages_are_understood(void) {
    uint8_t p[512];
    tp_circuit_msg m;
    size_t n = bytes_of("reserve", 0, p, sizeof p);
    CHECK(tp_hop_get(p, n, &m) == 0 && m.type == TP_HOP_RESERVE && m.status == -1);
    CHECK(!m.has_peer && !m.has_reservation && !m.has_limit && m.addrs_n == 0);
    n = bytes_of("connect", 0, p, sizeof p);
    CHECK(tp_hop_get(p, n, &m) == 0 && m.type == TP_HOP_CONNECT && m.has_peer &&
          is(m.peer_id, vouchers[0].peer));
    CHECK(m.addrs_n == 0);
    n = bytes_of("connect with addresses", 0, p, sizeof p);
    CHECK(tp_hop_get(p, n, &m) == 0 && m.has_peer && is(m.peer_id, vouchers[0].peer) && m.addrs_n == 2);
    CHECK(is(m.addrs[0], address) && is(m.addrs[1], other_address));
    n = bytes_of("refused", 0, p, sizeof p);
    CHECK(tp_hop_get(p, n, &m) == 0 && m.type == TP_HOP_STATUS && m.status == TP_RESERVATION_REFUSED);
    n = bytes_of("reserved", 0, p, sizeof p);
    CHECK(tp_hop_get(p, n, &m) == 0 && m.type == TP_HOP_STATUS && m.status == TP_OK && m.has_reservation);
    CHECK(m.expire == vouchers[0].expire && m.addrs_n == 2 && is(m.addrs[1], other_address) && !m.has_limit);
    tp_voucher v;
    CHECK(tp_voucher_get(m.voucher.p, m.voucher.n, &v) == 0);
    n = bytes_of("reserved with a limit", 0, p, sizeof p);
    CHECK(tp_hop_get(p, n, &m) == 0 && m.has_limit && m.limit_duration == 120 && m.limit_data == 1 << 17);
}

static void go_stop_messages_are_understood(void) {
    uint8_t p[512];
    tp_circuit_msg m;
    size_t n = bytes_of("connect", 1, p, sizeof p);
    CHECK(tp_stop_get(p, n, &m) == 0 && m.type == TP_STOP_CONNECT && is(m.peer_id, vouchers[0].peer) &&
          !m.has_limit);
    n = bytes_of("connect with a limit", 1, p, sizeof p);
    CHECK(tp_stop_get(p, n, &m) == 0 && m.has_limit && m.limit_duration == 120 && m.limit_data == 1 << 17);
    n = bytes_of("accepted", 1, p, sizeof p);
    CHECK(tp_stop_get(p, n, &m) == 0 && m.type == TP_STOP_STATUS && m.status == TP_OK && !m.has_peer);
}

/* Encoding what was decoded gives go's bytes, and a buffer one byte short is refused without a write behind
 * its end. */
static void ours_are_the_same_bytes(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t p[512];
        tp_circuit_msg m;
        size_t n = from_hex(vectors[i].bytes, p, sizeof p);
        CHECK(get(vectors[i].stop, p, n, &m) == 0);
        for (size_t max = 0; max <= n; max++) {
            uint8_t *out = malloc(max == 0 ? 1 : max);
            CHECK(put(vectors[i].stop, out, max, &m) == (max < n ? -1 : (int)n));
            CHECK(max < n || memcmp(out, p, n) == 0);
            free(out);
        }
    }
}

static void a_limit_of_nothing_is_not_told(void) {
    uint8_t out[64];
    tp_circuit_msg m = {.type = TP_HOP_STATUS, .status = TP_OK, .has_limit = 1};
    CHECK(tp_hop_put(out, sizeof out, &m) == 4 && tp_stop_put(out, sizeof out, &m) == 4);
    m.limit_data = 1;
    CHECK(tp_hop_put(out, sizeof out, &m) == 4 + 4);
    CHECK(out[2] == 0x22 && out[3] == 2 && out[4] == 0x10 && out[5] == 1);
}

/* No cut of a message is read beyond its end; a cut at the end of a field is a shorter message. */
static void cuts_never_read_beyond(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t p[512];
        tp_circuit_msg m;
        size_t n = from_hex(vectors[i].bytes, p, sizeof p);
        int refused = 0;
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *copy = exact_copy(p, cut);
            refused += get(vectors[i].stop, copy, cut, &m) != 0;
            free(copy);
        }
        CHECK(refused >= (int)n - 5);
    }
}

static void check_bytes(const char *digits, int stop, int expected, tp_circuit_msg *m) {
    uint8_t p[64];
    size_t n = from_hex(digits, p, sizeof p);
    uint8_t *copy = exact_copy(p, n);
    CHECK(get(stop, copy, n, m) == expected);
    free(copy);
}

static void odd_messages_mean_what_protobuf_says(void) {
    tp_circuit_msg m;
    check_bytes("", 0, 0, &m);
    CHECK(m.type == -1 && m.status == -1);
    check_bytes("08000801", 0, 0, &m); /* the last one wins */
    CHECK(m.type == TP_HOP_CONNECT);
    check_bytes("08ffffffffffffffffff01", 0, 0, &m); /* -1 is no type that anybody knows */
    CHECK(m.type == INT32_MAX);
    check_bytes("0880808080800128b9c0c0c0c0c001", 0, 0, &m);
    CHECK(m.type == INT32_MAX && m.status == INT32_MAX);
    check_bytes("c23e03616263"
                "0801"
                "3d01020304"
                "410102030405060708",
                0, 0, &m); /* unknown fields of every wire type */
    CHECK(m.type == TP_HOP_CONNECT);
    check_bytes("1a052201412000", 0, 0, &m); /* and in a Reservation, */
    CHECK(m.has_reservation && m.addrs_n == 0);
    check_bytes("12052201411801", 0, 0, &m); /* a Peer, */
    CHECK(m.has_peer && m.addrs_n == 0 && m.peer_id.n == 0);
    check_bytes("22051a01411001", 0, 0, &m); /* a Limit */
    CHECK(m.has_limit && m.limit_data == 1);
    check_bytes("2a00", 1, 0, &m); /* 5 is status in HOP and unknown in STOP */
    check_bytes("12030a0141120b0a01421201431201440000", 0, -1, &m);
    check_bytes("12060a01411201431200", 0, 0, &m); /* an empty Peer behind a full one */
    CHECK(m.has_peer && m.peer_id.n == 0 && m.addrs_n == 0);
    check_bytes("2204080510ff0122020807", 0, -1, &m);
    check_bytes("2203080510012202080a", 0, -1, &m);
    check_bytes("22040805100122020807", 0, 0, &m); /* a later limit replaces the earlier one */
    CHECK(m.has_limit && m.limit_duration == 7 && m.limit_data == 0);
}

static void malformed_messages_are_refused(void) {
    static const char *const both[] = {
        "0a00",                   /* type as bytes */
        "0d00000000",             /* type as 32 bits */
        "1000",                   /* peer as a number */
        "1203080141",             /* its id as a number */
        "12021001",               /* its address as a number */
        "1202",                   /* the length beyond the end */
        "1280",                   /* the length cut */
        "12ffffffffffffffffff01", /* the longest length there is */
        "12ffffffffffffffffff02", /* and a longer one */
        "08",                     /* no value */
        "0880",                   /* a cut value */
        "0880808080808080808002", /* a value over 64 bits */
        "0000",                   /* field 0 */
        "0b0c",                   /* a group */
        "0f00",                   /* wire type 7 */
        "80",                     /* a cut tag */
        "8080808010"
        "00", /* field number 2^29 */
    };
    static const char *const hop[] = {"1800", "1a020a00", "1a021000", "1a021800", "22020a00", "2a00", "2000"};
    static const char *const stop[] = {"1800", "1a020a00", "1a021200", "2200"};
    tp_circuit_msg m;
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        check_bytes(both[i], 0, -1, &m);
        check_bytes(both[i], 1, -1, &m);
    }
    for (size_t i = 0; i < sizeof hop / sizeof *hop; i++)
        check_bytes(hop[i], 0, -1, &m);
    for (size_t i = 0; i < sizeof stop / sizeof *stop; i++)
        check_bytes(stop[i], 1, -1, &m);
}

static void addresses_are_counted(void) {
    for (int reservation = 0; reservation < 2; reservation++) {
        uint8_t out[512], longer[512];
        tp_circuit_msg m = {.type = TP_HOP_STATUS, .status = -1}, back;
        m.has_peer = !reservation;
        m.has_reservation = reservation;
        for (m.addrs_n = 0; m.addrs_n < TP_HOP_ADDRS; m.addrs_n++)
            m.addrs[m.addrs_n] = (tp_slice){(const uint8_t *)"x", 1};
        int n = tp_hop_put(out, sizeof out, &m);
        CHECK(n > 0 && tp_hop_get(out, (size_t)n, &back) == 0 && back.addrs_n == TP_HOP_ADDRS);
        /* One more, at the end of the nested message. */
        memcpy(longer, out, (size_t)n);
        memcpy(longer + n, "\x12\x01y", 3);
        unsigned nested = (unsigned)(longer[3] & 0x7f) + ((unsigned)longer[4] << 7) + 3;
        longer[3] = (uint8_t)(nested | 0x80);
        longer[4] = (uint8_t)(nested >> 7);
        CHECK(tp_hop_get(longer, (size_t)n + 3, &back) == -1);
    }
}

static void a_reservation_has_its_own_addresses(void) {
    static const char *const orders[2] = {"1a03120141"
                                          "12061201421201430802",
                                          "1206120142120143"
                                          "1a03120141"
                                          "0802"};
    for (int i = 0; i < 2; i++) {
        uint8_t p[64];
        tp_circuit_msg m;
        size_t n = from_hex(orders[i], p, sizeof p);
        CHECK(tp_hop_get(p, n, &m) == 0 && m.has_peer && m.has_reservation && m.addrs_n == 1 &&
              m.addrs[0].p[0] == 'A');
    }
}

static void vouchers_of_go_verify_and_ours_are_the_same(void) {
    for (size_t i = 0; i < sizeof vouchers / sizeof *vouchers; i++) {
        uint8_t p[512], relay[64], peer[64], seed[32], public_key[32], secret[64], out[512];
        size_t n = from_hex(vouchers[i].envelope, p, sizeof p);
        tp_voucher v;
        CHECK(tp_voucher_get(p, n, &v) == 0 && v.expire == vouchers[i].expire);
        CHECK(is(v.relay, vouchers[i].relay) && is(v.peer, vouchers[i].peer));
        CHECK(v.signer_key_pb.p > p && v.signer_key_pb.p + v.signer_key_pb.n < p + n);
        if (vouchers[i].seed == 0)
            continue;
        tp_slice relay_id = {relay, from_hex(vouchers[i].relay, relay, sizeof relay)};
        tp_slice peer_id = {peer, from_hex(vouchers[i].peer, peer, sizeof peer)};
        memset(seed, vouchers[i].seed, 32);
        crypto_sign_seed_keypair(public_key, secret, seed);
        for (size_t max = n - 3; max <= n; max++) {
            int put_n = tp_voucher_put(out, max, public_key, secret, relay_id, peer_id, vouchers[i].expire);
            CHECK(put_n == (max < n ? -1 : (int)n));
        }
        CHECK(memcmp(out, p, n) == 0);
    }
}

static void no_cut_and_no_changed_bit_of_a_voucher_passes(void) {
    uint8_t p[512];
    tp_voucher v;
    size_t n = from_hex(vouchers[0].envelope, p, sizeof p);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = exact_copy(p, cut);
        CHECK(tp_voucher_get(copy, cut, &v) == -1);
        free(copy);
    }
    for (size_t bit = 0; bit < n * 8; bit++) {
        uint8_t *copy = exact_copy(p, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(tp_voucher_get(copy, n, &v) == -1);
        free(copy);
    }
}

static void a_relay_signs_only_for_itself(void) {
    uint8_t relay[64], peer[64], seed[32], public_key[32], secret[64], out[512];
    tp_voucher v;
    tp_slice relay_id = {relay, from_hex(vouchers[0].relay, relay, sizeof relay)};
    tp_slice peer_id = {peer, from_hex(vouchers[0].peer, peer, sizeof peer)};
    memset(seed, 1, 32);
    crypto_sign_seed_keypair(public_key, secret, seed);
    int n = tp_voucher_put(out, sizeof out, public_key, secret, peer_id, relay_id, 5);
    CHECK(n > 0 && tp_voucher_get(out, (size_t)n, &v) == -1);
    n = tp_voucher_put(out, sizeof out, public_key, secret, relay_id, (tp_slice){peer, 3}, 5);
    CHECK(n > 0 && tp_voucher_get(out, (size_t)n, &v) == -1); /* no valid peer id */
    n = tp_voucher_put(out, sizeof out, public_key, secret, relay_id, peer_id, UINT64_MAX);
    CHECK(n > 0 && tp_voucher_get(out, (size_t)n, &v) == 0 && v.expire == UINT64_MAX);
    CHECK(tp_voucher_put(out, sizeof out, public_key, secret, relay_id, (tp_slice){out, 200}, 5) == -1);
}

int main(void) {
    CHECK(sodium_init() >= 0);
    RUN(go_hop_messages_are_understood);
    RUN(go_stop_messages_are_understood);
    RUN(ours_are_the_same_bytes);
    RUN(a_limit_of_nothing_is_not_told);
    RUN(cuts_never_read_beyond);
    RUN(odd_messages_mean_what_protobuf_says);
    RUN(malformed_messages_are_refused);
    RUN(addresses_are_counted);
    RUN(a_reservation_has_its_own_addresses);
    RUN(vouchers_of_go_verify_and_ours_are_the_same);
    RUN(no_cut_and_no_changed_bit_of_a_voucher_passes);
    RUN(a_relay_signs_only_for_itself);
    return 0;
}
