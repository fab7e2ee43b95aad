/* A queue of bytes in one contiguous, growing and shrinking piece of memory. An empty queue owns none. The
 * TP_BYTEQUEUE_HEADROOM bytes before its head may always be overwritten: a frame's header goes there. */
#ifndef TP_BYTEQUEUE_H
#define TP_BYTEQUEUE_H
#include <stddef.h>
#include <stdint.h>

enum { TP_BYTEQUEUE_HEADROOM = 16 };

typedef struct {
    uint8_t *base; /* TP_BYTEQUEUE_HEADROOM bytes into what was allocated */
    size_t start, end, capacity;
} tp_bytequeue;

static inline size_t tp_bytequeue_size(const tp_bytequeue *q) {
    return q->end - q->start;
}
static inline uint8_t *tp_bytequeue_head(tp_bytequeue *q) {
    return q->base + q->start;
}
/* 0, or -1 when memory is short (then nothing changed). Amortised O(n). */
int tp_bytequeue_push(tp_bytequeue *q, const uint8_t *p, size_t n);
/* Drops n (at most its size) bytes at the head; frees all memory when it becomes empty. */
void tp_bytequeue_drop(tp_bytequeue *q, size_t n);
void tp_bytequeue_free(tp_bytequeue *q);
#endif
