// bench roofline: how close the decoders come to what the core can compute and the memory can
// deliver.
#include <stdio.h>
#include <string.h>

#include "bench/base/machine.h"
#include "bench/base/progress.h"
#include "bench/base/results.h"
#include "bench/base/stats.h"
#include "bench/cost/cost.h"
#include "bench/cost/points.h"
#include "bench/measure/disturbance.h"
#include "bench/measure/measure.h"
#include "bench/measure/probe.h"
#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/kv/kv.h"
#include "common/math/activations.h"
#include "common/math/rowops.h"

static const char usage[] =
    "build/bench roofline [options]: each stage beside what arithmetic and memory allow, and "
    "shares of both\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: synthetic:124M)\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -c, --contexts 64,100-103      tokens of context, below the model's limit (default: "
    "64,256,1000)\n"
    "  -n, --samples N                rounds (default 9), 6 or more\n"
    "  -o, --out DIR                  where roofline.csv and roofs.csv go (default: "
    "build/results)\n" SUBJECT_USAGE
    "                                 one at most; without either: kvcache\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n";

enum { ROUNDS = 9, REPEATS = 5 };

// What is measured in each round. The first two are compared with the multiply-add peak, the others
// with the bandwidth.
typedef enum target { PREFILL, LINEAR, SHORT_STEP, LONG_STEP, TARGETS } target;

// Each value is the best of those taken in one round: other programs and other machines on the same
// host can only slow things down, so both sides of a ratio are what they are undisturbed.
typedef struct roofline {
    const model *m;
    size_t *context, contexts, rounds;
    size_t long_t, short_t; // the last context, and the first
    subjects of;            // naive, and the one that is looked at
    passes p;
    activations a; // for the linear layers alone
    points stages;
    probe_block block;
    double *fma[PROBES_FMA], *read[PROBES_READ],
        *caches[MACHINE_CACHES]; // (rounds) each: FLOP/s, bytes/s
    double *ns[TARGETS];         // (rounds) each
    double *scratch;             // (rounds)
    double *values;              // all of the above
    double work[TARGETS];        // floating-point operations or bytes of one run
} roofline;

static void keep_most(double *best, double value)
{
    *best = value > *best ? value : *best;
}

static void keep_least(double *best, double value)
{
    *best = *best == 0 || value < *best ? value : *best;
}

static void probe_arithmetic(roofline *r, size_t round)
{
    for (size_t i = 0; i < PROBES_FMA; i++)
        keep_most(&r->fma[i][round], probe_fma(i));
}

static void probe_memory(roofline *r, size_t round)
{
    for (size_t i = 0; i < PROBES_READ; i++)
        keep_most(&r->read[i][round], probe_read(i, &r->block));
}

// Half of each cache, so that there is room for what else it holds; where no more is read than
// that, none. The first level is left out: there the probes would measure their additions.
static void probe_caches(roofline *r, size_t round)
{
    size_t bytes[MACHINE_CACHES];
    machine_caches(bytes);
    for (size_t i = 1; i < MACHINE_CACHES; i++)
        if (bytes[i] > 0 && bytes[i] / 2 < r->block.n * sizeof *r->block.at)
            r->caches[i][round] = probe_read_again(&r->block, bytes[i] / 2);
}

static status time_pass(roofline *r, target which, size_t round, pass by, size_t t)
{
    uint64_t begin = clock_ns();
    status failed = passes_run(&r->p, by, t, NULL, NULL);
    keep_least(&r->ns[which][round], (double)(clock_ns() - begin));
    return failed;
}

// The four matrices of every layer over long_t rows, and nothing between them.
static void time_linear(roofline *r, size_t round)
{
    uint64_t begin = clock_ns();
    for (size_t l = 0; l < r->m->config.L; l++) {
        const layer *w = &r->m->layers[l];
        rowops_linear(&w->qkv, &r->a.normed, &r->a.qkv, r->long_t);
        rowops_linear(&w->proj, &r->a.heads, &r->a.change, r->long_t);
        rowops_linear(&w->fc, &r->a.normed, &r->a.hidden, r->long_t);
        rowops_linear(&w->fcproj, &r->a.hidden, &r->a.change, r->long_t);
    }
    keep_least(&r->ns[LINEAR][round], (double)(clock_ns() - begin));
}

// Steps alternate with the probe they are compared with.
static status time_steps(roofline *r, target which, size_t round, size_t t)
{
    status failed = passes_prepare(&r->p, PASS_CACHED_STEP, t);
    for (size_t i = 0; i < REPEATS && !failed; i++) {
        probe_memory(r, round);
        failed = time_pass(r, which, round, PASS_CACHED_STEP, t); // again the last row only
    }
    return failed;
}

static status time_stages(roofline *r, size_t round)
{
    status failed = NULL;
    for (size_t i = 0; i < r->contexts && !failed; i++) {
        probe_arithmetic(r, round);
        probe_memory(r, round);
        failed = points_take(&r->stages, i, round);
    }
    probe_caches(r, round);
    return failed;
}

static status take_round(roofline *r, size_t round)
{
    probe_arithmetic(r, round);
    status failed = passes_prepare(&r->p, PASS_PREFILL, r->long_t);
    if (!failed)
        failed = time_pass(r, PREFILL, round, PASS_PREFILL, r->long_t);
    if (failed)
        return failed;
    probe_arithmetic(r, round);
    time_linear(r, round);
    probe_arithmetic(r, round);
    failed = time_steps(r, LONG_STEP, round, r->long_t);
    if (!failed)
        failed = time_steps(r, SHORT_STEP, round, r->short_t);
    return failed ? failed : time_stages(r, round);
}

static double best_of(double *const *values, size_t n, size_t round)
{
    double best = 0;
    for (size_t i = 0; i < n; i++)
        keep_most(&best, values[i][round]);
    return best;
}

static double peak(const roofline *r, target which, size_t round)
{
    return which <= LINEAR ? best_of(r->fma, PROBES_FMA, round)
                           : best_of(r->read, PROBES_READ, round);
}

// The median over rounds of the best in each. Leaves all of them sorted in scratch.
static double median_best(const roofline *r, double *const *values, size_t n)
{
    for (size_t k = 0; k < r->rounds; k++)
        r->scratch[k] = best_of(values, n, k);
    return stats_median(r->scratch, r->rounds).median;
}

static void print_probes(const roofline *r, const char *title, const char *unit,
                         const char *name(size_t i), double *const *values, size_t n)
{
    printf("%-26s %14s %10s\n", title, unit, "best");
    for (size_t i = 0; i < n; i++) {
        memcpy(r->scratch, values[i], r->rounds * sizeof *r->scratch);
        double median = stats_median(r->scratch, r->rounds).median; // sorts
        printf("  %-24s %14.1f %10.1f\n", name(i), median * 1e-9, r->scratch[r->rounds - 1] * 1e-9);
    }
    double median = median_best(r, values, n);
    printf("  %-24s %14.1f %10.1f  (%.1f at worst)\n\n", "the best in each round", median * 1e-9,
           r->scratch[r->rounds - 1] * 1e-9, r->scratch[0] * 1e-9);
}

// The fastest run of all against the best probe of all: what is left when disturbances, which only
// slow things down, are taken out on both sides.
static double best_share(const roofline *r, target which)
{
    double fastest = r->ns[which][0], highest = 0;
    for (size_t k = 0; k < r->rounds; k++) {
        fastest = r->ns[which][k] < fastest ? r->ns[which][k] : fastest;
        keep_most(&highest, peak(r, which, k));
    }
    return r->work[which] / (fastest * 1e-9) / highest;
}

// Returns the median share of the peak.
static double print_target(const roofline *r, target which, const char *name)
{
    char text[FORMAT_ROOM];
    memcpy(r->scratch, r->ns[which], r->rounds * sizeof *r->scratch);
    double ns = stats_median(r->scratch, r->rounds).median;
    for (size_t k = 0; k < r->rounds; k++)
        r->scratch[k] = r->work[which] / (r->ns[which][k] * 1e-9) / peak(r, which, k);
    estimate share = stats_median(r->scratch, r->rounds);
    char interval[32];
    snprintf(interval, sizeof interval, "%.1f to %.1f %%", 100 * share.lo, 100 * share.hi);
    printf("%-28s %10s %8.1f %-7s %6.1f %%   %-16s %6.1f %%\n", name, format_ns(ns, text),
           r->work[which] / ns, which <= LINEAR ? "GFLOP/s" : "GB/s", 100 * share.median, interval,
           100 * best_share(r, which));
    return share.median;
}

static void report(const roofline *r)
{
    char names[TARGETS][64], reading[64], size[FORMAT_ROOM];
    double highest = 0;
    snprintf(names[PREFILL], sizeof *names, "prefill of %zu tokens", r->long_t);
    snprintf(names[LINEAR], sizeof *names, "  its linear layers alone");
    snprintf(names[SHORT_STEP], sizeof *names, "step at %zu tokens", r->short_t);
    snprintf(names[LONG_STEP], sizeof *names, "step at %zu tokens", r->long_t);
    snprintf(reading, sizeof reading, "reading %s",
             format_bytes((double)(r->block.n * sizeof *r->block.at), size));
    printf("%s, %s, one thread, %zu rounds\n\n", model_label(r->m), r->of.at[1].name, r->rounds);
    print_probes(r, "multiply-adds", "GFLOP/s", probe_fma_name, r->fma, PROBES_FMA);
    print_probes(r, reading, "GB/s", probe_read_name, r->read, PROBES_READ);
    printf("%-28s %10s %16s %8s   %-16s %8s\n", "", "median", "", "share", "95 % interval", "best");
    for (target i = 0; i < TARGETS; i++)
        keep_most(&highest, print_target(r, i, names[i]));
    printf("\nA share is the best run of a round over the best probe of the same round; the median "
           "over rounds is "
           "shown.\nThe last column is the best run over the best probe, of all rounds.\n");
    if (highest > 1)
        printf("A share above 100 %% is a defect of the probe, or this machine was disturbed while "
               "it ran.\n");
}

// What a pass at contexts[i] computes and reads, as counted: under a spec, less is read.
static work counted(const roofline *r, size_t i, pass which)
{
    return count_sum(&r->stages.done[i * PASSES + which], COUNT_EVERYTHING);
}

static void count_work(roofline *r)
{
    const config *c = &r->m->config;
    const size_t last = r->contexts - 1;
    const work prefill = counted(r, last, PASS_PREFILL), brief = counted(r, 0, PASS_CACHED_STEP),
               step = counted(r, last, PASS_CACHED_STEP);
    r->work[PREFILL] = 2 * (double)prefill.multiply_adds;
    r->work[LINEAR] = 2 * cost_layer_row(c) * (double)c->L * (double)r->long_t;
    r->work[SHORT_STEP] = (double)count_bytes(&brief);
    r->work[LONG_STEP] = (double)count_bytes(&step);
}

static status hold_values(roofline *r)
{
    r->values = memory_array(r->rounds * (PROBES_FMA + PROBES_READ + MACHINE_CACHES + TARGETS + 1),
                             sizeof *r->values);
    if (!r->values)
        return memory_failed("the measurements");
    double *next = r->scratch = r->values;
    for (size_t i = 0; i < PROBES_FMA; i++)
        r->fma[i] = next += r->rounds;
    for (size_t i = 0; i < PROBES_READ; i++)
        r->read[i] = next += r->rounds;
    for (size_t i = 0; i < MACHINE_CACHES; i++)
        r->caches[i] = next += r->rounds;
    for (size_t i = 0; i < TARGETS; i++)
        r->ns[i] = next += r->rounds;
    return NULL;
}

static status prepare(roofline *r, const char *contexts, int *exit_code)
{
    static const size_t usual[] = {64, 256, 1000, 0};
    status failed = passes_contexts(r->m, contexts, usual, &r->context, &r->contexts, exit_code);
    if (failed)
        return failed;
    r->short_t = r->context[0];
    r->long_t = r->context[r->contexts - 1];
    failed = hold_values(r);
    if (!failed)
        failed = activations_create(&r->m->config, r->long_t, &r->a);
    if (!failed)
        failed = passes_create(r->m, &r->of.at[0], &r->of.at[1], r->long_t, &r->p);
    if (!failed) // warms up as well
        failed = points_create(&r->p, r->context, r->contexts, r->rounds, &r->stages);
    if (failed)
        return failed;
    count_work(r);
    return probe_block_create((size_t)r->work[LONG_STEP], &r->block);
}

static limits find_limits(const roofline *r)
{
    limits l = {.peak = median_best(r, r->fma, PROBES_FMA)};
    l.best_peak = r->scratch[r->rounds - 1];
    l.memory = median_best(r, r->read, PROBES_READ);
    l.best_memory = r->scratch[r->rounds - 1];
    for (size_t i = 0; i < MACHINE_CACHES; i++)
        l.caches[i] = median_best(r, &r->caches[i], 1);
    return l;
}

// What the two files belong to.
static status write_context(const roofline *r, const char *dir)
{
    static const char *const names[] = {"roofline.csv", "roofs.csv", NULL};
    json_t *context;
    status failed = machine_context(r->m, &context);
    if (failed)
        return failed;
    failed = results_seal(dir, "", names, context);
    if (!failed)
        failed = results_write_json(dir, "roofline-context.json", context);
    json_decref(context);
    return failed;
}

static status run(roofline *r, const bench_options *o, const char *dir, int *exit_code)
{
    status failed = subjects_open_beside_naive(o, &r->of);
    if (!failed)
        failed = prepare(r, o->contexts, exit_code);
    machine_warn_if_busy();
    const disturbance before = disturbance_so_far();
    progress bar = progress_begin("roofline");
    for (size_t i = 0; i < r->rounds && !failed; i++) {
        failed = take_round(r, i);
        progress_update(&bar, (double)(i + 1) / (double)r->rounds);
    }
    progress_end(&bar);
    if (failed)
        return failed;
    const limits l = find_limits(r);
    report(r);
    disturbance_warn_throttled(before);
    points_print(&r->stages, &l);
    failed = points_write(&r->stages, &l, dir);
    return failed ? failed : write_context(r, dir);
}

static void release(roofline *r)
{
    points_free(&r->stages);
    passes_free(&r->p);
    subjects_free(&r->of);
    activations_free(&r->a);
    probe_block_free(&r->block);
    memory_free(r->context);
    memory_free(r->values);
}

static status roofline_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    char dir[FILE_PATH_SIZE];
    roofline r = {.rounds = o->samples ? o->samples : ROUNDS};
    model *m = NULL;
    int lock = -1;
    static const char *const files[] = {"roofline.csv", "roofs.csv", "roofline-context.json", NULL};
    status failed = results_take(o->out, files, dir, &lock);
    const char *name = o->model_given ? o->model : BENCH_MODEL;
    if (!failed)
        failed = subjects_check_memory(o, &(subjects_need){.model = name,
                                                           .first = "naive",
                                                           .contexts = o->contexts,
                                                           .firsts = 1,
                                                           .others = 3,
                                                           .blocks = 1});
    if (!failed)
        failed = model_load_as(name, o->weights, &m);
    if (!failed) {
        r.m = m;
        failed = run(&r, o, dir, exit_code);
        release(&r);
    }
    model_free(m);
    results_unlock(lock);
    return failed;
}

status roofline_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "m:W:c:n:o:d:k:t:", usage, &o, exit_code);
    if (!failed)
        failed = bench_options_enough_samples(&o, exit_code);
    if (failed || o.help)
        return failed;
    if (o.subjects > 1) {
        *exit_code = EXIT_USAGE;
        return status_fail("one decoder under the roof at a time: run roofline once for each");
    }
    return subjects_contain(roofline_body, &o, exit_code);
}
