/* A connection of the load generator to a relay: socket, multistream, Noise XX as initiator, then yamux; or,
 * to the C reference, Noise frames under fixed keys with nothing inside. Owns its socket, ciphers, buffers
 * and streams. */
#ifndef LOAD_CONN_H
#define LOAD_CONN_H
#include "aead.h"
#include "bytequeue.h"
#include "idmap.h"
#include "identity.h"
#include "loop.h"
#include "noise.h"
#include "yamux.h"

#include <netinet/in.h>

struct conn;
struct stream;

typedef enum {
    CONN_CONNECTING,
    CONN_SECURITY,
    CONN_NOISE,
    CONN_MUXER,
    CONN_UP,
    CONN_FIXED,
    CONN_CLOSED
} conn_state;

/* What a measurement wants to hear of its connections. `down` gets the reason; the connection is freed after
 * it. */
typedef struct {
    void (*up)(struct conn *c);   /* yamux runs */
    void (*pong)(struct conn *c); /* the first ping was answered: the relay has finished its handshake */
    void (*incoming)(struct stream *s); /* a circuit to us was accepted (STOP answered) */
    void (*identified)(struct conn *c); /* we have answered the relay's identify */
    void (*down)(struct conn *c, const char *reason);
} conn_events;

/* Sealed, to be sent: base[start..end). Keeps its memory, because bulk would otherwise allocate for every
 * send. */
typedef struct {
    uint8_t *base;
    size_t start, end, capacity;
} outbox;

typedef struct conn {
    source io;
    conn_state state;
    const identity *self;
    const conn_events *on;
    void *user;
    tp_noise *noise; /* while handshaking */
    tp_cipher tx, rx;
    int offers_yamux;   /* the relay named yamux in its handshake payload */
    tp_bytequeue in;    /* received, not yet a whole message */
    tp_bytequeue inner; /* decrypted, waiting for the muxer's negotiation */
    tp_bytequeue plain; /* to be sealed at the next flush */
    outbox out;
    int filling;     /* may take bulk in this round */
    int half_closed; /* we have sent everything there will be */
    /* yamux */
    tp_idmap streams;
    uint32_t next_id;
    uint8_t head[TP_YAMUX_HEADER];
    uint32_t head_n, body; /* bytes of the header at hand; bytes of body still to come */
    struct stream *body_stream;
    uint16_t body_flags;
    uint64_t ping_sent, rtt_ns;
    /* fixed keys */
    void (*on_fixed)(struct conn *c, const uint8_t *p, size_t n);
} conn;

typedef struct {
    struct sockaddr_in relay;
    int lowat;              /* TCP_NOTSENT_LOWAT in bytes, 0: the kernel's default */
    int one_send_a_message; /* each Noise message in a send of its own, as go and rust do */
} conn_options;
extern conn_options options;

/* Chooses the cipher library; call once. */
void conn_init(void);
/* Dials the relay from 127.0.0.1 or, when source is not 0, from that address (host order). */
conn *conn_dial(const identity *self, const conn_events *on, void *user, uint32_t source);
/* Dials the C reference as side 0 or 1 of the pair that is being built; returns when connected. */
conn *conn_dial_fixed(int side, void (*on_fixed)(conn *c, const uint8_t *p, size_t n), void *user);

/* Queues bytes of the inner stream; conn_flush seals all that is queued in as few messages as possible. */
void conn_queue(conn *c, const uint8_t *p, size_t n);
/* Seals p[0..n), n ≤ TP_NOISE_PLAIN_MAX, as a message of its own, after what was queued. */
void conn_seal(conn *c, const uint8_t *p, size_t n);
/* Seals what is queued and sends what the socket takes; may close the connection. */
void conn_flush(conn *c);
/* Bytes sealed that the kernel has not taken yet. */
static inline size_t conn_backlog(const conn *c) {
    return c->out.end - c->out.start;
}
/* Says go away, sends the rest, closes our half, waits for the relay to close: then down(c, NULL). */
void conn_finish(conn *c);
/* Closes at once and calls down(c, reason). */
void conn_close(conn *c, const char *reason);

/* yamux.c: takes decrypted bytes. 0, or a reason to close. */
const char *yamux_input(conn *c, const uint8_t *p, size_t n);
void yamux_ping(conn *c);
void yamux_drop_streams(conn *c);
#endif
