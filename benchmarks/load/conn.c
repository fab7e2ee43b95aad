/* Connections: see conn.h. */
#include "conn.h"

#include "multistream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_LINE "\x13/multistream/1.0.0\n"
enum { RECV_MAX = 1024 * 1024 };

conn_options options;
static tp_aead *aead;
static uint8_t scratch[RECV_MAX + 2 + TP_NOISE_MAX];

/* The payload of the relay that was verified last: verifying it again for each of thousands of connections
 * would measure the load, not the relay. */
static struct {
    uint8_t bytes[TP_PAYLOAD_MAX], static_key[32];
    size_t n;
    int offers_yamux;
} verified;

void conn_init(void) {
    aead = tp_aead_new(TP_AEAD_OPENSSL);
    if (!aead)
        die("no cipher");
}

/* ---- sending ---- */

static void push(tp_bytequeue *q, const uint8_t *p, size_t n) {
    if (tp_bytequeue_push(q, p, n))
        die("out of memory");
}

/* Room for n bytes behind what is queued; the caller adds what it writes to out.end. */
static uint8_t *outbox_room(outbox *o, size_t n) {
    if (o->start == o->end)
        o->start = o->end = 0;
    if (o->capacity - o->end < n) {
        memmove(o->base, o->base + o->start, o->start ? o->end - o->start : 0);
        o->end -= o->start;
        o->start = 0;
    }
    if (o->capacity - o->end < n) {
        o->capacity = (o->end + n) * 2;
        o->base = realloc(o->base, o->capacity);
        if (!o->base)
            die("out of memory");
    }
    return o->base + o->end;
}

static void send_plainly(conn *c, const void *p, size_t n) {
    memcpy(outbox_room(&c->out, n), p, n);
    c->out.end += n;
}

static void watch(conn *c) {
    loop_watch(&c->io, EPOLLIN | (conn_backlog(c) || c->state == CONN_CONNECTING ? EPOLLOUT : 0));
}

void conn_queue(conn *c, const uint8_t *p, size_t n) {
    push(&c->plain, p, n);
}

static void seal(conn *c, const uint8_t *p, size_t n) {
    size_t m = n + TP_AEAD_TAG;
    uint8_t *message = outbox_room(&c->out, 2 + m);

    message[0] = (uint8_t)(m >> 8);
    message[1] = (uint8_t)m;
    if (tp_seal(aead, &c->tx, message + 2, p, n, NULL, 0))
        die("seal");
    c->out.end += 2 + m;
}

static void seal_queued(conn *c) {
    while (tp_bytequeue_size(&c->plain) > 0) {
        size_t n = tp_bytequeue_size(&c->plain);

        n = n < TP_NOISE_PLAIN_MAX ? n : TP_NOISE_PLAIN_MAX;
        seal(c, tp_bytequeue_head(&c->plain), n);
        tp_bytequeue_drop(&c->plain, n);
    }
}

void conn_seal(conn *c, const uint8_t *p, size_t n) {
    seal_queued(c);
    seal(c, p, n);
}

/* Bytes to hand to the next send: all, or one Noise message. The head is then the start of a message or the
 * rest of one that the socket did not take whole, which goes with the message behind it. */
static size_t send_size(conn *c) {
    const uint8_t *p = c->out.base + c->out.start;
    size_t n = conn_backlog(c), one;

    if (!options.one_send_a_message || c->state < CONN_UP || n < 2)
        return n;
    one = 2 + ((size_t)p[0] << 8 | p[1]);
    return one < n ? one : n;
}

void conn_flush(conn *c) {
    if (c->state == CONN_CLOSED || c->state == CONN_CONNECTING)
        return;
    if (c->state >= CONN_MUXER)
        seal_queued(c);
    while (conn_backlog(c) > 0) {
        size_t want = send_size(c);
        ssize_t n = send(c->io.fd, c->out.base + c->out.start, want, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            conn_close(c, strerror(errno));
            return;
        }
        c->out.start += (size_t)n;
        if ((size_t)n < want)
            break;
    }
    if (c->half_closed && conn_backlog(c) == 0)
        shutdown(c->io.fd, SHUT_WR);
    watch(c);
}

/* ---- the way up ---- */

static void send_noise(conn *c, const uint8_t *payload, size_t payload_n) {
    uint8_t message[2 + 512];
    int n = tp_noise_write(c->noise, payload, payload_n, message + 2, sizeof message - 2);

    if (n < 0)
        die("noise: cannot write the handshake");
    message[0] = (uint8_t)(n >> 8);
    message[1] = (uint8_t)n;
    send_plainly(c, message, 2 + (size_t)n);
}

static const char *come_up(conn *c) {
    c->state = CONN_UP;
    yamux_ping(c);
    if (c->on->up)
        c->on->up(c);
    if (c->state == CONN_UP && tp_bytequeue_size(&c->inner) > 0) {
        const char *reason = yamux_input(c, tp_bytequeue_head(&c->inner), tp_bytequeue_size(&c->inner));

        tp_bytequeue_free(&c->inner);
        return reason;
    }
    return NULL;
}

static int verify_relay(const uint8_t *payload, size_t n, const uint8_t static_key[32]) {
    uint8_t peer_id[TP_PEER_ID_MAX];
    int peer_id_n;
    tp_payload p;

    if (n == verified.n && !memcmp(payload, verified.bytes, n) &&
        !memcmp(static_key, verified.static_key, 32))
        return 0;
    if (tp_payload_get(payload, n, &p) || tp_payload_verify(&p, static_key, peer_id, &peer_id_n))
        return -1;
    memcpy(verified.bytes, payload, n);
    memcpy(verified.static_key, static_key, 32);
    verified.n = n;
    verified.offers_yamux = p.offers_yamux;
    return 0;
}

/* The relay's handshake message: verifies it, sends ours, and starts yamux or its negotiation. */
static const char *finish_noise(conn *c, uint8_t *message, size_t n) {
    uint8_t *payload;
    size_t payload_n;

    if (tp_noise_read(c->noise, message, n, &payload, &payload_n))
        return "the relay's handshake does not open";
    if (verify_relay(payload, payload_n, c->noise->rs))
        return "the relay's identity does not verify";
    c->offers_yamux = verified.offers_yamux;
    send_noise(c, c->self->payload, c->self->payload_n);
    tp_noise_split(c->noise, &c->tx, &c->rx);
    free(c->noise);
    c->noise = NULL;
    if (c->offers_yamux)
        return come_up(c);
    c->state = CONN_MUXER;
    conn_queue(c, (const uint8_t *)HEADER_LINE "\x0d/yamux/1.0.0\n", 20 + 14);
    return NULL;
}

/* Takes the lines "/multistream/1.0.0" and `protocol` off the queue. 1: both there; 0: not yet; -1: something
 * else. */
static int agreed(tp_bytequeue *q, const char *protocol) {
    const char *want[2] = {"/multistream/1.0.0", protocol};
    size_t used = 0;

    for (int i = 0; i < 2; i++) {
        const uint8_t *text;
        size_t text_n;
        int n = tp_multistream_get(q->base ? tp_bytequeue_head(q) + used : NULL, tp_bytequeue_size(q) - used,
                                   &text, &text_n);

        if (n <= 0)
            return n;
        if (text_n != strlen(want[i]) || memcmp(text, want[i], text_n))
            return -1;
        used += (size_t)n;
    }
    tp_bytequeue_drop(q, used);
    return 1;
}

/* Decrypted bytes, to whoever they belong to at this point. */
static const char *input(conn *c, const uint8_t *p, size_t n) {
    int ready;

    switch (c->state) {
    case CONN_FIXED:
        c->on_fixed(c, p, n);
        return NULL;
    case CONN_UP:
        return yamux_input(c, p, n);
    default:
        push(&c->inner, p, n);
        ready = agreed(&c->inner, "/yamux/1.0.0");
        return ready < 0 ? "the relay does not speak yamux" : ready ? come_up(c) : NULL;
    }
}

/* ---- receiving ---- */

/* Uses up the whole messages at p; *used is their size. */
static const char *messages(conn *c, uint8_t *p, size_t n, size_t *used) {
    const char *reason = NULL;

    *used = 0;
    while (!reason && c->state != CONN_CLOSED && n - *used >= 2) {
        uint8_t *m = p + *used + 2;
        size_t size = (size_t)m[-2] << 8 | m[-1];

        if (n - *used < 2 + size)
            break;
        *used += 2 + size;
        if (c->state == CONN_NOISE)
            reason = finish_noise(c, m, size);
        else if (size < TP_AEAD_TAG || tp_open(aead, &c->rx, m, size, NULL, 0))
            reason = "a message from the relay does not open";
        else
            reason = input(c, m, size - TP_AEAD_TAG);
    }
    return reason;
}

static const char *receive(conn *c) {
    size_t kept = tp_bytequeue_size(&c->in), used, n;
    const char *reason;
    ssize_t got = recv(c->io.fd, scratch + kept, RECV_MAX, 0);

    if (got < 0)
        return errno == EAGAIN ? NULL : strerror(errno);
    if (got == 0)
        return c->half_closed ? "" : "closed by the relay";
    if (kept)
        memcpy(scratch, tp_bytequeue_head(&c->in), kept);
    n = kept + (size_t)got;
    if (c->state == CONN_SECURITY) {
        int ready;

        push(&c->in, scratch + kept, (size_t)got);
        ready = agreed(&c->in, "/noise");
        if (ready <= 0)
            return ready ? "the relay does not speak Noise" : NULL;
        c->state = CONN_NOISE;
        send_noise(c, NULL, 0);
        return NULL; /* the relay has nothing to say before it has read this */
    }
    reason = messages(c, scratch, n, &used);
    if (reason || c->state == CONN_CLOSED)
        return reason;
    if (used == 0) {
        push(&c->in, scratch + kept, (size_t)got);
    } else {
        tp_bytequeue_drop(&c->in, kept);
        if (n > used)
            push(&c->in, scratch + used, n - used);
    }
    return NULL;
}

static void connected(conn *c) {
    int error = 0;
    socklen_t n = sizeof error;

    getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) {
        conn_close(c, strerror(error));
        return;
    }
    c->state = CONN_SECURITY;
    send_plainly(c, HEADER_LINE "\x07/noise\n", 20 + 8);
}

static void ready(source *s, uint32_t events) {
    conn *c = (conn *)s;

    if (c->state == CONN_CONNECTING) {
        connected(c);
    } else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        const char *reason = receive(c);

        if (reason && c->state != CONN_CLOSED) {
            conn_close(c, *reason ? reason : NULL);
            return;
        }
    }
    conn_flush(c);
}

/* ---- beginning and end ---- */

static conn *conn_new(const conn_events *on, void *user, uint32_t source_address) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source_address)};
    conn *c = calloc(1, sizeof *c);
    int yes = 1;

    if (!c)
        die("out of memory");
    c->on = on;
    c->user = user;
    c->next_id = 1;
    c->io.ready = ready;
    c->io.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->io.fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (options.lowat)
        setsockopt(c->io.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &options.lowat, sizeof options.lowat);
    if (source_address) {
        setsockopt(c->io.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
        if (bind(c->io.fd, (struct sockaddr *)&a, sizeof a))
            die("bind: %s", strerror(errno));
    }
    if (connect(c->io.fd, (struct sockaddr *)&options.relay, sizeof options.relay) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    return c;
}

conn *conn_dial(const identity *self, const conn_events *on, void *user, uint32_t source_address) {
    conn *c = conn_new(on, user, source_address);

    c->self = self;
    c->noise = malloc(sizeof *c->noise);
    if (!c->noise)
        die("out of memory");
    tp_noise_init(c->noise, aead, 1, self->static_public, self->static_secret);
    watch(c);
    return c;
}

conn *conn_dial_fixed(int side, void (*on_fixed)(conn *c, const uint8_t *p, size_t n), void *user) {
    static const conn_events none = {0};
    conn *c = conn_new(&none, user, 0);
    int error = 0;
    socklen_t n = sizeof error;
    uint8_t key[32];
    fd_set writable;

    FD_ZERO(&writable);
    FD_SET(c->io.fd, &writable);
    if (select(c->io.fd + 1, NULL, &writable, NULL, NULL) != 1 ||
        getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &error, &n) || error)
        die("the reference does not answer");
    memset(key, 0x10 + 2 * side, 32);
    tp_cipher_init(aead, &c->tx, key);
    memset(key, 0x11 + 2 * side, 32);
    tp_cipher_init(aead, &c->rx, key);
    c->state = CONN_FIXED;
    c->on_fixed = on_fixed;
    watch(c);
    return c;
}

void conn_finish(conn *c) {
    uint8_t frame[TP_YAMUX_HEADER];

    if (c->state == CONN_CLOSED || c->half_closed)
        return;
    c->half_closed = 1;
    tp_yamux_put(frame, TP_YAMUX_GO_AWAY, 0, 0, 0);
    conn_queue(c, frame, sizeof frame);
    conn_flush(c);
}

void conn_close(conn *c, const char *reason) {
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    loop_watch(&c->io, 0);
    close(c->io.fd);
    c->io.fd = -1;
    yamux_drop_streams(c);
    if (c->on->down)
        c->on->down(c, reason);
    else if (reason)
        die("connection lost: %s", reason);
    free(c->noise);
    tp_bytequeue_free(&c->in);
    tp_bytequeue_free(&c->inner);
    tp_bytequeue_free(&c->plain);
    free(c->out.base);
    loop_free_later(c);
}
