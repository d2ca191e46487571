// The median and its interval: hand values, and Pascal's triangle beside the logarithms.
#include <criterion/criterion.h>
#include <math.h>

#include "bench/base/stats.h"
#include "common/base/random.h"

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
                               "n = %zu, k = %zu: %.15g instead of %.15g", n, k,
                               stats_coverage(n, k), coverage_by_pascal(n, k));
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
    double odd[] = {9, 1, 8, 2, 7, 3, 6, 4, 5}, even[] = {40, 10, 60, 20, 50, 30},
           few[] = {3, 1, 2}, one[] = {7};
    estimate e = stats_median(odd, 9);
    cr_assert(e.median == 5 && e.lo == 2 && e.hi == 8, "%g in %g to %g", e.median, e.lo, e.hi);
    e = stats_median(even, 6);
    cr_assert(e.median == 35 && e.lo == 10 && e.hi == 60, "%g in %g to %g", e.median, e.lo, e.hi);
    e = stats_median(few, 3);
    cr_assert(e.median == 2 && isnan(e.lo) && isnan(e.hi),
              "three values have no interval: %g in %g to %g", e.median, e.lo, e.hi);
    cr_assert_eq(stats_median(one, 1).median, 7);
}

Test(stats, an_outlier_moves_no_median)
{
    double calm[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, spiked[] = {1, 2, 3, 4, 5, 6, 7, 8, 9e9};
    estimate a = stats_median(calm, 9), b = stats_median(spiked, 9);
    cr_assert(a.median == b.median && a.lo == b.lo && a.hi == b.hi, "%g in %g to %g", b.median,
              b.lo, b.hi);
}

static double mad_of(double *values, size_t n)
{
    double median = stats_median(values, n).median;
    return stats_mad(values, n, median);
}

Test(stats, mad_of_hand_values)
{
    double odd[] = {6, 2, 9, 1, 4, 2, 1}, even[] = {1, 2, 4, 8}, lone[] = {5}, pair[] = {1, 4},
           level[] = {3, 3, 3, 8};
    cr_assert_eq(mad_of(odd, 7), 1);    // about 2: 0 0 1 1 2 4 7
    cr_assert_eq(mad_of(even, 4), 1.5); // about 3: 1 1 2 5
    cr_assert_eq(mad_of(lone, 1), 0);
    cr_assert_eq(mad_of(pair, 2), 1.5);
    cr_assert_eq(mad_of(level, 4), 0);
}

Test(stats, mad_is_the_median_of_sorted_deviations)
{
    uint64_t state = 1;
    for (size_t n = 1; n <= 40; n++) {
        double values[40], deviations[40];
        for (size_t i = 0; i < n; i++, state += RANDOM_GAMMA)
            values[i] = (double)(random_splitmix64(state) % 50); // with ties
        double median = stats_median(values, n).median;
        for (size_t i = 0; i < n; i++)
            deviations[i] = fabs(values[i] - median);
        double expected = stats_median(deviations, n).median;
        cr_assert_eq(stats_mad(values, n, median), expected, "n = %zu: %g instead of %g", n,
                     stats_mad(values, n, median), expected);
    }
}

Test(stats, outliers_lie_beyond_three_and_a_half_sigma)
{
    double edge = 3.5 * 1.4826 * 2; // a MAD of 2
    cr_assert(!stats_outlier(100 + edge - 0.01, 100, 2) &&
              stats_outlier(100 + edge + 0.01, 100, 2));
    cr_assert(!stats_outlier(100 - edge + 0.01, 100, 2) &&
              stats_outlier(100 - edge - 0.01, 100, 2));
    cr_assert(!stats_outlier(100, 100, 0) && stats_outlier(101, 100, 0));
}

Test(stats, drift_shows_a_change_of_pace)
{
    double slower[] = {1.00, 1.02, 0.99, 1.01, 1.00, 0.98, 5, 1.10, 1.13, 1.09, 1.11, 1.12, 1.10};
    double steady[] = {1.00, 1.02, 0.99, 1.01, 1.00, 0.98, 1.00, 1.01, 0.98, 1.03, 1.00, 0.99};
    double few[] = {1, 1, 1, 1, 1, 9, 9, 9, 9, 9}, faster[12];
    for (size_t i = 0; i < 12; i++)
        faster[i] = i < 6 ? 4 + 0.01 * (double)i : 2 + 0.01 * (double)i;
    drift d = stats_drift(slower, 13); // the 5 in the middle counts in neither half
    cr_assert(d.clear && fabs(d.change - 0.105) < 1e-9 && d.first.median == 1, "%g, %d", d.change,
              d.clear);
    d = stats_drift(steady, 12);
    cr_assert(!d.clear && fabs(d.change) < 0.01, "%g, %d", d.change, d.clear);
    d = stats_drift(faster, 12);
    cr_assert(d.clear && d.change < -0.4, "%g, %d", d.change, d.clear);
    d = stats_drift(few, 10); // five values a half have no interval
    cr_assert(!d.clear && fabs(d.change - 8) < 1e-12, "%g, %d", d.change, d.clear);
}
