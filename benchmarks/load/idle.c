/* Idle connections with a reservation each, held to see what memory and CPU one costs the relay. */
#include "measure.h"
#include "stream.h"

#include <stdio.h>

enum { LIMIT_SECONDS = 300 };

static struct {
    const plan *p;
    identity *ids;
    int started, reserved, wanted;
} hold;

static void start_one(void);

static void reserved(stream *s, int status) {
    if (status != TP_OK)
        die("RESERVE was answered with %d", status);
    stream_queue(s, NULL, 0, 1);
    hold.reserved++;
    start_one();
}

static void pong(conn *c) {
    control_reserve(c, reserved, NULL);
}

static void down(conn *c, const char *reason) {
    (void)c;
    die("an idle connection was lost: %s", reason ? reason : "closed");
}

static const conn_events events = {.pong = pong, .down = down};

static void start_one(void) {
    if (hold.started == hold.wanted)
        return;
    conn_dial(&hold.ids[hold.started], &events, NULL, source_address(hold.p, hold.started));
    hold.started++;
}

/* Raises the number of reservations to this many, `depth` at a time. */
static void reserve(int wanted) {
    uint64_t deadline = now_ns() + (uint64_t)LIMIT_SECONDS * 1000000000;

    hold.wanted = wanted;
    for (int i = 0; i < hold.p->depth; i++)
        start_one();
    while (hold.reserved < wanted) {
        if (now_ns() > deadline)
            die("reservations: %d of %d after %d s", hold.reserved, wanted, LIMIT_SECONDS);
        loop_step(100);
    }
}

static void stay(double seconds) {
    uint64_t until = now_ns() + (uint64_t)(seconds * 1e9);

    while (now_ns() < until)
        loop_step(50);
}

void measure_idle(const plan *p) {
    uint64_t before, after, cpu;

    int first = p->depth + p->count / 5; /* bring in what the relay needs once, however many there are */

    hold.p = p;
    hold.ids = identity_pool(1, (size_t)(first + p->count));
    reserve(first);
    stay(p->warmup);
    before = private_kib(p->relay);
    reserve(first + p->count);
    stay(p->seconds);
    after = private_kib(p->relay);
    cpu = cpu_ns(p->relay);
    stay(1);
    cpu = cpu_ns(p->relay) - cpu;
    printf("{\"count\": %d, \"before_kib\": %llu, \"after_kib\": %llu, \"idle_cpu_ns_per_s\": %llu}\n",
           p->count, (unsigned long long)before, (unsigned long long)after, (unsigned long long)cpu);
}
