/* The histogram's buckets, and its quantiles against sorted numbers. */
#include "check.h"
#include "histogram.h"

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_within_a_quarter_above(void) {
    enum { N = 5000 };
    static uint64_t numbers[N];
    static const double shares[] = {0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0};
    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint64_t random = seed, sum = 0;
        tp_histogram h;
        tp_histogram_clear(&h);
        for (int i = 0; i < N; i++) {
            numbers[i] = 1 + (next_random(&random) >> (30 + next_random(&random) % 34)) % 17000000000U;
            sum += numbers[i];
            tp_histogram_add(&h, numbers[i]);
        }
        qsort(numbers, N, sizeof *numbers, ascending);
        CHECK(h.count == N && h.sum == sum && h.max == numbers[N - 1]);
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            size_t rank = (size_t)(shares[i] * N + 0.999999);
            uint64_t exact = numbers[rank == 0 ? 0 : rank - 1], got = tp_histogram_quantile(&h, shares[i]);
            CHECK(got >= exact && got <= exact + exact / 4 && got <= h.max);
        }
    }
}

/* A bucket's upper bound is the last number in it: one more falls into the next. */
static void buckets_are_seamless(void) {
    tp_histogram h;
    uint64_t number = 1;
    for (int buckets = 0; number < (1ULL << 34); buckets++) {
        tp_histogram_clear(&h);
        tp_histogram_add(&h, number);
        tp_histogram_add(&h, 1ULL << 40);
        uint64_t bound = tp_histogram_quantile(&h, 0.5);
        CHECK(bound >= number && bound <= number + number / 4);
        CHECK(buckets < TP_HISTOGRAM_BUCKETS);
        number = bound + 1;
    }
}

static void the_ends_hold(void) {
    tp_histogram h;
    tp_histogram_clear(&h);
    CHECK(tp_histogram_quantile(&h, 0.5) == 0);
    tp_histogram_add(&h, 0);
    CHECK(tp_histogram_quantile(&h, 1) == 0 && h.count == 1);
    tp_histogram_add(&h, UINT64_MAX);
    CHECK(tp_histogram_quantile(&h, 1) == UINT64_MAX && h.max == UINT64_MAX);
    CHECK(tp_histogram_quantile(&h, -1) == 1 && tp_histogram_quantile(&h, 2) == UINT64_MAX);
    h.bucket[0] = UINT32_MAX;
    tp_histogram_add(&h, 1);
    CHECK(h.bucket[0] == UINT32_MAX);
    for (int octave = 34; octave < 64; octave++)
        tp_histogram_add(&h, 1ULL << octave);
    CHECK(h.bucket[TP_HISTOGRAM_BUCKETS - 1] == 30 && h.bucket[TP_HISTOGRAM_BUCKETS - 4] == 1);
    tp_histogram_clear(&h);
    CHECK(h.count == 0 && h.max == 0 && tp_histogram_quantile(&h, 1) == 0);
}

int main(void) {
    RUN(quantiles_are_within_a_quarter_above);
    RUN(buckets_are_seamless);
    RUN(the_ends_hold);
    return 0;
}
