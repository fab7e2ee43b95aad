/* Throughput: bytes delivered and the relay's CPU time in the same stretch of time, after a warm-up. */
#include "flow.h"
#include "measure.h"

#include <stdio.h>

static void run_for(flows *f, double seconds) {
    uint64_t until = now_ns() + (uint64_t)(seconds * 1e9);

    while (now_ns() < until)
        loop_step(flows_fill(f) ? 0 : 20);
}

void measure_bulk(const plan *p) {
    path *paths = paths_open(p->pairs, p->circuits, p->reference);
    flows f = flows_start(paths, p->circuits, p->frame, p->both_ways);
    uint64_t bytes, cpu, own, started;

    run_for(&f, p->warmup);
    bytes = flows_received(&f);
    cpu = cpu_ns(p->relay);
    own = cpu_ns(0);
    started = now_ns();
    run_for(&f, p->seconds);
    if (flows_received(&f) == bytes)
        die("nothing arrived any more after %llu bytes; the first flow has sent %llu and may send %zu",
            (unsigned long long)bytes, (unsigned long long)f.all[0].sent, end_room(f.all[0].from));
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu_ns\": %llu, \"load_cpu_ns\": %llu}\n",
           (unsigned long long)(flows_received(&f) - bytes), (double)(now_ns() - started) / 1e9,
           (unsigned long long)(cpu_ns(p->relay) - cpu), (unsigned long long)(cpu_ns(0) - own));
    flows_finish(&f);
}
