/* Owns the mapping between durations and buckets. */
#include "histogram.h"

#include <string.h>

enum { TOP_OCTAVE = TP_HISTOGRAM_BUCKETS / 4 - 1 };

static unsigned bucket_of(uint64_t ns) {
    if (ns == 0)
        return 0;
    unsigned octave = 63U - (unsigned)__builtin_clzll(ns);
    if (octave > TOP_OCTAVE)
        return TP_HISTOGRAM_BUCKETS - 1;
    return octave * 4 + (unsigned)((ns << 2 >> octave) & 3);
}

/* The largest whole number of the bucket. */
static uint64_t upper_bound(unsigned bucket) {
    uint64_t quarters = (uint64_t)(5 + bucket % 4) << bucket / 4;
    return ((quarters + 3) >> 2) - 1;
}

void tp_histogram_add(tp_histogram *h, uint64_t ns) {
    uint32_t *b = &h->bucket[bucket_of(ns)];
    if (*b != UINT32_MAX)
        (*b)++;
    h->count++;
    h->sum += ns;
    if (ns > h->max)
        h->max = ns;
}

uint64_t tp_histogram_quantile(const tp_histogram *h, double q) {
    if (h->count == 0)
        return 0;
    double share = q > 0 ? (q < 1 ? q : 1) : 0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < TP_HISTOGRAM_BUCKETS - 1; i++) {
        seen += h->bucket[i];
        if (seen != 0 && (double)seen >= share * (double)h->count) {
            uint64_t bound = upper_bound(i);
            return bound < h->max ? bound : h->max;
        }
    }
    return h->max;
}

void tp_histogram_clear(tp_histogram *h) {
    memset(h, 0, sizeof *h);
}
