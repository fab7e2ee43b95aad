/* A token bucket: so many bytes a second, and after a rest at most `burst` of them at once. The clock is
 * passed in, in nanoseconds, and may only go forward; an earlier time changes nothing. What it gives in any
 * stretch of time is at most rate × time + burst, however often it is asked. */
#ifndef TP_BUCKET_H
#define TP_BUCKET_H
#include <stdint.h>

#define TP_BUCKET_RATE_MAX 100000000000u /* bytes a second: what 64 bits bear; nobody has such a line */

enum { TP_BUCKET_BURST_MIN = 4096, TP_BUCKET_BURST_MS = 10 };

typedef struct {
    uint64_t rate;  /* bytes a second; 0: unlimited */
    uint64_t burst; /* max(10 ms of the rate, 4 KiB) */
    uint64_t tokens;
    uint64_t at_ns; /* the tokens are those of this time */
} tp_bucket;

/* Sets the rate, at most TP_BUCKET_RATE_MAX. A bucket that had none starts full; otherwise what is in it
 * stays, as far as it fits. */
void tp_bucket_set(tp_bucket *b, uint64_t rate, uint64_t now_ns);
/* Bytes that may pass now. UINT64_MAX when unlimited. */
uint64_t tp_bucket_fill(tp_bucket *b, uint64_t now_ns);
/* n bytes have passed; n is at most what tp_bucket_fill said. */
void tp_bucket_take(tp_bucket *b, uint64_t n);
/* How long after at_ns `want` bytes, at most the burst, may pass; 0 when they may already. */
uint64_t tp_bucket_wait_ns(const tp_bucket *b, uint64_t want);
#endif
