/* The yamux frame header (github.com/hashicorp/yamux/blob/master/spec.md): 12 bytes, big-endian. */
#ifndef TP_YAMUX_H
#define TP_YAMUX_H
#include <stdint.h>

enum { TP_YAMUX_HEADER = 12, TP_YAMUX_WINDOW = 262144 };
enum { TP_YAMUX_DATA = 0, TP_YAMUX_WINDOW_UPDATE = 1, TP_YAMUX_PING = 2, TP_YAMUX_GO_AWAY = 3 };
enum { TP_YAMUX_SYN = 1, TP_YAMUX_ACK = 2, TP_YAMUX_FIN = 4, TP_YAMUX_RST = 8 };

typedef struct {
    uint8_t version, type;
    uint16_t flags;
    uint32_t stream, length;
} tp_yamux_header;

static inline uint32_t tp_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void tp_put_be32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void tp_yamux_get(const uint8_t *p, tp_yamux_header *h) {
    h->version = p[0];
    h->type = p[1];
    h->flags = (uint16_t)(p[2] << 8 | p[3]);
    h->stream = tp_be32(p + 4);
    h->length = tp_be32(p + 8);
}

static inline void tp_yamux_put(uint8_t *p, uint8_t type, uint16_t flags, uint32_t stream, uint32_t length) {
    p[0] = 0;
    p[1] = type;
    p[2] = (uint8_t)(flags >> 8);
    p[3] = (uint8_t)flags;
    tp_put_be32(p + 4, stream);
    tp_put_be32(p + 8, length);
}
#endif
