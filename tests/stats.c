// The median and its interval: hand values, and Pascal's triangle beside the logarithms.
#include <criterion/criterion.h>
#include <math.h>

#include "bench/stats.h"

TestSuite(stats);

// P(the k-th smallest <= median <= the k-th largest) by exact binomial coefficients; n below 60.
static double coverage_by_pascal(size_t n, size_t k)
{
    double row[64] = {1}, below = 0;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = i; j > 0; j--)
            row[j] += row[j - 1];
    for (size_t i = 0; i < k; i++)
        below += row[i];
    return 1 - 2 * ldexp(below, -(int)n);
}

Test(stats, coverage_of_published_cases)
{
    cr_assert_float_eq(stats_coverage(6, 1), 1 - 2.0 / 64, 1e-12);   // min..max of 6: 96.9 %
    cr_assert_float_eq(stats_coverage(9, 2), 1 - 20.0 / 512, 1e-12); // x(2)..x(8) of 9: 96.1 %
    cr_assert_float_eq(stats_coverage(5, 1), 1 - 2.0 / 32, 1e-12);   // 93.75 %: not enough
    cr_assert_float_eq(stats_coverage(1, 1), 0, 1e-12);
}

Test(stats, coverage_is_the_binomials)
{
    for (size_t n = 1; n < 60; n++)
        for (size_t k = 1; k <= (n + 1) / 2; k++)
            cr_assert_float_eq(stats_coverage(n, k), coverage_by_pascal(n, k), 1e-11,
                               "n = %zu, k = %zu: %.15g instead of %.15g", n, k, stats_coverage(n, k),
                               coverage_by_pascal(n, k));
}

Test(stats, rank_is_the_narrowest_that_covers)
{
    for (size_t n = 1; n < STATS_MIN_SAMPLES; n++)
        cr_assert_eq(stats_rank(n), 0, "%zu samples", n);
    cr_assert_eq(stats_rank(6), 1);
    cr_assert_eq(stats_rank(8), 1);
    cr_assert_eq(stats_rank(9), 2);
    for (size_t n = 6; n < 3000; n = n * 5 / 4) { // beyond 1074, 2^-n is no double
        size_t k = stats_rank(n);
        cr_assert_geq(stats_coverage(n, k), 0.95, "n = %zu, k = %zu", n, k);
        cr_assert_lt(stats_coverage(n, k + 1), 0.95, "n = %zu, k = %zu is not the narrowest", n, k);
    }
}

Test(stats, median_of_odd_and_even)
{
    double odd[] = {9, 1, 8, 2, 7, 3, 6, 4, 5}, even[] = {40, 10, 60, 20, 50, 30}, few[] = {3, 1, 2}, one[] = {7};
    estimate e = stats_median(odd, 9);
    cr_assert(e.median == 5 && e.lo == 2 && e.hi == 8, "%g in %g to %g", e.median, e.lo, e.hi);
    e = stats_median(even, 6);
    cr_assert(e.median == 35 && e.lo == 10 && e.hi == 60, "%g in %g to %g", e.median, e.lo, e.hi);
    e = stats_median(few, 3);
    cr_assert(e.median == 2 && isnan(e.lo) && isnan(e.hi), "three values have no interval: %g in %g to %g", e.median,
              e.lo, e.hi);
    cr_assert_eq(stats_median(one, 1).median, 7);
}

Test(stats, an_outlier_moves_no_median)
{
    double calm[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, spiked[] = {1, 2, 3, 4, 5, 6, 7, 8, 9e9};
    estimate a = stats_median(calm, 9), b = stats_median(spiked, 9);
    cr_assert(a.median == b.median && a.lo == b.lo && a.hi == b.hi, "%g in %g to %g", b.median, b.lo, b.hi);
}
