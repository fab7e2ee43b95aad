/* Connections made and closed again, with or without identify both ways, counted per second of the relay's
 * CPU. */
#include "measure.h"
#include "stream.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDENTITIES = 1024, LIMIT_SECONDS = 300 };

static struct {
    const plan *p;
    identity *ids;
    int ids_n;
    int started, done, wanted;
} churn;

/* What a connection still has to see before it is closed: bits in conn.user. */
enum { AWAIT_PONG = 1, AWAIT_ANSWER = 2, AWAIT_QUESTION = 4 };

uint32_t source_address(const plan *p, int i) {
    return INADDR_LOOPBACK + (p->sources > 1 ? (uint32_t)(i % p->sources) : 0);
}

static void start_one(void);

static void seen(conn *c, uintptr_t what) {
    uintptr_t left = (uintptr_t)c->user & ~what;

    c->user = (void *)left;
    if (!left)
        conn_finish(c);
}

static void identify_answered(stream *s, int status) {
    if (status != TP_OK)
        die("the relay does not answer identify");
    seen(s->conn, AWAIT_ANSWER);
}

static void up(conn *c) {
    if (churn.p->identify)
        control_identify(c, identify_answered, NULL);
}

static void pong(conn *c) {
    seen(c, AWAIT_PONG);
}

static void identified(conn *c) {
    seen(c, AWAIT_QUESTION);
}

static void closed(conn *c, const char *reason) {
    if (!c->half_closed)
        die("a connection was lost: %s", reason ? reason : "closed");
    churn.done++;
    start_one();
}

static const conn_events churning = {.up = up, .pong = pong, .identified = identified, .down = closed};

static void start_one(void) {
    uintptr_t awaited = AWAIT_PONG | (churn.p->identify ? AWAIT_ANSWER | AWAIT_QUESTION : 0);

    if (churn.started == churn.wanted)
        return;
    conn_dial(&churn.ids[churn.started % churn.ids_n], &churning, (void *)awaited,
              source_address(churn.p, churn.started));
    churn.started++;
}

static void wait_until(const int *value, int wanted) {
    uint64_t deadline = now_ns() + (uint64_t)LIMIT_SECONDS * 1000000000;

    while (*value < wanted) {
        if (now_ns() > deadline)
            die("connections: %d of %d after %d s", *value, wanted, LIMIT_SECONDS);
        loop_step(100);
    }
}

static void run(int count) {
    churn.started = churn.done = 0;
    churn.wanted = count;
    for (int i = 0; i < churn.p->depth; i++)
        start_one();
    wait_until(&churn.done, count);
}

void measure_conns(const plan *p) {
    uint64_t cpu, started;

    churn.p = p;
    churn.ids_n = IDENTITIES;
    churn.ids = identity_pool(1, IDENTITIES);
    run(p->count / 10 + 1);
    cpu = cpu_ns(p->relay);
    started = now_ns();
    run(p->count);
    printf("{\"count\": %d, \"seconds\": %.6f, \"cpu_ns\": %llu}\n", p->count,
           (double)(now_ns() - started) / 1e9, (unsigned long long)(cpu_ns(p->relay) - cpu));
}
