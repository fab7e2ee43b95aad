/* Circuits opened and closed per second: CONNECT, STOP accepted, both ends closed, on connections that exist
 * already. */
#include "measure.h"
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_SECONDS = 30 };

typedef struct {
    identity ids[2];
    conn *a, *b;
    int up, reserved;
} peers;

static struct {
    int started, done, wanted; /* CONNECTs sent; circuits over; how many this phase may start */
    int ready;                 /* pairs that are up and reserved */
} churn;

static void start_one(peers *p);

static void closed_there(stream *s, int reset) {
    if (reset)
        die("a circuit was reset at its listener");
    stream_queue(s, NULL, 0, 1);
}

static void incoming(stream *s) {
    s->on_end = closed_there;
}

static void closed_here(stream *s, int reset) {
    if (reset)
        die("a circuit was reset at its dialer");
    churn.done++;
    start_one(s->conn->user);
}

static void answered(stream *s, int status) {
    if (status != TP_OK)
        die("CONNECT was answered with %d", status);
    s->on_end = closed_here;
    stream_queue(s, NULL, 0, 1);
}

static void start_one(peers *p) {
    if (churn.started == churn.wanted)
        return;
    churn.started++;
    control_connect(p->a, &p->ids[1], answered, p);
}

static void reserved(stream *s, int status) {
    if (status != TP_OK)
        die("RESERVE was answered with %d", status);
    stream_queue(s, NULL, 0, 1);
    churn.ready++;
}

static void pong(conn *c) {
    peers *p = c->user;

    if (c == p->b)
        control_reserve(c, reserved, p);
    else
        churn.ready++;
}

static void down(conn *c, const char *reason) {
    (void)c;
    die("a connection was lost: %s", reason ? reason : "closed");
}

static const conn_events events = {.pong = pong, .incoming = incoming, .down = down};

static void wait_until(const int *value, int wanted) {
    uint64_t deadline = now_ns() + (uint64_t)LIMIT_SECONDS * 1000000000;

    while (*value < wanted) {
        if (now_ns() > deadline)
            die("circuits: %d of %d after %d s", *value, wanted, LIMIT_SECONDS);
        loop_step(100);
    }
}

/* Opens and closes `count` circuits, `depth` of each pair at a time. */
static void run(peers *all, const plan *p, int count) {
    churn.started = churn.done = 0;
    churn.wanted = count;
    for (int d = 0; d < p->depth; d++)
        for (int i = 0; i < p->pairs; i++)
            start_one(&all[i]);
    for (int i = 0; i < p->pairs; i++)
        conn_flush(all[i].a);
    wait_until(&churn.done, count);
}

void measure_circuits(const plan *p) {
    peers *all = calloc((size_t)p->pairs, sizeof *all);
    uint64_t cpu, started;

    if (!all)
        die("out of memory");
    for (int i = 0; i < p->pairs; i++) {
        identity_make(&all[i].ids[0], 2 * (uint64_t)i + 1);
        identity_make(&all[i].ids[1], 2 * (uint64_t)i + 2);
        all[i].a = conn_dial(&all[i].ids[0], &events, &all[i], 0);
        all[i].b = conn_dial(&all[i].ids[1], &events, &all[i], 0);
    }
    wait_until(&churn.ready, 2 * p->pairs);
    run(all, p, p->count / 10 + 1);
    cpu = cpu_ns(p->relay);
    started = now_ns();
    run(all, p, p->count);
    printf("{\"count\": %d, \"seconds\": %.6f, \"cpu_ns\": %llu}\n", p->count,
           (double)(now_ns() - started) / 1e9, (unsigned long long)(cpu_ns(p->relay) - cpu));
}
