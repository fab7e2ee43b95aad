/* The event loop of the load generator: epoll, one thread, and the clocks everything is measured by. */
#ifndef LOAD_LOOP_H
#define LOAD_LOOP_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A descriptor with what to do when it is ready. Embedded as the first member of what owns it. */
typedef struct source {
    int fd;
    uint32_t events; /* what epoll watches now */
    void (*ready)(struct source *s, uint32_t events);
} source;

void loop_init(void);
/* Watches for these epoll events; 0 stops it. */
void loop_watch(source *s, uint32_t events);
/* Waits at most timeout_ms (0: not at all) and runs what is ready. */
void loop_step(int timeout_ms);
/* Frees p with free() once the events at hand, or those of the next step, have been run. */
void loop_free_later(void *p);

uint64_t now_ns(void);
/* CPU time of a whole process, threads that have ended included, in nanoseconds. */
uint64_t cpu_ns(pid_t pid);
/* Private memory (clean, dirty, huge) of a process in KiB. */
uint64_t private_kib(pid_t pid);

/* Prints "load: what" and ends the process with 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
