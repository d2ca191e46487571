// Fits against NIST's certified regressions, against simulated noise, and against input that has no
// fit.
#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "bench/curves/fit.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "tests/support/strd.h"
#include "tests/support/support.h"

TestSuite(fit);

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static bool covers(fit_interval i, double truth)
{
    return i.lo <= truth && truth <= i.hi;
}

Test(fit, student_is_the_tables)
{
    // The 97.5 % points as R's qt and any table have them.
    const struct {
        size_t freedom;
        double t;
    } table[] = {{1, 12.7062047361747},   {2, 4.30265272974946},   {3, 3.18244630528371},
                 {4, 2.77644510519779},   {5, 2.57058183563631},   {10, 2.22813885198627},
                 {30, 2.04227245630124},  {100, 1.98397151852355}, {1000, 1.96233908082641},
                 {1000000, 1.95996635681}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double t = fit_student(table[i].freedom);
        cr_assert(fabs(t - table[i].t) < 1e-10, "%zu degrees of freedom: %.15g instead of %.15g",
                  table[i].freedom, t, table[i].t);
    }
}

// ---- Certified problems

enum { STRD_ROWS = 100 };

// How many significant digits agree: -log10 of the relative error, of the absolute one where the
// truth is 0.
static double digits(double value, double certified)
{
    double error = fabs(value - certified) / (certified == 0 ? 1 : fabs(certified));
    return fmin(15, -log10(error));
}

static double worst_digits(const double *values, const double *certified, size_t n)
{
    double worst = 15;
    for (size_t i = 0; i < n; i++)
        worst = fmin(worst, digits(values[i], certified[i]));
    return worst;
}

static void make_design(const strd *d, double *design, double *y)
{
    for (size_t i = 0; i < d->n; i++) {
        const double *row = d->rows + i * d->columns;
        double *out = design + i * d->p, power = d->first == 0 ? 1 : row[1];
        y[i] = row[0];
        for (size_t k = 0; k < d->p; k++, power *= row[1])
            out[k] = d->columns == 2 ? power : k == 0 ? 1 : row[k];
    }
}

Test(fit, certified_regressions)
{
    for (size_t i = 0; i < sizeof strd_sets / sizeof *strd_sets; i++) {
        const strd *d = &strd_sets[i];
        double design[STRD_ROWS * STRD_TERMS], y[STRD_ROWS], beta[STRD_TERMS], sd[STRD_TERMS];
        make_design(d, design, y);
        status s = fit_least_squares(design, d->n, d->p, y, beta, sd);
        cr_assert_null(s, "%s: %s", d->name, s);
        double b = worst_digits(beta, d->beta, d->p), e = worst_digits(sd, d->sd, d->p);
        cr_log_info("%s: %.1f digits of the coefficients, %.1f of their standard deviations",
                    d->name, b, e);
        cr_assert(b >= d->beta_digits && e >= d->sd_digits,
                  "%s: %.2f digits of the coefficients, %.2f of their standard deviations", d->name,
                  b, e);
    }
}

Test(fit, least_squares_refuses)
{
    const double same[] = {1, 3, 1, 3, 1, 3}, row[] = {1, 1, 1, 2, 1, 3}, y[] = {1, 2, 3},
                 hole[] = {1, NAN, 3};
    double c[2], sd[2];
    support_assert_refused(fit_least_squares(same, 3, 2, y, c, sd),
                           "do not tell its terms apart|different x");
    support_assert_refused(fit_least_squares(row, 2, 2, y, c, sd), "at least 3 points, not 2");
    support_assert_refused(fit_least_squares(row, 3, 0, y, c, sd), "a fit of 0 terms");
    support_assert_refused(fit_least_squares(row, 3, FIT_COLUMNS + 1, y, c, sd), "at most 11");
    support_assert_refused(fit_least_squares(row, 3, 2, hole, c, sd), "finite numbers only");
}

// ---- Exact recoveries

enum { POINTS = 8 };
static const double doublings[POINTS] = {64, 128, 256, 512, 1024, 2048, 4096, 8192};

static void evaluate(double a, double b, double c, double y[POINTS])
{
    for (size_t i = 0; i < POINTS; i++)
        y[i] = a + doublings[i] * (b + doublings[i] * c);
}

static void assert_model(const fit_model *m, double a, double b, double c)
{
    const double truth[FIT_TERMS] = {a, b, c};
    for (size_t k = 0; k < FIT_TERMS; k++) {
        fit_interval i = m->coefficient[k];
        double share = fabs(i.value - truth[k]) * pow(doublings[0], (double)k);
        cr_assert(share <= 1e-6 && i.lo <= i.value && i.value <= i.hi,
                  "%s: x^%zu: %g in %g to %g instead of %g", m->name, k, i.value, i.lo, i.hi,
                  truth[k]);
    }
}

Test(fit, power_law_exactly)
{
    double y[POINTS], slopes[POINTS - 1];
    for (size_t i = 0; i < POINTS; i++)
        y[i] = 3 * pow(doublings[i], 1.5);
    fit_power p;
    cr_assert_null(fit_power_law(doublings, y, POINTS, &p));
    cr_assert(close_to(p.slope.value, 1.5) && close_to(p.factor, 3) && close_to(p.r2, 1) &&
                  p.n == POINTS,
              "%g x^%g, r2 %g", p.factor, p.slope.value, p.r2);
    cr_assert(p.slope.hi - p.slope.lo < 1e-9 && p.slope.lo <= p.slope.hi, "%g to %g", p.slope.lo,
              p.slope.hi);
    fit_local_slopes(doublings, y, POINTS, slopes);
    for (size_t i = 0; i + 1 < POINTS; i++)
        cr_assert(close_to(slopes[i], 1.5), "slope %zu: %g", i, slopes[i]);
}

// Norris in logarithms: x = e^u, y = e^v has NIST's slope and intercept.
Test(fit, power_law_is_the_certified_line)
{
    const strd *d = &strd_sets[0];
    double x[STRD_ROWS], y[STRD_ROWS];
    for (size_t i = 0; i < d->n; i++) {
        y[i] = exp(d->rows[2 * i] / 10);
        x[i] = exp(d->rows[2 * i + 1] / 10);
    }
    fit_power p;
    cr_assert_null(fit_power_law(x, y, d->n, &p));
    double half = fit_student(d->n - 2) * d->sd[1];
    cr_assert(close_to(p.slope.value, d->beta[1]) && close_to(log(p.factor), d->beta[0] / 10),
              "%.15g, %.15g", p.slope.value, log(p.factor) * 10);
    cr_assert(close_to(p.slope.hi - p.slope.lo, 2 * half), "%.15g", p.slope.hi - p.slope.lo);
    cr_assert(close_to(p.r2, 0.999993745883712), "%.15g", p.r2); // certified
}

Test(fit, local_slopes_where_there_are_none)
{
    const double x[] = {1, 1, 2, 4, 8}, y[] = {1, 2, 0, 5, NAN};
    double slopes[4];
    fit_local_slopes(x, y, 5, slopes);
    for (size_t i = 0; i < 4; i++)
        cr_assert(isnan(slopes[i]), "slope %zu: %g", i, slopes[i]);
    fit_local_slopes(x, y, 1, slopes); // one point has no slope, and nothing is written
    fit_local_slopes(x, y, 0, slopes);
}

Test(fit, physical_model_exactly)
{
    const double truth[][FIT_TERMS] = {{5, 2, 0.25}, {5, 2, 0}, {5, 0, 0.25}, {0, 2, 0.25},
                                       {5, 0, 0},    {0, 2, 0}, {0, 0, 1}};
    for (size_t i = 0; i < sizeof truth / sizeof *truth; i++) {
        double y[POINTS], sigma[POINTS];
        evaluate(truth[i][0], truth[i][1], truth[i][2], y);
        for (size_t k = 0; k < POINTS; k++)
            sigma[k] = 1 + (double)k;
        fit_model m;
        cr_assert_null(fit_physical(doublings, y, NULL, POINTS, &m));
        assert_model(&m, truth[i][0], truth[i][1], truth[i][2]);
        cr_assert(m.rms_relative < 1e-9 && m.n == POINTS && m.terms == 7, "%s: %g", m.name,
                  m.rms_relative);
        cr_assert_null(fit_physical(doublings, y, sigma, POINTS, &m));
        assert_model(&m, truth[i][0], truth[i][1], truth[i][2]);
    }
}

// Least squares would take a negative intercept here. The best non-negative one is 0, and then b is
// the weighted fit of b x.
Test(fit, bound_holds)
{
    const double x[] = {1, 2, 3, 4, 5, 6}, noise[] = {-0.6, -0.2, 0.1, 0.2, 0.3, 0.1};
    double y[6], ones[6], xy = 0, xx = 0;
    for (size_t i = 0; i < 6; i++) {
        y[i] = 2 * x[i] + noise[i];
        ones[i] = 1;
        xy += x[i] * y[i];
        xx += x[i] * x[i];
    }
    fit_model ranked[FIT_CANDIDATES];
    cr_assert_eq(fit_candidates(x, y, ones, 6, ranked, FIT_CANDIDATES), FIT_CANDIDATES);
    for (size_t i = 0; i < FIT_CANDIDATES; i++)
        if (strcmp(ranked[i].name, "a + b x") == 0) {
            fit_interval a = ranked[i].coefficient[0], b = ranked[i].coefficient[1];
            cr_assert(a.value == 0 && a.lo == 0 && a.hi >= 0, "a = %g in %g to %g", a.value, a.lo,
                      a.hi);
            cr_assert(close_to(b.value, xy / xx) && covers(b, b.value),
                      "b = %g in %g to %g instead of %g", b.value, b.lo, b.hi, xy / xx);
        }
}

// ---- Ranking

Test(fit, candidates_of_exact_data)
{
    const struct {
        double truth[FIT_TERMS];
        const char *name;
    } cases[] = {{{7, 0, 0}, "a"},
                 {{0, 3, 0}, "b x"},
                 {{0, 0, 2}, "c x^2"},
                 {{100, 3, 0}, "a + b x"},
                 {{900, 0, 2}, "a + c x^2"},
                 {{0, 300, 2}, "b x + c x^2"},
                 {{9000, 300, 2}, "a + b x + c x^2"}};
    for (size_t i = 0; i < FIT_CANDIDATES; i++) {
        double y[POINTS];
        evaluate(cases[i].truth[0], cases[i].truth[1], cases[i].truth[2], y);
        fit_model ranked[FIT_CANDIDATES];
        cr_assert_eq(fit_candidates(doublings, y, NULL, POINTS, ranked, FIT_CANDIDATES),
                     FIT_CANDIDATES);
        cr_assert_str_eq(ranked[0].name, cases[i].name);
        assert_model(&ranked[0], cases[i].truth[0], cases[i].truth[1], cases[i].truth[2]);
        for (size_t k = 1; k < FIT_CANDIDATES; k++)
            cr_assert_geq(ranked[k].aicc, ranked[k - 1].aicc, "rank %zu", k);
    }
}

// AICc and R^2 by hand, for the mean of 1..6 with equal weights: 17.5 squares about it, one term
// and the error's size.
Test(fit, measures_by_hand)
{
    const double x[] = {1, 2, 3, 4, 5, 6}, y[] = {1, 2, 3, 4, 5, 6}, ones[] = {1, 1, 1, 1, 1, 1};
    fit_model ranked[FIT_CANDIDATES];
    cr_assert_eq(fit_candidates(x, y, ones, 6, ranked, FIT_CANDIDATES), FIT_CANDIDATES);
    const fit_model *m = ranked;
    while (m->terms != 1)
        m++;
    double aicc = 6 * log(17.5 / 6) + 2 * 2 + 2 * 2 * 3 / 3.0, relative = 0;
    for (size_t i = 0; i < 6; i++)
        relative += pow(3.5 / y[i] - 1, 2) / 6;
    cr_assert(close_to(m->coefficient[0].value, 3.5) && close_to(m->aicc, aicc) &&
                  fabs(m->r2) < 1e-12 && close_to(m->rms_relative, sqrt(relative)),
              "%g: AICc %g, r2 %g, rms %g", m->coefficient[0].value, m->aicc, m->r2,
              m->rms_relative);
    double half = 2.57058183563631 * sqrt(17.5 / 5 / 6); // Student's t with 5 degrees of freedom
    cr_assert(close_to(m->coefficient[0].lo, 3.5 - half) &&
                  close_to(m->coefficient[0].hi, 3.5 + half),
              "%g to %g", m->coefficient[0].lo, m->coefficient[0].hi);
}

Test(fit, few_points_have_few_candidates)
{
    const double x[] = {1, 2, 4, 8}, y[] = {3, 5, 9, 18}, twice[] = {1, 1, 2, 2},
                 level[] = {4, 4, 4, 4};
    fit_model ranked[FIT_CANDIDATES], m;
    cr_assert_eq(fit_candidates(x, y, NULL, 0, ranked, FIT_CANDIDATES), 0);
    cr_assert_eq(fit_candidates(x, y, NULL, 1, ranked, FIT_CANDIDATES), 0);
    cr_assert_eq(fit_candidates(x, y, NULL, 2, ranked, FIT_CANDIDATES), 3);
    cr_assert_eq(fit_candidates(x, y, NULL, 3, ranked, FIT_CANDIDATES),
                 6); // no AICc, so the simple ones come first
    for (size_t i = 0; i < 3; i++)
        cr_assert(isinf(ranked[i].aicc) && ranked[i].terms == (ranked[i].terms & -ranked[i].terms),
                  "%s", ranked[i].name);
    cr_assert_eq(fit_candidates(x, y, NULL, 4, ranked, FIT_CANDIDATES), 7);
    cr_assert(isfinite(ranked[0].aicc) && isinf(ranked[6].aicc), "%g, %g", ranked[0].aicc,
              ranked[6].aicc);
    cr_assert_eq(fit_candidates(twice, y, NULL, 4, ranked, FIT_CANDIDATES),
                 6); // all but the one of three terms
    cr_assert_eq(fit_candidates(x, y, NULL, 4, ranked, 2), 2);
    cr_assert_null(fit_physical(x, level, NULL, 4, &m));
    cr_assert(isnan(m.r2), "no variation, so no share of it: %g", m.r2);
}

// ---- Noise

enum { RUNS = 2000 };

// Standard normal, from two uniform numbers (Box and Muller, 1958). Never the logarithm of 0.
static double gaussian(uint64_t *state)
{
    double u = ldexp((double)(random_splitmix64(*state) >> 11) + 0.5, -53);
    double v = ldexp((double)(random_splitmix64(*state + RANDOM_GAMMA) >> 11), -53);
    *state += 2 * RANDOM_GAMMA;
    return sqrt(-2 * log(u)) * cos(4 * acos(0) * v);
}

static void assert_covered(const char *what, size_t hits)
{
    double share = 100.0 * (double)hits / RUNS;
    cr_log_info("%s: covered in %.2f %% of %d runs", what, share, RUNS);
    cr_assert(93 <= share && share <= 97, "%s: covered in %.2f %% of %d runs", what, share, RUNS);
}

Test(fit, power_law_covers_the_truth)
{
    uint64_t state = 1;
    size_t hits = 0;
    for (size_t run = 0; run < RUNS; run++) {
        double y[POINTS];
        for (size_t i = 0; i < POINTS; i++)
            y[i] = 3 * pow(doublings[i], 1.1) * exp(0.05 * gaussian(&state));
        fit_power p;
        cr_assert_null(fit_power_law(doublings, y, POINTS, &p));
        hits += covers(p.slope, 1.1);
    }
    assert_covered("slope", hits);
}

// In how many runs each coefficient is covered, with 2 % noise; `known`: fit_physical is told the
// sigmas, in other units.
static void count_covered(uint64_t seed, const double truth[FIT_TERMS], bool known,
                          size_t hits[FIT_TERMS])
{
    for (size_t run = 0; run < RUNS; run++) {
        double y[POINTS], sigma[POINTS];
        evaluate(truth[0], truth[1], truth[2], y);
        for (size_t i = 0; i < POINTS; i++) {
            sigma[i] = 1e3 * y[i];
            y[i] *= 1 + 0.02 * gaussian(&seed);
        }
        fit_model m;
        cr_assert_null(fit_physical(doublings, y, known ? sigma : NULL, POINTS, &m));
        for (size_t k = 0; k < FIT_TERMS; k++)
            hits[k] += covers(m.coefficient[k], truth[k]);
    }
}

Test(fit, physical_model_covers_an_interior_truth)
{
    const double truth[FIT_TERMS] = {4e5, 1e3,
                                     0.5}; // each a good part of the sum somewhere in the range
    for (int known = 0; known < 2; known++) {
        size_t hits[FIT_TERMS] = {0};
        count_covered(2, truth, known, hits);
        assert_covered(known ? "a, sigma given" : "a", hits[0]);
        assert_covered(known ? "b, sigma given" : "b", hits[1]);
        assert_covered(known ? "c, sigma given" : "c", hits[2]);
    }
}

// At the bound the interval is one-sided: it misses a truth of 0 only when the lower end is above
// 0, in 2.5 % of the runs.
Test(fit, physical_model_covers_a_truth_at_the_bound)
{
    const double truth[FIT_TERMS] = {0, 1e3, 0.5};
    size_t hits[FIT_TERMS] = {0};
    count_covered(3, truth, true, hits);
    for (size_t k = 0; k < FIT_TERMS; k++)
        cr_assert_geq(hits[k], RUNS * 93 / 100, "x^%zu: covered in %zu of %d runs", k, hits[k],
                      RUNS);
}

Test(fit, noise_leaves_the_true_model_among_the_best)
{
    uint64_t state = 4;
    double y[POINTS];
    evaluate(0, 1e3, 0.5, y);
    for (size_t i = 0; i < POINTS; i++)
        y[i] *= 1 + 0.01 * gaussian(&state);
    fit_model ranked[FIT_CANDIDATES];
    cr_assert_eq(fit_candidates(doublings, y, NULL, POINTS, ranked, FIT_CANDIDATES),
                 FIT_CANDIDATES);
    cr_assert_str_eq(ranked[0].name, "b x + c x^2");
    cr_assert_lt(ranked[0].rms_relative, 0.02, "%g", ranked[0].rms_relative);
}

// ---- Input that has no fit

Test(fit, refused)
{
    const double x[] = {1, 2, 3, 4, 5}, y[] = {2, 3, 5, 8, 9}, same[] = {7, 7, 7, 7, 7},
                 two[] = {1, 2, 1, 2, 1};
    const double bad[] = {0, -1, NAN, INFINITY, -INFINITY};
    const char *const shown[] = {"is 0", "is -1", "nan", "inf", "-inf"};
    fit_power p;
    fit_model m;
    support_assert_refused(fit_power_law(x, y, 2, &p), "at least 3 points, not 2");
    support_assert_refused(fit_power_law(x, y, 0, &p), "at least 3 points, not 0");
    support_assert_refused(fit_power_law(same, y, 5, &p), "different x");
    support_assert_refused(fit_physical(x, y, NULL, 3, &m), "at least 4 points, not 3");
    support_assert_refused(fit_physical(x, y, NULL, 0, &m), "at least 4 points, not 0");
    support_assert_refused(fit_physical(same, y, NULL, 5, &m), "different x");
    support_assert_refused(fit_physical(two, y, NULL, 5, &m), "different x");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double spoilt[] = {2, 3, bad[i], 8, 9};
        support_assert_refused(fit_power_law(spoilt, y, 5, &p), "x[2]");
        support_assert_refused(fit_power_law(x, spoilt, 5, &p), "y[2]");
        support_assert_refused(fit_physical(spoilt, y, NULL, 5, &m), "x[2]");
        support_assert_refused(fit_physical(x, spoilt, NULL, 5, &m), "y[2]");
        support_assert_refused(fit_physical(x, y, spoilt, 5, &m), "sigma[2]");
        support_assert_refused(fit_physical(x, y, spoilt, 5, &m), shown[i]);
        cr_assert_eq(fit_candidates(x, spoilt, NULL, 5, &m, 1), 0);
    }
    const double huge[] = {1e180, 2e180, 3e180, 4e180, 5e180};
    cr_assert_not_null(fit_physical(huge, y, NULL, 5, &m));
}

static status fit_one_model(void)
{
    const double x[] = {1, 2, 3, 4, 5}, y[] = {2, 3, 5, 8, 9};
    fit_model m;
    return fit_physical(x, y, NULL, 5, &m);
}

static status fit_one_power(void)
{
    const double x[] = {1, 2, 3, 4, 5}, y[] = {2, 3, 5, 8, 9};
    fit_power p;
    return fit_power_law(x, y, 5, &p);
}

// Lets each allocation fail in turn until none does; every failure must say so. How many there
// were.
static size_t failing_allocations(status (*run)(void))
{
    for (size_t n = 1;; n++) {
        memory_fail_at(n);
        status s = run();
        memory_fail_at(0);
        if (!s)
            return n - 1;
        support_assert_refused(s, "out of memory");
    }
}

Test(fit, out_of_memory)
{
    cr_assert_eq(failing_allocations(fit_one_power), 3);
    cr_assert_eq(failing_allocations(fit_one_model),
                 16); // two for each choice of terms, and for the unbounded fit
}
