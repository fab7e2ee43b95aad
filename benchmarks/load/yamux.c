/* yamux as a client speaks it: frames in and out, windows, pings. */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_MAX = 16 * 1024 * 1024 };

uint32_t fixed_window;

/* ---- out ---- */

static void frame(conn *c, uint8_t type, uint16_t flags, uint32_t id, uint32_t length) {
    uint8_t head[TP_YAMUX_HEADER];

    tp_yamux_put(head, type, flags, id, length);
    conn_queue(c, head, sizeof head);
}

static uint16_t take_flags(stream *s, uint16_t more) {
    uint16_t flags = s->first_flags | more;

    s->first_flags = 0;
    return flags;
}

void yamux_ping(conn *c) {
    c->ping_sent = now_ns();
    frame(c, TP_YAMUX_PING, TP_YAMUX_SYN, 0, 0x70696e67);
}

static stream *stream_new(conn *c, uint32_t id, uint16_t first_flags) {
    stream *s = calloc(1, sizeof *s);

    if (!s || tp_idmap_put(&c->streams, id, s))
        die("out of memory");
    s->conn = c;
    s->id = id;
    s->first_flags = first_flags;
    s->send_window = TP_YAMUX_WINDOW;
    s->recv_window = s->recv_max = TP_YAMUX_WINDOW;
    return s;
}

stream *stream_open(conn *c) {
    stream *s = stream_new(c, c->next_id, TP_YAMUX_SYN);

    c->next_id += 2;
    return s;
}

static void stream_free(stream *s) {
    conn *c = s->conn;

    if (c->body_stream == s)
        c->body_stream = NULL;
    tp_idmap_remove(&c->streams, s->id);
    s->id = 0;
    tp_bytequeue_free(&s->in);
    loop_free_later(s);
}

static void stream_end(stream *s, int reset) {
    if (s->on_end)
        s->on_end(s, reset);
    if (s->id && (reset || (s->fin_sent && s->fin_got)))
        stream_free(s);
}

void stream_queue(stream *s, const uint8_t *p, size_t n, int fin) {
    frame(s->conn, TP_YAMUX_DATA, take_flags(s, fin ? TP_YAMUX_FIN : 0), s->id, (uint32_t)n);
    if (n)
        conn_queue(s->conn, p, n);
    s->send_window -= (int64_t)n;
    if (fin) {
        s->fin_sent = 1;
        if (s->fin_got)
            stream_free(s); /* on_end has been told of the other half before */
    }
}

void stream_seal(stream *s, uint8_t *bytes, size_t n) {
    size_t total = TP_YAMUX_HEADER + n;

    tp_yamux_put(bytes, TP_YAMUX_DATA, take_flags(s, 0), s->id, (uint32_t)n);
    for (size_t done = 0; done < total; done += TP_NOISE_PLAIN_MAX)
        conn_seal(s->conn, bytes + done,
                  total - done < TP_NOISE_PLAIN_MAX ? total - done : TP_NOISE_PLAIN_MAX);
    s->send_window -= (int64_t)n;
}

void stream_reset(stream *s) {
    frame(s->conn, TP_YAMUX_WINDOW_UPDATE, TP_YAMUX_RST, s->id, 0);
    stream_free(s);
}

/* Grants what was consumed once that is half of the window. Like go's, the window doubles when half of it
 * lasted less than four round trips. */
static void top_up(stream *s) {
    uint64_t now;

    if (s->recv_max - s->recv_window < s->recv_max / 2)
        return;
    now = now_ns();
    if (fixed_window)
        s->recv_max = fixed_window;
    else if (s->recv_max < WINDOW_MAX && now - s->topped_up < 4 * s->conn->rtt_ns)
        s->recv_max *= 2;
    s->topped_up = now;
    frame(s->conn, TP_YAMUX_WINDOW_UPDATE, take_flags(s, 0), s->id, s->recv_max - s->recv_window);
    s->recv_window = s->recv_max;
}

/* ---- in ---- */

static const char *flags_in(conn *c, stream *s, uint16_t flags) {
    if (!s)
        return NULL;
    if (flags & TP_YAMUX_RST) {
        stream_end(s, 1);
    } else if ((flags & TP_YAMUX_FIN) && !s->fin_got) {
        s->fin_got = 1;
        stream_end(s, 0);
    }
    return c->state == CONN_CLOSED ? "" : NULL;
}

static stream *lookup(conn *c, const tp_yamux_header *h) {
    stream *s = tp_idmap_get(&c->streams, h->stream);

    if (!s && (h->flags & TP_YAMUX_SYN)) {
        s = stream_new(c, h->stream, TP_YAMUX_ACK);
        control_accept(s);
    }
    return s;
}

static const char *ping(conn *c, const tp_yamux_header *h) {
    if (h->flags & TP_YAMUX_SYN) {
        frame(c, TP_YAMUX_PING, TP_YAMUX_ACK, 0, h->length);
        return NULL;
    }
    if (c->rtt_ns)
        return NULL;
    c->rtt_ns = now_ns() - c->ping_sent;
    if (c->on->pong)
        c->on->pong(c);
    return c->state == CONN_CLOSED ? "" : NULL;
}

static const char *header_in(conn *c, const tp_yamux_header *h) {
    stream *s;

    if (h->version != 0 || h->type > TP_YAMUX_GO_AWAY)
        return "not a yamux frame";
    switch (h->type) {
    case TP_YAMUX_PING:
        return ping(c, h);
    case TP_YAMUX_GO_AWAY:
        return NULL;
    case TP_YAMUX_WINDOW_UPDATE:
        s = lookup(c, h);
        if (s)
            s->send_window += h->length;
        return flags_in(c, s, h->flags);
    default:
        s = lookup(c, h);
        if (s && h->length > s->recv_window)
            return "the relay overran a window";
        if (s)
            s->recv_window -= h->length;
        if (h->length == 0)
            return flags_in(c, s, h->flags);
        c->body = h->length;
        c->body_stream = s;
        c->body_flags = h->flags;
        return NULL;
    }
}

static const char *body_in(conn *c, const uint8_t *p, size_t n) {
    stream *s = c->body_stream;

    c->body -= (uint32_t)n;
    if (s)
        s->on_data(s, p, n);
    s = c->body_stream; /* gone if it was reset meanwhile */
    if (s && c->state == CONN_UP && c->body == 0) {
        top_up(s);
        return flags_in(c, s, c->body_flags);
    }
    return c->state == CONN_CLOSED ? "" : NULL;
}

const char *yamux_input(conn *c, const uint8_t *p, size_t n) {
    const char *reason = NULL;

    while (n > 0 && !reason) {
        size_t take;

        if (c->body > 0) {
            take = n < c->body ? n : c->body;
            reason = body_in(c, p, take);
        } else {
            take = TP_YAMUX_HEADER - c->head_n;
            take = n < take ? n : take;
            memcpy(c->head + c->head_n, p, take);
            c->head_n += (uint32_t)take;
            if (c->head_n == TP_YAMUX_HEADER) {
                tp_yamux_header h;

                c->head_n = 0;
                tp_yamux_get(c->head, &h);
                reason = header_in(c, &h);
            }
        }
        p += take;
        n -= take;
    }
    return reason;
}

void yamux_drop_streams(conn *c) {
    uint32_t cursor = 0;
    stream *s;

    c->body_stream = NULL;
    while ((s = tp_idmap_next(&c->streams, &cursor))) {
        tp_bytequeue_free(&s->in);
        loop_free_later(s);
    }
    tp_idmap_free(&c->streams);
}
