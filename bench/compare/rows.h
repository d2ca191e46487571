// One row of A beside one row of B: its scale, what is masked, and all its figures.
#ifndef LOCKSTEP_BENCH_ROWS_H
#define LOCKSTEP_BENCH_ROWS_H

#include "bench/compare/compare.h"

// What a row is measured by.
typedef struct rows_scale {
    double deviation; // the standard deviation of what is not masked, outliers drawn in; never 0
    double masked;    // a number up to this is masked: -Inf if nothing else is
} rows_scale;

// The scale of x, (n); `room` is (n) too.
rows_scale rows_measure(const double *x, size_t n, double *room);

// Whether a difference between these two says nothing: both are masked, or both are NaN or the same
// infinity.
bool rows_left_out(double a, double b, const rows_scale *of_a, const rows_scale *of_b);

// Two rows this near are the same but for float32 rounding; different rows of a model are far from
// it.
#define ROWS_SAME 0x1p-15

// The root mean square of b - a - offset over a's deviation; infinite where a NaN or an infinity
// stands in one alone.
double rows_distance(const double *a, const double *b, size_t n, const rows_scale *of_a,
                     const rows_scale *of_b, double offset);

// All figures of b, (n), beside a; `room` is (n) too. Beyond is what has more distance than
// `limit`, or a divergence or another largest logit that no such distance explains.
comparison_row rows_compare(const double *a, const double *b, size_t n, bool as_double,
                            double limit, double *room);

#endif
