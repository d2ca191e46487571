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

// The width of a column of curves' names.
static int name_width(const lab *l)
{
    size_t width = 18;
    for (size_t metric = 0; metric < l->metrics; metric++)
        for (size_t d = 0; d < l->of.n; d++) {
            const size_t n = strlen(l->of.at[d].name) + 1 + strlen(l->what->metrics[metric]);
            width = n > width ? n : width;
        }
    return (int)width;
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

// A ratio stands only beside a verification of the tokens that it is about: whether there is one of
// decoder `which` at x[i], for each cell. The first decoder has no ratio.
static void find_verified(const lab *l, bool *verified)
{
    size_t longest = 0;
    for (size_t cell = 0; cell < l->of.n * l->xs; cell++) {
        char key[SUBJECT_KEY];
        const size_t which = cell / l->xs, i = cell % l->xs;
        if (i == 0 || lab_model(l, i) != lab_model(l, i - 1))
            longest = results_verified(lab_model(l, i), subject_key(&l->of.at[which], key));
        verified[cell] = which == 0 || longest >= l->x[i] + l->what->reach;
    }
}

// Decoder `which` at x[i]: its median and, but for the first one, how many times as long that
// takes.
static void print_cell(const lab *l, size_t metric, size_t which, size_t i, bool shown)
{
    char text[FORMAT_ROOM];
    const double median = lab_estimate(l, metric, which, i).median,
                 ratio = lab_estimate(l, metric, 0, i).median / median;
    printf("  %*s", lab_width(l, which), in_units(l, median, text));
    if (which > 0 && shown && isfinite(ratio))
        printf("  %7.2f", ratio);
    else if (which > 0)
        printf("  %7s", "-");
}

static void print_head(const lab *l)
{
    printf("\n%s%s: %s\n%s, medians of %zu rounds\n\n%9s", l->what->name,
           l->rounds.partial ? ", PARTIAL" : "", l->what->question, model_label(l->models[0]),
           l->rounds.whole, "");
    for (size_t metric = 0; metric < l->metrics; metric++) {
        int width = 0; // of this metric's columns
        for (size_t d = 0; d < l->of.n; d++)
            width += 2 + lab_width(l, d) + (d > 0 ? 9 : 0);
        printf("  %-*s", width - 2, l->what->metrics[metric]);
    }
    printf("\n%9s", l->what->x);
    for (size_t metric = 0; metric < l->metrics; metric++)
        for (size_t d = 0; d < l->of.n; d++)
            printf(d > 0 ? "  %*s  %7s" : "  %*s", lab_width(l, d), l->of.at[d].name, "ratio");
    printf("\n");
}

static status print_table(const lab *l)
{
    const size_t cells = l->of.n * l->xs;
    bool *verified = memory_array(cells, sizeof *verified);
    size_t unverified = 0;
    if (!verified)
        return memory_failed("what has been verified");
    find_verified(l, verified);
    print_head(l);
    for (size_t i = 0; i < l->xs; i++) {
        printf("%9zu", l->x[i]);
        for (size_t metric = 0; metric < l->metrics; metric++)
            for (size_t d = 0; d < l->of.n; d++)
                print_cell(l, metric, d, i, verified[d * l->xs + i]);
        printf("\n");
    }
    while (unverified < cells && verified[unverified])
        unverified++;
    if (unverified < cells) {
        printf("\nNo ratio is shown that this build has not verified: build/bench verify");
        bench_options_print_model(stdout, model_label(lab_model(l, unverified % l->xs)));
        printf(" -d %s\n", l->of.at[unverified / l->xs].text);
    }
    memory_free(verified);
    return NULL;
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
    fit_power p;
    double counted;
    fprintf(f, "  %-*s  ", name_width(l), s->name);
    if (!can_fit(s, 2)) {
        fprintf(f, "too few points\n");
        return NULL;
    }
    status failed = fit_slopes(s, &p, &counted);
    if (!failed)
        fprintf(f, "%8.3f  %7.3f to %6.3f  %8.3f  %.5f%s\n", p.slope.value, p.slope.lo, p.slope.hi,
                counted, p.r2, fit_is_wide(p.slope) ? "  wide" : "");
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
    printf("\n\n  %-*s  %8s  %17s  %8s  %s\n", name_width(l), "", "measured", "95 % interval",
           "counted", "R^2");
    status failed = each_series(l, true, stdout, print_slope);
    printf("\n  wide: the interval reaches further than %.2f to a side: no slope to rest on\n",
           FIT_WIDE);
    return failed;
}

static void print_neighbours(FILE *f, const lab *l, const char *name, const double *x,
                             const double *y, size_t n)
{
    double slopes[CURVES_X];
    fprintf(f, "  %-*s", name_width(l), name);
    fit_local_slopes(x, y, n, slopes);
    for (size_t i = 0; i + 1 < n; i++)
        fprintf(f, "  %5.2f", slopes[i]);
    fprintf(f, "\n");
}

static status print_local(FILE *f, const lab *l, const series *s)
{
    print_neighbours(f, l, s->name, s->x, s->y, s->n);
    print_neighbours(f, l, "  counted", s->x, s->counted, s->n);
    return NULL;
}

static status print_local_slopes(const lab *l)
{
    printf("\nSlopes between neighbours, from the place below to the next\n\n  %-*s", name_width(l),
           "");
    for (size_t i = 0; i + 1 < l->xs; i++)
        printf("  %5zu", l->x[i]);
    printf("\n");
    return each_series(l, false, stdout, print_local);
}

// The three coefficients with their intervals, and how far the curve lies off; then all models,
// best first.
static status print_model(FILE *f, const lab *l, const series *s)
{
    fit_model m, ranked[FIT_CANDIDATES];
    fprintf(f, "  %-*s", name_width(l), s->name);
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
    fprintf(f, "%5.1f %%\n  %-*s", 100 * m.rms_relative, name_width(l), "");
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
           "  %-*s %-32s %-32s %-32s\n",
           l->what->unit, name_width(l), "", "        a", "        b", "        c");
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
    fputc(',', f);
    results_csv_text(f, l->of.at[s->which].name);
    fprintf(f, ",%s,%.0f,%.0f,%zu,%.4f,%.4f,%.4f,%.6g,%.6f,%.4f", l->what->metrics[s->metric],
            s->x[0], s->x[s->n - 1], s->n, p.slope.value, p.slope.lo, p.slope.hi, p.factor, p.r2,
            counted);
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
            fputc(',', f);
            results_csv_text(f, l->of.at[which].name);
            fprintf(f, ",%s,%zu,%.0f\n", l->what->metrics[metric], l->x[i],
                    l->what->count(l, metric, which, i));
        }
    return NULL;
}

static status print_conclusion(FILE *f, const void *what)
{
    const lab *l = what;
    return l->what->conclude ? l->what->conclude(l, f) : NULL;
}

status lab_write(const lab *l, json_t *context)
{
    static const char *const names[] = {"summary.csv", "counts.csv", "fits.csv", "conclusion.txt",
                                        NULL};
    status (*const prints[])(FILE *, const void *) = {rounds_print_summary, print_counts,
                                                      print_fits, print_conclusion};
    const void *const whats[] = {&l->rounds, l, l, l};
    char file[64], before[32];
    status failed = NULL;
    snprintf(before, sizeof before, "%s-", l->what->name);
    for (size_t i = 0; names[i] && !failed; i++) {
        snprintf(file, sizeof file, "%s%s", before, names[i]);
        failed = results_write(l->dir, file, prints[i], whats[i]);
    }
    return failed ? failed : results_seal(l->dir, before, names, context);
}

status lab_report(const lab *l)
{
    status failed = print_table(l);
    if (!failed)
        failed = print_slopes(l);
    if (!failed)
        failed = print_local_slopes(l);
    if (!failed)
        failed = print_models(l);
    if (!failed)
        failed = print_conclusion(stdout, l);
    return failed ? failed : rounds_print_noise(&l->rounds);
}
