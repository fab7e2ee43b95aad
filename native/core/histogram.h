/* A histogram of durations in nanoseconds: 4 buckets an octave, 1 ns to 17 s, no allocation. */
#ifndef TP_HISTOGRAM_H
#define TP_HISTOGRAM_H
#include <stdint.h>

enum { TP_HISTOGRAM_BUCKETS = 140 };
typedef struct {
    uint64_t count, sum, max;
    uint32_t bucket[TP_HISTOGRAM_BUCKETS];
} tp_histogram;

void tp_histogram_add(tp_histogram *h, uint64_t ns);
/* The upper bound of the bucket in which the share q (0..1) is reached; 0 when empty; never over max. */
uint64_t tp_histogram_quantile(const tp_histogram *h, double q);
void tp_histogram_clear(tp_histogram *h);
#endif
