/* The event loop: see loop.h. */
#include "loop.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { EVENTS = 256, CONDEMNED_MAX = 65536 };

static int epoll_fd;
static void *condemned[CONDEMNED_MAX];
static int condemned_n;

void die(const char *format, ...) {
    va_list args;

    fputs("load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void loop_init(void) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll: %s", strerror(errno));
}

void loop_watch(source *s, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = s};
    int op = events == 0 ? EPOLL_CTL_DEL : s->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (s->events == events)
        return;
    if (epoll_ctl(epoll_fd, op, s->fd, &e))
        die("epoll_ctl: %s", strerror(errno));
    s->events = events;
}

void loop_step(int timeout_ms) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);

    for (int i = 0; i < n; i++) {
        source *s = events[i].data.ptr;

        if (s->fd >= 0) /* an earlier event of this batch may have closed it */
            s->ready(s, events[i].events);
    }
    while (condemned_n > 0)
        free(condemned[--condemned_n]);
}

void loop_free_later(void *p) {
    if (condemned_n == CONDEMNED_MAX)
        die("too much freed in one step");
    condemned[condemned_n++] = p;
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;

    if (clock_gettime(id, &t))
        die("clock: %s", strerror(errno));
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(pid_t pid) {
    clockid_t id;
    int error = clock_getcpuclockid(pid, &id);

    if (error)
        die("CPU clock of process %d: %s", (int)pid, strerror(error));
    return clock_ns(id);
}

uint64_t private_kib(pid_t pid) {
    char path[64], line[256];
    uint64_t total = 0, kib;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    f = fopen(path, "r");
    if (!f)
        die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "Private_", 8) && sscanf(strchr(line, ':') + 1, "%lu", &kib) == 1)
            total += kib;
    fclose(f);
    return total;
}
