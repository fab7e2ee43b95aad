/* The token bucket: never more than its rate allows in any stretch of time, and no less when it is asked
 * often. */
#include "bucket.h"
#include "check.h"

static const uint64_t SECOND = 1000000000u;

static const uint64_t rates[] = {1, 7, 1000, 250000, 409600, 2000000, 125000000, TP_BUCKET_RATE_MAX};

enum { RATES = sizeof rates / sizeof *rates, LOG = 4000 };

static void its_burst_is_ten_milliseconds_or_a_frame(void) {
    tp_bucket b = {0};
    tp_bucket_set(&b, 2000000, 5);
    CHECK(b.burst == 20000 && tp_bucket_fill(&b, 5) == 20000);
    tp_bucket_set(&b, 1000, 5);
    CHECK(b.burst == 4096 && tp_bucket_fill(&b, 5) == 4096);
}

static void unlimited_means_unlimited(void) {
    tp_bucket b = {0};
    CHECK(tp_bucket_fill(&b, 1) == UINT64_MAX && tp_bucket_wait_ns(&b, 1 << 30) == 0);
    tp_bucket_take(&b, 1 << 30);
    tp_bucket_set(&b, 1000, 2);
    tp_bucket_set(&b, 0, 3);
    CHECK(tp_bucket_fill(&b, 4) == UINT64_MAX);
}

/* Bytes taken, and when, at random: between any two of those moments it was at most rate × time + burst. */
static void no_stretch_of_time_gets_more_than_its_share(void) {
    static uint64_t when[LOG], sum[LOG];
    for (int r = 0; r < RATES; r++) {
        uint64_t random = (uint64_t)r + 1, now = next_random(&random) % SECOND, total = 0;
        tp_bucket b = {0};
        tp_bucket_set(&b, rates[r], now);
        for (int i = 0; i < LOG; i++) {
            uint64_t span = next_random(&random) % 4 ? 3000 : 20000000;
            now += next_random(&random) % (span + 1);
            uint64_t there = tp_bucket_fill(&b, now);
            uint64_t n = next_random(&random) % 3 ? there : next_random(&random) % (there + 1);
            CHECK(there <= b.burst);
            tp_bucket_take(&b, n);
            total += n;
            when[i] = now;
            sum[i] = total;
        }
        for (int i = 0; i < LOG; i += 7)
            for (int j = i; j < LOG; j += 11) {
                uint64_t before = i == 0 ? 0 : sum[i - 1];
                long double most = (long double)rates[r] * (when[j] - when[i]) / SECOND + b.burst;
                CHECK((long double)(sum[j] - before) <= most + 1e-6L * most);
            }
    }
}

/* Asked again before it is full, it gives all that its rate allows, however short the steps are. */
static void short_steps_lose_nothing(void) {
    for (int r = 3; r < RATES; r++) {
        tp_bucket b = {0};
        uint64_t random = 9, now = 0, total = 0;
        tp_bucket_set(&b, rates[r], 0);
        total = tp_bucket_fill(&b, 0);
        tp_bucket_take(&b, total);
        total = 0;
        while (now < 2 * SECOND) {
            now += 1 + next_random(&random) % 100000;
            uint64_t n = tp_bucket_fill(&b, now);
            tp_bucket_take(&b, n);
            total += n;
        }
        long double due = (long double)rates[r] * now / SECOND;
        CHECK(total <= due + 1 && total >= due * 0.9999L - 1);
    }
}

static void a_lower_rate_holds_at_once(void) {
    tp_bucket b = {0};
    tp_bucket_set(&b, 100000000, 0);
    CHECK(tp_bucket_fill(&b, SECOND) == 1000000);
    tp_bucket_set(&b, 2000000, SECOND);
    CHECK(tp_bucket_fill(&b, SECOND) == 20000);
    tp_bucket_take(&b, 20000);
    tp_bucket_set(&b, 100000000, SECOND); /* a higher one gives nothing for the time before it */
    CHECK(tp_bucket_fill(&b, SECOND) == 0);
    CHECK(tp_bucket_fill(&b, SECOND + 1000000) == 100000);
}

static void it_says_how_long_to_wait(void) {
    for (int r = 0; r < RATES; r++) {
        tp_bucket b = {0};
        tp_bucket_set(&b, rates[r], 100);
        CHECK(tp_bucket_wait_ns(&b, b.burst) == 0);
        tp_bucket_take(&b, b.burst);
        uint64_t wait = tp_bucket_wait_ns(&b, b.burst / 2);
        CHECK(wait > 0 && tp_bucket_wait_ns(&b, 10 * b.burst) == tp_bucket_wait_ns(&b, b.burst));
        tp_bucket early = b;
        CHECK(tp_bucket_fill(&early, 100 + wait - 1) < b.burst / 2);
        CHECK(tp_bucket_fill(&b, 100 + wait) >= b.burst / 2);
    }
}

static void a_clock_that_goes_back_gives_nothing(void) {
    tp_bucket b = {0};
    tp_bucket_set(&b, 1000000, SECOND);
    tp_bucket_take(&b, 10000);
    CHECK(tp_bucket_fill(&b, 0) == 0 && tp_bucket_fill(&b, SECOND) == 0);
    CHECK(tp_bucket_fill(&b, SECOND + 1000) == 1);
}

int main(void) {
    RUN(its_burst_is_ten_milliseconds_or_a_frame);
    RUN(unlimited_means_unlimited);
    RUN(no_stretch_of_time_gets_more_than_its_share);
    RUN(short_steps_lose_nothing);
    RUN(a_lower_rate_holds_at_once);
    RUN(it_says_how_long_to_wait);
    RUN(a_clock_that_goes_back_gives_nothing);
    return 0;
}
