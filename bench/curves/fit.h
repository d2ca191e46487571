// Least squares for the curves: slopes in a log-log plot, and the physical model a + b x + c x^2,
// with intervals.
#ifndef LOCKSTEP_BENCH_FIT_H
#define LOCKSTEP_BENCH_FIT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

enum {
    FIT_TERMS = 3,      // of the physical model: 1, x, x^2
    FIT_CANDIDATES = 7, // one for each choice of them but none
    FIT_COLUMNS = 11,   // the most that fit_least_squares takes
};

typedef struct fit_interval {
    double value;
    double lo, hi; // 95 %
} fit_interval;

// Whether a slope's interval reaches further than FIT_WIDE to a side, or is not known: such a slope
// is marked wherever it is shown.
#define FIT_WIDE 0.05
static inline bool fit_is_wide(fit_interval slope)
{
    return !(slope.hi - slope.lo <= 2 * FIT_WIDE);
}

// y ~ factor * x^slope
typedef struct fit_power {
    fit_interval slope;
    double factor;
    double r2; // of ln y; NaN where y does not vary
    size_t n;
} fit_power;

// Fits a straight line to n >= 3 points (ln x, ln y), all of the same weight. The slope's interval
// is Student's with n - 2 degrees of freedom. Refused: numbers that are not positive and finite, x
// all equal.
status fit_power_law(const double *x, const double *y, size_t n, fit_power *out);

// The n - 1 slopes ln(y[i+1] / y[i]) / ln(x[i+1] / x[i]) between neighbours; NaN where there is
// none.
void fit_local_slopes(const double *x, const double *y, size_t n, double *slopes);

// y = sum of coefficient[i] x^i over the terms present, none of them negative: a time is a sum of
// costs.
typedef struct fit_model {
    const char *name; // as it is written, "a + c x^2"
    unsigned terms;   // bit i: x^i is present
    fit_interval coefficient[FIT_TERMS];
    double r2; // 1 - weighted squares left / weighted squares about the weighted mean; NaN where y
               // does not vary
    double rms_relative; // root of the mean of ((fitted - y) / y)^2
    double aicc; // smaller is better, only differences mean something; infinite if n < number of
                 // terms + 3
    size_t n;
} fit_model;

// The model with all three terms on n >= 4 points, weighted by 1 / sigma^2; without sigma (NULL) by
// 1 / y^2, that is, the relative errors are taken to be equal. Only the ratios of the sigmas count:
// how large the errors are is seen from the residuals. The coefficients are the best non-negative
// ones. The intervals are those of the fit without that bound (Student's, n - 3 degrees of
// freedom), with what lies below 0 cut off: if the truth is not negative, they cover it as often as
// before the cut. A coefficient of 0 therefore comes with the largest value that the points still
// allow. Where a coefficient is at its bound the others differ from those of the unbounded fit, and
// an interval is widened to hold its value. Refused: x, y or sigma not positive and finite, fewer
// than three different x.
status fit_physical(const double *x, const double *y, const double *sigma, size_t n,
                    fit_model *out);

// All seven models, each fitted as above with its own terms, by AICc (Burnham and Anderson, Model
// Selection and Multimodel Inference, 2002), smallest first; the simpler one if equal. Writes the
// first `room` of them, returns how many it wrote. A model that cannot be fitted (too many terms
// for the points, no memory) is left out; so are all if a number is not positive and finite.
size_t fit_candidates(const double *x, const double *y, const double *sigma, size_t n,
                      fit_model *ranked, size_t room);

// The core: minimises |y - design coefficient|^2, design (n, p) row-major, p <= FIT_COLUMNS, n > p.
// sd (p) receives the coefficients' standard deviations, from the residuals with n - p degrees of
// freedom. Modified Gram-Schmidt with y as one more column, as stable as Householder's method
// (Bjorck, BIT 7, 1967). Refused: numbers that are not finite, columns that depend on each other to
// within rounding.
status fit_least_squares(const double *design, size_t n, size_t p, const double *y,
                         double *coefficient, double *sd);

// The t for which |T| <= t has probability 95 %, T being Student's with `freedom` >= 1 degrees of
// freedom.
double fit_student(size_t freedom);

#endif
