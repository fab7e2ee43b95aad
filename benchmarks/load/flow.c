/* Flows: see flow.h. */
#include "flow.h"

#include <stdlib.h>
#include <string.h>

enum { MARK = 1024, BATCH = 256 * 1024, FINISH_SECONDS = 20 };

/* Calls the part of each mark that lies in [offset, offset + n): writes it into p, or compares it; -1 when it
 * differs. */
static int marks(const flow *f, uint64_t offset, uint8_t *p, size_t n, int compare) {
    for (uint64_t k = offset / MARK; k * MARK < offset + n; k++) {
        uint64_t value = f->salt ^ k, start = k * MARK, end = start + sizeof value;

        start = start > offset ? start : offset;
        end = end < offset + n ? end : offset + n;
        if (start >= end)
            continue;
        if (!compare)
            memcpy(p + (start - offset), (uint8_t *)&value + (start - k * MARK), end - start);
        else if (memcmp(p + (start - offset), (uint8_t *)&value + (start - k * MARK), end - start))
            return -1;
    }
    return 0;
}

static void arrived(end *e, const uint8_t *p, size_t n) {
    flow *f = e->user;

    if (marks(f, f->received, (uint8_t *)p, n, 1))
        die("wrong bytes arrived near %llu", (unsigned long long)f->received);
    f->received += n;
}

static void finished(end *e) {
    flow *f = e->user;

    f->finished = 1;
}

flows flows_start(path *paths, int n, size_t frame, int both_ways) {
    flows f = {.n = n * (both_ways ? 2 : 1), .frame = frame};

    f.all = calloc((size_t)f.n, sizeof *f.all);
    f.bytes = calloc(1, FRAME_HEAD + frame);
    if (!f.all || !f.bytes)
        die("out of memory");
    for (int i = 0; i < f.n; i++) {
        path *p = &paths[i % n];

        f.all[i].from = i < n ? &p->a : &p->b;
        f.all[i].to = i < n ? &p->b : &p->a;
        f.all[i].salt = 0x746f776174680000u + (uint64_t)i * 0x100000000;
        f.all[i].to->user = &f.all[i];
        f.all[i].to->on_data = arrived;
        f.all[i].to->on_fin = finished;
    }
    return f;
}

/* One frame, shorter where the window ends: go-yamux grants nothing more to a sender that leaves the end of
 * its window unused. 0 when there is no window. */
static int send_frame(flows *f, flow *one) {
    size_t room = end_room(one->from), n = room < f->frame ? room : f->frame;

    if (n == 0)
        return 0;
    marks(one, one->sent, f->bytes + FRAME_HEAD, n, 0);
    end_seal(one->from, f->bytes, n);
    one->sent += n;
    return 1;
}

int flows_fill(flows *f) {
    int more = 0;

    for (int i = 0; i < f->n; i++)
        f->all[i].from->conn->filling = conn_backlog(f->all[i].from->conn) == 0;
    /* Round by round a frame of each flow, until a connection has its batch. */
    for (int progress = 1; progress;) {
        progress = 0;
        for (int i = 0; i < f->n; i++) {
            const conn *c = f->all[i].from->conn;

            if (c->filling && conn_backlog(c) < BATCH)
                progress |= send_frame(f, &f->all[i]);
        }
    }
    for (int i = 0; i < f->n; i++) {
        conn *c = f->all[i].from->conn;

        if (c->filling && conn_backlog(c) > 0)
            conn_flush(c);
        c->filling = 0;
    }
    for (int i = 0; i < f->n && !more; i++)
        more = conn_backlog(f->all[i].from->conn) == 0 && end_room(f->all[i].from) > 0;
    return more;
}

uint64_t flows_received(const flows *f) {
    uint64_t total = 0;

    for (int i = 0; i < f->n; i++)
        total += f->all[i].received;
    return total;
}

static int all_finished(const flows *f) {
    for (int i = 0; i < f->n; i++)
        if (f->all[i].to->stream ? !f->all[i].finished : f->all[i].received < f->all[i].sent)
            return 0;
    return 1;
}

void flows_finish(flows *f) {
    uint64_t deadline = now_ns() + (uint64_t)FINISH_SECONDS * 1000000000;

    for (int i = 0; i < f->n; i++)
        if (f->all[i].from->stream)
            end_fin(f->all[i].from);
    while (!all_finished(f)) {
        if (now_ns() > deadline)
            die("%llu bytes arrived, but not the end of every flow", (unsigned long long)flows_received(f));
        loop_step(100);
    }
    for (int i = 0; i < f->n; i++)
        if (f->all[i].received != f->all[i].sent)
            die("flow %d: %llu bytes sent, %llu received", i, (unsigned long long)f->all[i].sent,
                (unsigned long long)f->all[i].received);
}
