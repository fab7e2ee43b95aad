/* Round trips: a message goes from one end to the other and back, one at a time; optionally while a second
 * circuit of the same two peers moves bulk. */
#include "flow.h"
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES_MAX = 4 * 1024 * 1024 };

static struct {
    end *near;
    uint8_t *message;
    size_t size, back; /* bytes of it; bytes that have come back */
    uint64_t sent, from;
    uint32_t *samples;
    int n;
} game;

static void serve_ball(void) {
    game.back = 0;
    game.sent = now_ns();
    end_seal(game.near, game.message, game.size);
    conn_flush(game.near->conn);
}

static void returned(end *e, const uint8_t *p, size_t n) {
    uint64_t now = now_ns();

    (void)e, (void)p;
    game.back += n;
    if (game.back < game.size)
        return;
    if (now >= game.from && game.n < SAMPLES_MAX)
        game.samples[game.n++] = (uint32_t)(now - game.sent);
    serve_ball();
}

static void hit_back(end *e, const uint8_t *p, size_t n) {
    static uint8_t frame[FRAME_HEAD + 65536];

    memcpy(frame + FRAME_HEAD, p, n);
    end_seal(e, frame, n);
    conn_flush(e->conn);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double percentile_us(double q) {
    return game.n ? game.samples[(size_t)(q * (game.n - 1))] / 1e3 : 0;
}

void measure_rtt(const plan *p) {
    path *paths = paths_open(1, p->beside ? 2 : 1, p->reference);
    flows f = {0};
    uint64_t until, moved, cpu, started;

    game.size = p->frame;
    game.message = calloc(1, FRAME_HEAD + game.size);
    game.samples = malloc(SAMPLES_MAX * sizeof *game.samples);
    if (!game.message || !game.samples)
        die("out of memory");
    game.near = &paths[0].a;
    paths[0].a.on_data = returned;
    paths[0].b.on_data = hit_back;
    if (p->beside)
        f = flows_start(paths + 1, 1, p->beside, p->both_ways);
    game.from = now_ns() + (uint64_t)(p->warmup * 1e9);
    until = game.from + (uint64_t)(p->seconds * 1e9);
    serve_ball();
    while (now_ns() < game.from)
        loop_step(p->spin || (p->beside && flows_fill(&f)) ? 0 : 20);
    moved = flows_received(&f);
    cpu = cpu_ns(p->relay);
    started = now_ns();
    while (now_ns() < until)
        loop_step(p->spin || (p->beside && flows_fill(&f)) ? 0 : 20);
    cpu = cpu_ns(p->relay) - cpu;
    moved = flows_received(&f) - moved;
    qsort(game.samples, (size_t)game.n, sizeof *game.samples, by_size);
    printf("{\"samples\": %d, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"cpu_ns\": %llu, "
           "\"bulk_bytes\": %llu, \"seconds\": %.6f}\n",
           game.n, percentile_us(0.5), percentile_us(0.99), percentile_us(1), (unsigned long long)cpu,
           (unsigned long long)moved, (double)(now_ns() - started) / 1e9);
}
