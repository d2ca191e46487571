// The median and its confidence interval from order statistics: no assumption on how timings are distributed.
#include "bench/stats.h"

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
    for (double below = binomial_half(n, 0); k < (n + 1) / 2 && 1 - 2 * below >= 0.95; below += binomial_half(n, k))
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
