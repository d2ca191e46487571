// What a handful of timings says: the median, and an interval that holds the true median with a known probability.
#ifndef LOCKSTEP_BENCH_STATS_H
#define LOCKSTEP_BENCH_STATS_H

#include <stddef.h>

enum { STATS_MIN_SAMPLES = 6 }; // fewer give no 95 % interval

typedef struct estimate {
    double median;
    double lo, hi; // bounds of the interval; NaN below STATS_MIN_SAMPLES values
} estimate;

// Probability that the true median lies between the k-th smallest and the k-th largest of n independent values,
// whatever their distribution: each value falls below it with probability 1/2, so this is 1 - 2 P(Binomial(n, 1/2) <
// k). 1 <= k <= (n + 1) / 2.
double stats_coverage(size_t n, size_t k);

// The largest k whose coverage is at least 95 %, that is, the narrowest interval; 0 if there is none (n < 6).
size_t stats_rank(size_t n);

// Median and interval of n > 0 values, which are sorted in place.
estimate stats_median(double *values, size_t n);

#endif
