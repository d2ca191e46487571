// What an experiment found: its files, its table, the slopes beside what the code counts, and the
// models that fit.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/curves/curves.h"
#include "bench/curves/fit.h"
#include "common/base/format.h"
#include "common/base/memory.h"

enum { ENOUGH_PLACES = 4, SERIES_NAME = SUBJECT_NAME + 16 };

// The level that holds `bytes`, counted from the first cache; MACHINE_CACHES: memory. A cache has
// other things to hold as well, and what is a little too large is still partly there: between half
// of a cache and twice as much, no level holds it all the time.
enum { BETWEEN = MACHINE_CACHES + 1 };

static size_t level_of(double bytes, const size_t caches[MACHINE_CACHES])
{
    size_t level = 0;
    while (level < MACHINE_CACHES && bytes > (double)caches[level] / 2)
        level++;
    return level > 0 && bytes <= 2 * (double)caches[level - 1] ? BETWEEN : level;
}

void lab_settle_range(lab *l)
{
    static const char *const names[MACHINE_CACHES + 1] = {"the L1 cache", "the L2 cache",
                                                          "the L3 cache", "memory"};
    size_t caches[MACHINE_CACHES], most = 0;
    l->first = 0;
    l->last = l->xs - 1;
    machine_caches(caches);
    while (l->first < l->last && l->x[l->first] < l->what->from)
        l->first++;
    if (!l->what->bytes || caches[MACHINE_CACHES - 1] == 0)
        return;
    for (size_t level = MACHINE_CACHES + 1; level-- > 0 && most < ENOUGH_PLACES;) {
        size_t end = l->xs, n = 0;
        while (end > 0 && level_of(l->what->bytes(l, end - 1), caches) != level)
            end--;
        while (n < end && level_of(l->what->bytes(l, end - 1 - n), caches) == level)
            n++;
        if (n <= most)
            continue;
        most = n;
        l->first = end - n;
        l->last = end - 1;
        l->level = names[level];
    }
}

// One curve: a decoder's medians of a metric, where there are any.
typedef struct series {
    size_t metric, which;
    char name[SERIES_NAME];
    double x[CURVES_X], y[CURVES_X], counted[CURVES_X];
    size_t n;
} series;

// The curve over x[first..last].
static series take_series(const lab *l, size_t metric, size_t which, size_t first, size_t last)
{
    series s = {.metric = metric, .which = which};
    snprintf(s.name, sizeof s.name, "%s %s", l->of.at[which].name, l->what->metrics[metric]);
    for (size_t i = first; i <= last; i++) {
        double median = lab_estimate(l, metric, which, i).median;
        if (isnan(median))
            continue;
        s.x[s.n] = (double)l->x[i];
        s.y[s.n] = median;
        s.counted[s.n++] = l->what->count(l, metric, which, i);
    }
    return s;
}

// Whether there are enough points for a model of `terms` terms and its errors, all positive as
// logarithms want them.
static bool can_fit(const series *s, size_t terms)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->y[i] <= 0)
            return false;
    return s->n > terms;
}

// Calls `print` for each curve.
static status each_series(const lab *l, bool fitted, FILE *f,
                          status print(FILE *f, const lab *l, const series *s))
{
    status failed = NULL;
    for (size_t i = 0; i < l->metrics * l->of.n && !failed; i++) {
        series s = take_series(l, i / l->of.n, i % l->of.n, fitted ? l->first : 0,
                               fitted ? l->last : l->xs - 1);
        failed = print(f, l, &s);
    }
    return failed;
}

static const char *in_units(const lab *l, double value, char text[FORMAT_ROOM])
{
    if (isnan(value))
        return "-";
    return strcmp(l->what->unit, "ns") == 0 ? format_ns(value, text) : format_bytes(value, text);
}

// A ratio stands only beside a verification of the tokens that it is about: where that is.
static void find_verified(const lab *l, bool verified[CURVES_X])
{
    size_t longest = 0;
    for (size_t i = 0; i < l->xs; i++) {
        if (i == 0 || lab_model(l, i) != lab_model(l, i - 1))
            longest = results_verified(lab_model(l, i), NULL);
        verified[i] = longest >= l->x[i] + l->what->reach;
    }
}

static void print_row(const lab *l, size_t i, bool shown)
{
    char text[FORMAT_ROOM];
    printf("%9zu", l->x[i]);
    for (size_t metric = 0; metric < l->metrics; metric++) {
        for (size_t d = 0; d < l->of.n; d++)
            printf("  %10s", in_units(l, lab_estimate(l, metric, d, i).median, text));
        const double ratio =
            lab_estimate(l, metric, 0, i).median / lab_estimate(l, metric, l->of.n - 1, i).median;
        if (shown && isfinite(ratio))
            printf("  %7.2f", ratio);
        else
            printf("  %7s", "-");
    }
    printf("\n");
}

static void print_table(const lab *l)
{
    size_t unverified = l->xs;
    bool verified[CURVES_X];
    find_verified(l, verified);
    printf("\n%s%s: %s\n%s, medians of %zu rounds\n\n%9s", l->what->name,
           l->rounds.partial ? ", PARTIAL" : "", l->what->question, model_label(l->models[0]),
           l->rounds.whole, "");
    for (size_t metric = 0; metric < l->metrics; metric++)
        printf("  %-31s", l->what->metrics[metric]);
    printf("\n%9s", l->what->x);
    for (size_t metric = 0; metric < l->metrics; metric++)
        printf("  %10s  %10s  %7s", l->of.at[0].name, l->of.at[l->of.n - 1].name, "ratio");
    printf("\n");
    for (size_t i = 0; i < l->xs; i++) {
        print_row(l, i, verified[i]);
        unverified = verified[i] || unverified < l->xs ? unverified : i;
    }
    if (unverified < l->xs)
        printf("\nNo ratio is shown that this build has not verified: build/bench verify -m %s\n",
               model_label(lab_model(l, unverified)));
}

// What a line on log-log axes says, and the slope of what is counted: of these very places.
static status fit_slopes(const series *s, fit_power *measured, double *counted)
{
    fit_power p;
    status failed = fit_power_law(s->x, s->y, s->n, measured);
    if (!failed)
        failed = fit_power_law(s->x, s->counted, s->n, &p);
    *counted = failed ? NAN : p.slope.value;
    return failed;
}

static status print_slope(FILE *f, const lab *l, const series *s)
{
    (void)l;
    fit_power p;
    double counted;
    fprintf(f, "  %-18s  ", s->name);
    if (!can_fit(s, 2)) {
        fprintf(f, "too few points\n");
        return NULL;
    }
    status failed = fit_slopes(s, &p, &counted);
    if (!failed)
        fprintf(f, "%8.3f  %7.3f to %6.3f  %8.3f  %.5f\n", p.slope.value, p.slope.lo, p.slope.hi,
                counted, p.r2);
    return failed;
}

static status print_slopes(const lab *l)
{
    char lo[FORMAT_ROOM], hi[FORMAT_ROOM];
    printf("\nSlopes on log-log axes, from %zu to %zu", l->x[l->first], l->x[l->last]);
    if (l->level)
        printf(": what a step with a cache reads, %s to %s,\nis all held by %s there",
               format_bytes(l->what->bytes(l, l->first), lo),
               format_bytes(l->what->bytes(l, l->last), hi), l->level);
    printf("\n\n  %-18s  %8s  %17s  %8s  %s\n", "", "measured", "95 % interval", "counted", "R^2");
    return each_series(l, true, stdout, print_slope);
}

static void print_neighbours(FILE *f, const char *name, const double *x, const double *y, size_t n)
{
    double slopes[CURVES_X];
    fprintf(f, "  %-18s", name);
    fit_local_slopes(x, y, n, slopes);
    for (size_t i = 0; i + 1 < n; i++)
        fprintf(f, "  %5.2f", slopes[i]);
    fprintf(f, "\n");
}

static status print_local(FILE *f, const lab *l, const series *s)
{
    (void)l;
    print_neighbours(f, s->name, s->x, s->y, s->n);
    print_neighbours(f, "  counted", s->x, s->counted, s->n);
    return NULL;
}

static status print_local_slopes(const lab *l)
{
    printf("\nSlopes between neighbours, from the place below to the next\n\n  %-18s", "");
    for (size_t i = 0; i + 1 < l->xs; i++)
        printf("  %5zu", l->x[i]);
    printf("\n");
    return each_series(l, false, stdout, print_local);
}

// The three coefficients with their intervals, and how far the curve lies off; then all models,
// best first.
static status print_model(FILE *f, const lab *l, const series *s)
{
    (void)l;
    fit_model m, ranked[FIT_CANDIDATES];
    fprintf(f, "  %-18s", s->name);
    if (!can_fit(s, FIT_TERMS)) {
        fprintf(f, "  too few points\n");
        return NULL;
    }
    status failed = fit_physical(s->x, s->y, NULL, s->n, &m);
    if (!failed && fit_candidates(s->x, s->y, NULL, s->n, ranked, FIT_CANDIDATES) < FIT_CANDIDATES)
        failed = memory_failed("the models of a curve");
    if (failed)
        return failed;
    for (size_t i = 0; i < FIT_TERMS; i++) {
        char interval[48];
        snprintf(interval, sizeof interval, "(%.3g to %.3g)", m.coefficient[i].lo,
                 m.coefficient[i].hi);
        fprintf(f, " %9.3g %-22s", m.coefficient[i].value, interval);
    }
    fprintf(f, "%5.1f %%\n  %-18s", 100 * m.rms_relative, "");
    for (size_t i = 0; i < FIT_CANDIDATES; i++)
        fprintf(f, "%s %s (%.1f %%)", i == 0 ? "  best first:" : ",", ranked[i].name,
                100 * ranked[i].rms_relative);
    fprintf(f, "\n");
    return NULL;
}

static status print_models(const lab *l)
{
    printf("\nModels of the whole curve, a + b x + c x^2 in %s (95 %% intervals), and how far it "
           "lies off (rms)\n\n"
           "  %-18s %-32s %-32s %-32s\n",
           l->what->unit, "", "        a", "        b", "        c");
    return each_series(l, false, stdout, print_model);
}

static status print_fit_row(FILE *f, const lab *l, const series *s)
{
    fit_power p;
    fit_model m;
    double counted;
    const series whole = take_series(l, s->metric, s->which, 0, l->xs - 1);
    if (!can_fit(s, 2) || !can_fit(&whole, FIT_TERMS))
        return NULL;
    status failed = fit_slopes(s, &p, &counted);
    if (!failed)
        failed = fit_physical(whole.x, whole.y, NULL, whole.n, &m);
    if (failed)
        return failed;
    results_csv_text(f, model_label(l->models[0]));
    fprintf(f, ",%s,%s,%.0f,%.0f,%zu,%.4f,%.4f,%.4f,%.6g,%.6f,%.4f", l->of.at[s->which].name,
            l->what->metrics[s->metric], s->x[0], s->x[s->n - 1], s->n, p.slope.value, p.slope.lo,
            p.slope.hi, p.factor, p.r2, counted);
    for (size_t i = 0; i < FIT_TERMS; i++)
        fprintf(f, ",%.6g,%.6g,%.6g", m.coefficient[i].value, m.coefficient[i].lo,
                m.coefficient[i].hi);
    fprintf(f, ",%.5f\n", m.rms_relative);
    return NULL;
}

static status print_fits(FILE *f, const void *what)
{
    fputs("model,decoder,metric,from,to,places,slope,slope_lo,slope_hi,factor,r2,counted_slope,a,a_"
          "lo,a_hi,b,b_lo,b_hi,"
          "c,c_lo,c_hi,rms_relative\n",
          f);
    return each_series(what, true, f, print_fit_row);
}

static status print_counts(FILE *f, const void *what)
{
    const lab *l = what;
    fprintf(f, "model,decoder,metric,%s,%s\n", l->what->x, l->what->counted);
    for (size_t metric = 0; metric < l->metrics; metric++)
        for (size_t cell = 0; cell < l->of.n * l->xs; cell++) {
            const size_t which = cell / l->xs, i = cell % l->xs;
            results_csv_text(f, model_label(lab_model(l, i)));
            fprintf(f, ",%s,%s,%zu,%.0f\n", l->of.at[which].name, l->what->metrics[metric], l->x[i],
                    l->what->count(l, metric, which, i));
        }
    return NULL;
}

static status print_conclusion(FILE *f, const void *what)
{
    const lab *l = what;
    return l->what->conclude ? l->what->conclude(l, f) : NULL;
}

static status write_files(const lab *l)
{
    static const char *const names[] = {"summary.csv", "counts.csv", "fits.csv", "conclusion.txt"};
    status (*const prints[])(FILE *, const void *) = {rounds_print_summary, print_counts,
                                                      print_fits, print_conclusion};
    const void *const whats[] = {&l->rounds, l, l, l};
    status failed = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !failed; i++) {
        char file[64];
        snprintf(file, sizeof file, "%s-%s", l->what->name, names[i]);
        failed = results_write(l->dir, file, prints[i], whats[i]);
    }
    return failed;
}

status lab_report(const lab *l)
{
    status failed = write_files(l);
    if (failed)
        return failed;
    print_table(l);
    failed = print_slopes(l);
    if (!failed)
        failed = print_local_slopes(l);
    if (!failed)
        failed = print_models(l);
    if (!failed)
        failed = print_conclusion(stdout, l);
    return failed ? failed : rounds_print_noise(&l->rounds);
}
