// What a handful of timings says: the median with an interval, the spread, outliers, and whether
// the run drifted.
#ifndef LOCKSTEP_BENCH_STATS_H
#define LOCKSTEP_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

enum { STATS_MIN_SAMPLES = 6 }; // fewer give no 95 % interval

typedef struct estimate {
    double median;
    double lo, hi; // bounds of the interval; NaN below STATS_MIN_SAMPLES values
} estimate;

// Probability that the true median lies between the k-th smallest and the k-th largest of n
// independent values, whatever their distribution: each value falls below it with probability 1/2,
// so this is 1 - 2 P(Binomial(n, 1/2) < k). 1 <= k <= (n + 1) / 2.
double stats_coverage(size_t n, size_t k);

// The largest k whose coverage is at least 95 %, that is, the narrowest interval; 0 if there is
// none (n < 6).
size_t stats_rank(size_t n);

// Median and interval of n > 0 values, which are sorted in place.
estimate stats_median(double *values, size_t n);

// The percentile of n > 0 values, which are sorted in place: the least that so many per cent do not
// exceed.
double stats_percentile(double *values, size_t n, size_t percent);

// The median of |value - median|, for n > 0 values in ascending order, as stats_median leaves them.
double stats_mad(const double *ascending, size_t n, double median);

// Whether a value lies further from the median than 3.5 standard deviations of normal noise, as the
// MAD shows them (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993). Such values are
// counted and shown, never dropped. With a MAD of 0, more than half of the values are equal, and
// every other value is one.
bool stats_outlier(double value, double median, double mad);

// Whether a run changed its pace.
typedef struct drift {
    estimate first, second; // of the two halves
    double change;          // second.median / first.median - 1
    // The two intervals do not meet: by chance in less than 1 run of 100. False below 2 *
    // STATS_MIN_SAMPLES values.
    bool clear;
} drift;

// Compares the first half of n >= 2 values with the second; each half is sorted in place. The
// values stand in the order in which they were taken. If they are of several kinds, divide each by
// its kind's median first. A middle value counts in neither half.
drift stats_drift(double *values, size_t n);

#endif
