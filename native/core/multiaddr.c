/* Owns the table of multiaddr protocols and the bounds of their values. */
#include "multiaddr.h"
#include "key.h"
#include "varint.h"

#include <netinet/in.h>
#include <string.h>

enum { IP4 = 4, TCP = 6, IP6 = 41, P2P_CIRCUIT = 290 };

/* How the value of a protocol is checked. FIXED: `size` bytes of anything; the others have a varint length.
 */
typedef enum { FIXED, NAME, PATH, PEER_ID, MULTIHASH, GARLIC64, GARLIC32 } value_kind;

typedef struct {
    uint32_t code;
    uint16_t size;
    value_kind kind;
} protocol;

static const protocol protocols[] = {
    {IP4, 4, FIXED},         {TCP, 2, FIXED},    {33, 2, FIXED},  /* dccp */
    {IP6, 16, FIXED},        {42, 0, NAME},                       /* ip6zone */
    {43, 1, FIXED},                                               /* ipcidr */
    {53, 0, NAME},                                                /* dns */
    {54, 0, NAME},                                                /* dns4 */
    {55, 0, NAME},                                                /* dns6 */
    {56, 0, NAME},                                                /* dnsaddr */
    {132, 2, FIXED},                                              /* sctp */
    {273, 2, FIXED},                                              /* udp */
    {275, 0, FIXED},                                              /* p2p-webrtc-star */
    {276, 0, FIXED},                                              /* p2p-webrtc-direct */
    {277, 0, FIXED},                                              /* p2p-stardust */
    {280, 0, FIXED},                                              /* webrtc-direct */
    {281, 0, FIXED},                                              /* webrtc */
    {P2P_CIRCUIT, 0, FIXED}, {301, 0, FIXED},                     /* udt */
    {302, 0, FIXED},                                              /* utp */
    {400, 0, PATH},                                               /* unix */
    {421, 0, PEER_ID},       {444, 12, FIXED},                    /* onion */
    {445, 37, FIXED},                                             /* onion3 */
    {446, 0, GARLIC64},      {447, 0, GARLIC32}, {448, 0, FIXED}, /* tls */
    {449, 0, NAME},                                               /* sni */
    {454, 0, FIXED},                                              /* noise */
    {460, 0, FIXED},                                              /* quic */
    {461, 0, FIXED},                                              /* quic-v1 */
    {465, 0, FIXED},                                              /* webtransport */
    {466, 0, MULTIHASH},                                          /* certhash */
    {477, 0, FIXED},                                              /* ws */
    {478, 0, FIXED},                                              /* wss */
    {479, 0, FIXED},                                              /* p2p-websocket-star */
    {480, 0, FIXED},                                              /* http */
    {481, 0, PATH},                                               /* http-path */
    {443, 0, FIXED},                                              /* https */
    {777, 8, FIXED},                                              /* memory */
};

static const protocol *find(uint64_t code) {
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (protocols[i].code == code)
            return &protocols[i];
    return NULL;
}

static int is_name(const uint8_t *p, size_t n) {
    return n != 0 && n <= 255 && memchr(p, '/', n) == NULL && memchr(p, 0, n) == NULL;
}

static int is_multihash(const uint8_t *p, size_t n) {
    uint64_t code, length;
    int first = tp_varint_get(p, n, &code);
    int second = first <= 0 ? -1 : tp_varint_get(p + first, n - (size_t)first, &length);
    return second > 0 && length == n - (size_t)first - (size_t)second;
}

static int is_value(value_kind kind, const uint8_t *p, size_t n) {
    switch (kind) {
    case NAME:
        return is_name(p, n);
    case PATH:
        return n != 0 && memchr(p, 0, n) == NULL;
    case PEER_ID:
        return tp_peer_id_valid(p, n);
    case MULTIHASH:
        return is_multihash(p, n);
    case GARLIC64:
        return n >= 386;
    case GARLIC32:
        return n == 32 || n >= 35;
    default:
        return 1;
    }
}

/* The component at the start of p: its length, -1 when it is invalid or of unknown protocol. */
static int component(const uint8_t *p, size_t n, uint32_t *code) {
    uint64_t number, length;
    int used = tp_varint_get(p, n, &number);
    const protocol *known = used <= 0 ? NULL : find(number);
    if (known == NULL)
        return -1;
    size_t at = (size_t)used;
    length = known->size;
    if (known->kind != FIXED) {
        used = tp_varint_get(p + at, n - at, &length);
        if (used <= 0)
            return -1;
        at += (size_t)used;
    }
    if (length > n - at || !is_value(known->kind, p + at, (size_t)length))
        return -1;
    *code = known->code;
    return (int)(at + length);
}

int tp_multiaddr_is_circuit(const uint8_t *p, size_t n) {
    int circuit = 0;
    if (n == 0 || n > TP_MULTIADDR_MAX)
        return -1;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        int used = component(p + at, n - at, &code);
        if (used < 0)
            return -1;
        circuit |= code == P2P_CIRCUIT;
        at += (size_t)used;
    }
    return circuit;
}

int tp_multiaddr_valid(const uint8_t *p, size_t n) {
    return tp_multiaddr_is_circuit(p, n) >= 0;
}

int tp_multiaddr_of_socket(const struct sockaddr *sa, uint8_t out[TP_MULTIADDR_SOCKET_MAX]) {
    size_t at = 0;
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        out[at++] = IP4;
        memcpy(out + at, &in.sin_addr, 4);
        at += 4;
        out[at++] = TCP;
        memcpy(out + at, &in.sin_port, 2);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        int mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        out[at++] = mapped ? IP4 : IP6;
        memcpy(out + at, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
        at += mapped ? 4 : 16;
        out[at++] = TCP;
        memcpy(out + at, &in6.sin6_port, 2);
    } else {
        return -1;
    }
    return (int)at + 2;
}
