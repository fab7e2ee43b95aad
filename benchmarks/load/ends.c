/* Paths: see ends.h. */
#include "ends.h"

#include <stdlib.h>
#include <sys/socket.h>

enum { SETUP_SECONDS = 30 };

/* What paths_open waits for. */
static struct {
    int up, reserved;
    stream *dialed, *accepted;
    int status;
} setup;

static void wait_for(const int *value, int wanted, const char *what) {
    uint64_t deadline = now_ns() + (uint64_t)SETUP_SECONDS * 1000000000;

    while (*value < wanted) {
        if (now_ns() > deadline)
            die("%s: %d of %d after %d s", what, *value, wanted, SETUP_SECONDS);
        loop_step(100);
    }
}

static void pong(conn *c) {
    (void)c;
    setup.up++;
}

static void down(conn *c, const char *reason) {
    (void)c;
    die("a connection was lost: %s", reason ? reason : "closed");
}

static void data_in(stream *s, const uint8_t *p, size_t n) {
    end *e = s->user;

    e->on_data(e, p, n);
}

static void end_in(stream *s, int reset) {
    end *e = s->user;

    if (reset)
        die("a circuit was reset");
    if (e->on_fin)
        e->on_fin(e);
}

static void unexpected(end *e, const uint8_t *p, size_t n) {
    (void)e, (void)p, (void)n;
    die("bytes came in before any were sent");
}

static void attach(end *e, stream *s) {
    e->conn = s->conn;
    e->stream = s;
    e->on_data = unexpected;
    s->user = e;
    s->on_data = data_in;
    s->on_end = end_in;
}

static end *next_a, *next_b;

static void incoming(stream *s) {
    attach(next_b, s);
    setup.accepted = s;
}

static void reserved(stream *s, int status) {
    if (status != TP_OK)
        die("RESERVE was answered with %d", status);
    stream_queue(s, NULL, 0, 1);
    setup.reserved++;
}

static void dialed(stream *s, int status) {
    if (status != TP_OK)
        die("CONNECT was answered with %d", status);
    attach(next_a, s);
    setup.dialed = s;
}

static const conn_events events = {.pong = pong, .incoming = incoming, .down = down};

static void circuits_open(path *all, int pairs, int paths) {
    identity *ids = identity_pool(1, 2 * (size_t)pairs);
    conn **a = calloc((size_t)pairs, sizeof *a), **b = calloc((size_t)pairs, sizeof *b);

    if (!a || !b)
        die("out of memory");
    for (int i = 0; i < pairs; i++) {
        a[i] = conn_dial(&ids[2 * i], &events, NULL, 0);
        b[i] = conn_dial(&ids[2 * i + 1], &events, NULL, 0);
        wait_for(&setup.up, 2 * i + 2, "connections");
        control_reserve(b[i], reserved, NULL);
        conn_flush(b[i]);
        wait_for(&setup.reserved, i + 1, "reservations");
    }
    for (int i = 0; i < paths; i++) {
        uint64_t deadline = now_ns() + (uint64_t)SETUP_SECONDS * 1000000000;

        next_a = &all[i].a;
        next_b = &all[i].b;
        setup.dialed = setup.accepted = NULL;
        control_connect(a[i % pairs], &ids[2 * (i % pairs) + 1], dialed, NULL);
        conn_flush(a[i % pairs]);
        while (!setup.dialed || !setup.accepted) {
            if (now_ns() > deadline)
                die("circuit %d does not open", i);
            loop_step(100);
        }
    }
    free(a);
    free(b);
}

static void fixed_in(conn *c, const uint8_t *p, size_t n) {
    end *e = c->user;

    e->on_data(e, p, n);
}

path *paths_open(int pairs, int paths, int reference) {
    path *all = calloc((size_t)paths, sizeof *all);

    if (!all)
        die("out of memory");
    if (!reference) {
        circuits_open(all, pairs, paths);
        return all;
    }
    for (int i = 0; i < paths; i++)
        for (int side = 0; side < 2; side++) {
            end *e = side ? &all[i].b : &all[i].a;

            e->on_data = unexpected;
            e->conn = conn_dial_fixed(side, fixed_in, e);
        }
    return all;
}

size_t end_room(const end *e) {
    if (!e->stream)
        return SIZE_MAX;
    return e->stream->send_window > 0 ? (size_t)e->stream->send_window : 0;
}

void end_seal(end *e, uint8_t *frame, size_t n) {
    if (e->stream)
        stream_seal(e->stream, frame, n);
    else
        conn_seal(e->conn, frame + FRAME_HEAD, n);
}

void end_fin(end *e) {
    stream_queue(e->stream, NULL, 0, 1);
    conn_flush(e->conn);
}
