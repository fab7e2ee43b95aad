/* Owns the arithmetic of token buckets. Tokens are whole bytes; the time that makes up a part of one stays
 * behind at_ns, so that next to nothing is lost to rounding, and nothing gained: times are rounded up. */
#include "bucket.h"

static const uint64_t SECOND = 1000000000u;

/* The time that n bytes take, rounded up. n × 10^9 fits: n is at most a burst, 10^9. */
static uint64_t time_of(const tp_bucket *b, uint64_t n) {
    return (n * SECOND + b->rate - 1) / b->rate;
}

void tp_bucket_set(tp_bucket *b, uint64_t rate, uint64_t now_ns) {
    uint64_t before = b->rate;

    if (rate > TP_BUCKET_RATE_MAX)
        rate = TP_BUCKET_RATE_MAX;
    if (before != 0)
        tp_bucket_fill(b, now_ns);
    b->rate = rate;
    b->burst = rate / 1000 * TP_BUCKET_BURST_MS;
    if (b->burst < TP_BUCKET_BURST_MIN)
        b->burst = TP_BUCKET_BURST_MIN;
    if (before == 0) {
        b->tokens = b->burst;
        b->at_ns = now_ns;
    }
    if (b->tokens > b->burst)
        b->tokens = b->burst;
}

uint64_t tp_bucket_fill(tp_bucket *b, uint64_t now_ns) {
    uint64_t passed, more;

    if (b->rate == 0)
        return UINT64_MAX;
    if (now_ns <= b->at_ns)
        return b->tokens;
    passed = now_ns - b->at_ns;
    if (passed >= time_of(b, b->burst - b->tokens)) {
        b->tokens = b->burst;
        b->at_ns = now_ns;
        return b->tokens;
    }
    /* Less than it takes to fill up, so the product fits, too. */
    more = passed * b->rate / SECOND;
    b->tokens += more;
    b->at_ns += time_of(b, more);
    return b->tokens;
}

void tp_bucket_take(tp_bucket *b, uint64_t n) {
    if (b->rate != 0)
        b->tokens -= n < b->tokens ? n : b->tokens;
}

uint64_t tp_bucket_wait_ns(const tp_bucket *b, uint64_t want) {
    if (b->rate == 0 || want <= b->tokens)
        return 0;
    if (want > b->burst)
        want = b->burst;
    return want <= b->tokens ? 0 : time_of(b, want - b->tokens);
}
