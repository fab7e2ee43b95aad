/* yamux streams of a connection, and what is negotiated on them: identify, ping and STOP when the relay opens
 * one, RESERVE, CONNECT and identify when we do. */
#ifndef LOAD_STREAM_H
#define LOAD_STREAM_H
#include "circuit_pb.h"
#include "conn.h"

typedef struct stream {
    conn *conn;
    uint32_t id; /* 0 once it is freed, which its memory survives to the end of the step */
    int64_t send_window;
    uint32_t recv_window, recv_max; /* what the relay may still send; what it is topped up to */
    uint64_t topped_up;             /* when, for the window's growth */
    uint16_t first_flags;           /* SYN or ACK, still to be sent with our next frame */
    int fin_sent, fin_got, step;
    tp_bytequeue in;  /* of a negotiation, not yet whole */
    const char *want; /* the protocol we proposed */
    /* Called with what arrives, and with the end: reset 0 for FIN. The stream is freed after FIN both ways or
     * a reset. */
    void (*on_data)(struct stream *s, const uint8_t *p, size_t n);
    void (*on_end)(struct stream *s, int reset);
    /* The answer to RESERVE or CONNECT (a TP_ status, -1: none came), or that identify was answered (TP_OK).
     */
    void (*on_answer)(struct stream *s, int status);
    void *user;
} stream;

/* Receive windows: fixed at this size, or starting at 256 KiB and doubling as go's do when it is 0. */
extern uint32_t fixed_window;

/* yamux.c */
stream *stream_open(conn *c);
/* Queues a DATA frame with these bytes; flags is FIN or 0. Nothing is sent before conn_flush. */
void stream_queue(stream *s, const uint8_t *p, size_t n, int fin);
/* Sends frame[12..12+n) as one DATA frame in as few Noise messages as it fits, one if n ≤ 65,507; writes the
 * header into frame[0..12). */
void stream_seal(stream *s, uint8_t *frame, size_t n);
void stream_reset(stream *s);

/* control.c */
void control_accept(stream *s); /* a stream that the relay opened */
stream *control_reserve(conn *c, void (*on_answer)(stream *s, int status), void *user);
stream *control_connect(conn *c, const identity *target, void (*on_answer)(stream *s, int status),
                        void *user);
stream *control_identify(conn *c, void (*on_answer)(stream *s, int status), void *user);
#endif
