// Order statistics: no assumption on how timings are distributed.
#include "bench/base/stats.h"

#include <math.h>
#include <stdlib.h>

// C(n, k) / 2^n, by logarithms: 2^n would overflow.
static double binomial_half(size_t n, size_t k)
{
    double in = (double)n, ik = (double)k;
    return exp(lgamma(in + 1) - lgamma(ik + 1) - lgamma(in - ik + 1) - in * log(2));
}

double stats_coverage(size_t n, size_t k)
{
    double below = 0;
    for (size_t i = 0; i < k; i++)
        below += binomial_half(n, i);
    return 1 - 2 * below;
}

size_t stats_rank(size_t n)
{
    size_t k = 0;
    for (double below = binomial_half(n, 0); k < (n + 1) / 2 && 1 - 2 * below >= 0.95;
         below += binomial_half(n, k))
        k++;
    return k;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

estimate stats_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    size_t k = stats_rank(n);
    return (estimate){
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2,
        .lo = k > 0 ? values[k - 1] : NAN,
        .hi = k > 0 ? values[n - k] : NAN,
    };
}

double stats_percentile(double *values, size_t n, size_t percent)
{
    qsort(values, n, sizeof *values, ascending);
    return values[(n * percent + 99) / 100 - 1];
}

double stats_mad(const double *ascending, size_t n, double median)
{
    // The values furthest from the median stand at the two ends: take away the further one until
    // the middle is reached.
    const double *first = ascending, *last = ascending + n - 1;
    double removed = 0;
    for (size_t left = n; left > n / 2; left--) {
        bool low = median - *first > *last - median;
        removed = low ? median - *first++ : *last-- - median;
    }
    if (n % 2 == 1)
        return removed;
    return (removed + fmax(median - *first, *last - median)) / 2;
}

bool stats_outlier(double value, double median, double mad)
{
    const double sigma_per_mad = 1.4826; // of the normal distribution: 1 / its 75 % point
    return fabs(value - median) > 3.5 * sigma_per_mad * mad;
}

drift stats_drift(double *values, size_t n)
{
    size_t half = n / 2;
    drift d = {.first = stats_median(values, half),
               .second = stats_median(values + n - half, half)};
    d.change = d.second.median / d.first.median - 1;
    d.clear = d.first.hi < d.second.lo || d.second.hi < d.first.lo;
    return d;
}
