/* Binary multiaddrs against go-multiaddr's. */
#include "check.h"
#include "multiaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static const struct {
    const char *text, *bytes;
    int circuit;
} vectors[] = {
#include "vectors/multiaddr.h"
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

static void go_addresses_are_valid(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t p[TP_MULTIADDR_MAX];
        size_t n = from_hex(vectors[i].bytes, p, sizeof p);
        CHECK(tp_multiaddr_valid(p, n));
        CHECK(tp_multiaddr_is_circuit(p, n) == vectors[i].circuit);
    }
}

/* A cut is invalid unless it ends between two components, of which no vector has more than eight. */
static void cuts_never_read_beyond(void) {
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t p[TP_MULTIADDR_MAX];
        size_t n = from_hex(vectors[i].bytes, p, sizeof p), valid = 0;
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *copy = exact_copy(p, cut);
            valid += (size_t)tp_multiaddr_valid(copy, cut);
            CHECK(tp_multiaddr_valid(copy, cut) == (tp_multiaddr_is_circuit(copy, cut) >= 0));
            free(copy);
        }
        CHECK(valid <= 7);
    }
}

static void check_bytes(const char *digits, int expected) {
    uint8_t p[64];
    size_t n = from_hex(digits, p, sizeof p);
    uint8_t *copy = exact_copy(p, n);
    CHECK(tp_multiaddr_valid(copy, n) == expected);
    free(copy);
}

static void wrong_values_are_refused(void) {
    static const char *const bad[] = {
        "",     /* nothing */
        "00",   /* protocol 0 */
        "ff7f", /* unknown */
        "8400", /* ip4, written too long */
        "0401020304"
        "02", /* junk behind */
        "35",
        "d203",
        "d20300",
        "d2030112",   /* certhash: no length */
        "3500",       /* dns: no name */
        "3503612f62", /* dns: a slash */
        "3503610062", /* dns: a zero byte */
        "35036162",   /* dns: cut */
        "3583006162"
        "63",                   /* dns: length written too long */
        "35ffffffffffffffff7f", /* dns: the longest length */
        "a50300",               /* p2p: nothing */
        "a503021200",           /* p2p: sha2-256 of no bytes */
        "a50303110161",         /* p2p: sha1 */
        "a503020000",           /* p2p: an empty identity */
        "d20303120261",         /* certhash: its length is wrong */
        "9003"
        "00", /* unix: no path */
        "be03"
        "0161", /* garlic64: too short */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_bytes(bad[i], 0);
    check_bytes("3503616263", 1);
    check_bytes("a503"
                "03000161",
                1);
    check_bytes("d2030412026162", 1);
}

static void garlic_has_its_lengths(void) {
    static uint8_t p[TP_MULTIADDR_MAX];
    for (size_t n = 0; n < 450; n++) {
        for (int is64 = 0; is64 < 2; is64++) {
            p[0] = is64 ? 0xbe : 0xbf;
            p[1] = 0x03;
            size_t header = n < 128 ? 3 : 4;
            p[2] = (uint8_t)(n < 128 ? n : n | 0x80);
            p[3] = (uint8_t)(n < 128 ? 0 : n >> 7);
            CHECK(tp_multiaddr_valid(p, header + n) == (is64 ? n >= 386 : n == 32 || n >= 35));
        }
    }
}

static void names_have_their_lengths(void) {
    static uint8_t p[300] = {53};
    for (size_t n = 0; n < 290; n++) {
        size_t header = n < 128 ? 2 : 3;
        memset(p + 1, 'x', sizeof p - 1);
        p[1] = (uint8_t)(n < 128 ? n : n | 0x80);
        if (n >= 128)
            p[2] = (uint8_t)(n >> 7);
        CHECK(tp_multiaddr_valid(p, header + n) == (n >= 1 && n <= 255));
    }
}

static void length_is_bounded(void) {
    static uint8_t p[TP_MULTIADDR_MAX + 2];
    for (size_t i = 0; i < sizeof p; i += 2) { /* /noise again and again */
        p[i] = 0xc6;
        p[i + 1] = 0x03;
    }
    CHECK(tp_multiaddr_valid(p, TP_MULTIADDR_MAX) && !tp_multiaddr_valid(p, TP_MULTIADDR_MAX + 2));
}

static void check_socket(const char *ip, int family, const char *expected) {
    struct sockaddr_storage storage;
    uint8_t out[TP_MULTIADDR_SOCKET_MAX], bytes[TP_MULTIADDR_SOCKET_MAX];
    memset(&storage, 0, sizeof storage);
    storage.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&storage;
        CHECK(inet_pton(AF_INET, ip, &in->sin_addr) == 1);
        in->sin_port = htons(4001);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
        CHECK(inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1);
        in6->sin6_port = htons(4001);
    }
    size_t n = from_hex(expected, bytes, sizeof bytes);
    CHECK(tp_multiaddr_of_socket((struct sockaddr *)&storage, out) == (int)n && memcmp(out, bytes, n) == 0);
    CHECK(tp_multiaddr_valid(out, n));
}

static void sockets_have_addresses(void) {
    struct sockaddr_storage unix_socket = {.ss_family = AF_UNIX};
    uint8_t out[TP_MULTIADDR_SOCKET_MAX];
    check_socket("192.0.2.7", AF_INET, "04c0000207060fa1");
    check_socket("2001:db8::7", AF_INET6, "2920010db8000000000000000000000007060fa1");
    check_socket("::ffff:192.0.2.7", AF_INET6, "04c0000207060fa1");
    CHECK(tp_multiaddr_of_socket((struct sockaddr *)&unix_socket, out) == -1);
}

int main(void) {
    RUN(go_addresses_are_valid);
    RUN(cuts_never_read_beyond);
    RUN(wrong_values_are_refused);
    RUN(garlic_has_its_lengths);
    RUN(names_have_their_lengths);
    RUN(length_is_bounded);
    RUN(sockets_have_addresses);
    return 0;
}
