/* Owns the memory of byte queues. */
#include "bytequeue.h"

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 64 };

static void release(tp_bytequeue *q) {
    if (q->base != NULL)
        free(q->base - TP_BYTEQUEUE_HEADROOM);
}

/* Moves the contents to the front of a piece of this capacity (at least the size). */
static int resize(tp_bytequeue *q, size_t capacity) {
    size_t n = tp_bytequeue_size(q);
    uint8_t *base = malloc(TP_BYTEQUEUE_HEADROOM + capacity);
    if (base == NULL)
        return -1;
    base += TP_BYTEQUEUE_HEADROOM;
    if (n != 0)
        memcpy(base, q->base + q->start, n);
    release(q);
    *q = (tp_bytequeue){base, 0, n, capacity};
    return 0;
}

int tp_bytequeue_push(tp_bytequeue *q, const uint8_t *p, size_t n) {
    size_t size = tp_bytequeue_size(q);
    if (n == 0)
        return 0;
    if (n > SIZE_MAX / 4 - size)
        return -1;
    if (n > q->capacity - q->end) {
        if (size + n <= q->capacity / 2) {
            memmove(q->base, q->base + q->start, size);
            q->start = 0;
            q->end = size;
        } else {
            /* Room for the new bytes and for as many again as were there: a single push takes what it needs,
             * many small ones double the memory. */
            size_t capacity = 2 * size + n;
            if (resize(q, capacity < SMALLEST ? SMALLEST : capacity) != 0)
                return -1;
        }
    }
    memcpy(q->base + q->end, p, n);
    q->end += n;
    return 0;
}

void tp_bytequeue_drop(tp_bytequeue *q, size_t n) {
    q->start += n;
    size_t size = tp_bytequeue_size(q);
    if (size == 0)
        tp_bytequeue_free(q);
    else if (q->capacity > SMALLEST && size < q->capacity / 8)
        (void)resize(q, 2 * size < SMALLEST ? SMALLEST : 2 * size); /* kept as it is when memory is short */
}

void tp_bytequeue_free(tp_bytequeue *q) {
    release(q);
    *q = (tp_bytequeue){NULL, 0, 0, 0};
}
