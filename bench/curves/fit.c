// Least squares by modified Gram-Schmidt, and what the curves need of it.
#include "bench/curves/fit.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

// ---- Student's t

// P(|T| <= sqrt(freedom) tan(angle)): Abramowitz and Stegun, Handbook of Mathematical
// Functions, 26.7.3 and 26.7.4.
static double student_within(size_t freedom, double angle)
{
    const double half_pi = acos(0);
    bool odd = freedom % 2 == 1;
    double c = cos(angle), term = odd ? c : 1, sum = 0;
    for (size_t k = odd; k + 2 <= freedom; k += 2) {
        sum += term;
        term *= c * c * (double)(k + 1) / (double)(k + 2);
    }
    return odd ? (angle + sin(angle) * sum) / half_pi : sin(angle) * sum;
}

double fit_student(size_t freedom)
{
    double below = 0, above = acos(0);
    for (int i = 0; i < DBL_MANT_DIG + 10; i++) { // halved until it cannot be halved any more
        double middle = (below + above) / 2;
        if (student_within(freedom, middle) < 0.95)
            below = middle;
        else
            above = middle;
    }
    return sqrt((double)freedom) * tan(above);
}

// ---- Least squares

typedef double triangle[FIT_COLUMNS][FIT_COLUMNS + 1];

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

// The sum of squares above the diagonal: what column k had in common with those before it.
static double squares_above(triangle r, size_t k)
{
    double sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += r[i][k] * r[i][k];
    return sum;
}

// Turns the first p of the columns (p + 1, n) into orthonormal ones, and takes each one's share out
// of all that follow. Old column = sum of new column i * r[i][.]. The last column was y and ends as
// the residuals.
static status orthogonalize(double *columns, size_t n, size_t p, triangle r)
{
    for (size_t k = 0; k < p; k++) {
        double *q = columns + k * n;
        r[k][k] = sqrt(dot(q, q, n));
        if (!(r[k][k] > (double)n * DBL_EPSILON * hypot(r[k][k], sqrt(squares_above(r, k)))))
            return status_fail(
                "a fit: the points do not tell its terms apart; measure at more different x");
        for (size_t i = 0; i < n; i++)
            q[i] /= r[k][k];
        for (size_t j = k + 1; j <= p; j++) {
            double *later = columns + j * n;
            r[k][j] = dot(q, later, n);
            for (size_t i = 0; i < n; i++)
                later[i] -= r[k][j] * q[i];
        }
    }
    return NULL;
}

// Solves r x = c in place.
static void back_substitute(triangle r, size_t p, double *c)
{
    for (size_t k = p; k-- > 0;) {
        for (size_t j = k + 1; j < p; j++)
            c[k] -= r[k][j] * c[j];
        c[k] /= r[k][k];
    }
}

// Coefficients and their standard deviations: with X = Q r, the covariance is (X'X)^-1 = r^-1 r^-1'
// times the variance.
static void solve(const double *residuals, size_t n, size_t p, triangle r, double *coefficient,
                  double *sd)
{
    double variance = dot(residuals, residuals, n) / (double)(n - p);
    for (size_t k = 0; k < p; k++) {
        coefficient[k] = r[k][p];
        sd[k] = 0;
    }
    back_substitute(r, p, coefficient);
    for (size_t j = 0; j < p; j++) {
        double column[FIT_COLUMNS] = {0}; // j of r^-1
        column[j] = 1;
        back_substitute(r, p, column);
        for (size_t k = 0; k < p; k++)
            sd[k] += column[k] * column[k] * variance;
    }
    for (size_t k = 0; k < p; k++)
        sd[k] = sqrt(sd[k]);
}

static bool all_finite(const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

status fit_least_squares(const double *design, size_t n, size_t p, const double *y,
                         double *coefficient, double *sd)
{
    if (p < 1 || p > FIT_COLUMNS || n <= p)
        return status_fail(
            "a fit of %zu terms (at most %d) takes at least %zu points, not %zu; measure more", p,
            FIT_COLUMNS, p + 1, n);
    if (!all_finite(design, n * p) || !all_finite(y, n))
        return status_fail(
            "a fit takes finite numbers only; look for NaN or infinity among the points");
    double *columns = memory_array(n, (p + 1) * sizeof *columns); // (p + 1, n)
    if (!columns)
        return memory_failed("a fit");
    for (size_t k = 0; k < p; k++)
        for (size_t i = 0; i < n; i++)
            columns[k * n + i] = design[i * p + k];
    memcpy(columns + p * n, y, n * sizeof *y);
    triangle r;
    status s = orthogonalize(columns, n, p, r);
    if (!s)
        solve(columns + p * n, n, p, r, coefficient, sd);
    memory_free(columns);
    return s;
}

// ---- Models

typedef struct points {
    const double *x, *y, *sigma; // (n)
    size_t n;
} points;

static status check_positive(const char *name, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(values[i] > 0 && values[i] <= DBL_MAX))
            return status_fail(
                "a fit takes positive finite numbers only: %s[%zu] is %g; leave that point out",
                name, i, values[i]);
    return NULL;
}

static status check(const points *at)
{
    status s = check_positive("x", at->x, at->n);
    if (!s)
        s = check_positive("y", at->y, at->n);
    return s ? s : check_positive("sigma", at->sigma, at->n);
}

static double model_at(const double coefficient[FIT_TERMS], double x)
{
    return coefficient[0] + x * (coefficient[1] + x * coefficient[2]);
}

static double weighted_squares_left(const points *at, const double coefficient[FIT_TERMS])
{
    double sum = 0;
    for (size_t i = 0; i < at->n; i++) {
        double left = (at->y[i] - model_at(coefficient, at->x[i])) / at->sigma[i];
        sum += left * left;
    }
    return sum;
}

// Of y as it is: about 0, not about the mean. Its size tells which squares are no more than
// rounding.
static double weighted_squares(const points *at)
{
    return weighted_squares_left(at, (double[FIT_TERMS]){0});
}

static size_t count(unsigned terms)
{
    return (terms & 1) + (terms >> 1 & 1) + (terms >> 2 & 1);
}

// Least squares with these terms, of any sign; the coefficients of the others are 0.
static status fit_unbounded(const points *at, unsigned terms, double coefficient[FIT_TERMS],
                            double sd[FIT_TERMS])
{
    double *design =
        memory_array(at->n, (FIT_TERMS + 1) * sizeof *design); // (n, count(terms)), then y
    if (!design)
        return memory_failed("a fit");
    double *next = design, *y = design + FIT_TERMS * at->n, packed[FIT_TERMS], packed_sd[FIT_TERMS];
    for (size_t i = 0; i < at->n; i++) {
        double power = 1 / at->sigma[i];
        for (unsigned k = 0; k < FIT_TERMS; k++, power *= at->x[i])
            if (terms >> k & 1)
                *next++ = power;
        y[i] = at->y[i] / at->sigma[i];
    }
    status s = fit_least_squares(design, at->n, count(terms), y, packed, packed_sd);
    memory_free(design);
    for (unsigned k = 0, from = 0; !s && k < FIT_TERMS; k++) {
        bool present = terms >> k & 1;
        coefficient[k] = present ? packed[from] : 0;
        sd[k] = present ? packed_sd[from] : 0;
        from += present;
    }
    return s;
}

// The best coefficients that are not negative. Those that are not 0 there are free, so they solve
// the unbounded problem of their own terms: to try all choices of terms finds them.
static status fit_nonnegative(const points *at, unsigned terms, double best[FIT_TERMS])
{
    double least = INFINITY;
    for (unsigned chosen = 1; chosen <= terms; chosen++) {
        if (chosen & ~terms)
            continue;
        double c[FIT_TERMS], sd[FIT_TERMS];
        status s = fit_unbounded(at, chosen, c, sd);
        if (s)
            return s;
        double left = weighted_squares_left(at, c);
        if (c[0] >= 0 && c[1] >= 0 && c[2] >= 0 && left < least) {
            least = left;
            memcpy(best, c, sizeof c);
        }
    }
    return isfinite(least)
               ? NULL
               : status_fail("a fit: the numbers are too large or too small; choose other units");
}

static const double rounding = 1e-14; // residuals below this share of y are not the model's

static double weighted_mean(const points *at)
{
    double sum = 0, weights = 0;
    for (size_t i = 0; i < at->n; i++) {
        double weight = 1 / (at->sigma[i] * at->sigma[i]);
        sum += weight * at->y[i];
        weights += weight;
    }
    return sum / weights;
}

static double r_squared(const points *at, const double coefficient[FIT_TERMS])
{
    double total = weighted_squares_left(at, (double[FIT_TERMS]){weighted_mean(at)});
    bool varies = total > rounding * rounding * weighted_squares(at);
    return varies ? 1 - weighted_squares_left(at, coefficient) / total : NAN;
}

static double rms_relative(const points *at, const double coefficient[FIT_TERMS])
{
    points relative = {at->x, at->y, at->y, at->n};
    return sqrt(weighted_squares_left(&relative, coefficient) / (double)at->n);
}

// n ln(squares / n) + 2 K, corrected for small n. K counts the terms and the size of the errors.
// Among models that fit to within rounding the fewest terms win.
static double corrected_akaike(const points *at, unsigned terms,
                               const double coefficient[FIT_TERMS])
{
    double n = (double)at->n, K = (double)count(terms) + 1;
    double squares =
        fmax(weighted_squares_left(at, coefficient), rounding * rounding * weighted_squares(at));
    return n > K + 1 ? n * log(squares / n) + 2 * K * n / (n - K - 1) : INFINITY;
}

static status fit_terms(const points *at, unsigned terms, fit_model *out)
{
    static const char *const names[] = {
        [1] = "a",         [2] = "b x",         [3] = "a + b x",        [4] = "c x^2",
        [5] = "a + c x^2", [6] = "b x + c x^2", [7] = "a + b x + c x^2"};
    double unbounded[FIT_TERMS], sd[FIT_TERMS], c[FIT_TERMS];
    status s = fit_unbounded(at, terms, unbounded, sd);
    if (!s)
        s = fit_nonnegative(at, terms, c);
    if (s)
        return s;
    *out = (fit_model){names[terms], terms, .n = at->n};
    double t = fit_student(at->n - count(terms));
    for (size_t k = 0; k < FIT_TERMS; k++)
        out->coefficient[k] = (fit_interval){c[k], fmin(c[k], fmax(0, unbounded[k] - t * sd[k])),
                                             fmax(c[k], unbounded[k] + t * sd[k])};
    out->r2 = r_squared(at, c);
    out->rms_relative = rms_relative(at, c);
    out->aicc = corrected_akaike(at, terms, c);
    return NULL;
}

status fit_physical(const double *x, const double *y, const double *sigma, size_t n, fit_model *out)
{
    points at = {x, y, sigma ? sigma : y, n};
    status s = check(&at);
    return s ? s : fit_terms(&at, (1 << FIT_TERMS) - 1, out);
}

static int better_first(const void *a, const void *b)
{
    const fit_model *f = a, *g = b;
    if (f->aicc != g->aicc)
        return f->aicc < g->aicc ? -1 : 1;
    return (int)count(f->terms) - (int)count(g->terms);
}

size_t fit_candidates(const double *x, const double *y, const double *sigma, size_t n,
                      fit_model *ranked, size_t room)
{
    points at = {x, y, sigma ? sigma : y, n};
    fit_model all[FIT_CANDIDATES];
    size_t fitted = 0;
    if (check(&at))
        return 0;
    for (unsigned terms = 1; terms <= FIT_CANDIDATES; terms++)
        if (!fit_terms(&at, terms, &all[fitted]))
            fitted++;
    qsort(all, fitted, sizeof *all, better_first);
    size_t written = fitted < room ? fitted : room;
    memcpy(ranked, all, written * sizeof *all);
    return written;
}

// ---- Power laws

status fit_power_law(const double *x, const double *y, size_t n, fit_power *out)
{
    points at = {x, y, y, n};
    status s = check(&at);
    if (s)
        return s;
    double *ln_x = memory_array(n, 3 * sizeof *ln_x);
    if (!ln_x)
        return memory_failed("a fit");
    double *ln_y = ln_x + n, *ones = ln_y + n;
    for (size_t i = 0; i < n; i++) {
        ln_x[i] = log(x[i]);
        ln_y[i] = log(y[i]);
        ones[i] = 1;
    }
    points line = {ln_x, ln_y, ones, n};
    double c[FIT_TERMS], sd[FIT_TERMS];
    s = fit_unbounded(&line, 1 | 2, c, sd);
    if (!s) {
        double half = fit_student(n - 2) * sd[1];
        *out = (fit_power){{c[1], c[1] - half, c[1] + half}, exp(c[0]), r_squared(&line, c), n};
    }
    memory_free(ln_x);
    return s;
}

void fit_local_slopes(const double *x, const double *y, size_t n, double *slopes)
{
    for (size_t i = 0; i + 1 < n; i++) {
        double slope = log(y[i + 1] / y[i]) / log(x[i + 1] / x[i]);
        slopes[i] = isfinite(slope) ? slope : NAN;
    }
}
