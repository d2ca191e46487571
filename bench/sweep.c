// bench sweep: TTFT, TPOT and step of every decoder over the contexts, all samples interleaved in random order.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bench/contexts.h"
#include "bench/cost.h"
#include "bench/decoders.h"
#include "bench/humane.h"
#include "bench/machine.h"
#include "bench/measure.h"
#include "bench/progress.h"
#include "bench/results.h"
#include "bench/stats.h"
#include "common/activations.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/sampler.h"

static const char usage[] =
    "build/bench sweep [options]: time every decoder over the contexts\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
    "  -c, --contexts 16,32,100-103   tokens of context, below the model's limit (default: 16, 32, 64, ... and limit - "
    "1)\n"
    "  -b, --budget SECONDS           measure for that long (default 120), and take 6 to 100 samples of each\n"
    "  -n, --samples N                take N samples of each instead, however long it lasts; 6 or more\n"
    "  -s, --seed N                   of the order in which samples are taken (default 0)\n"
    "  -o, --out DIR                  where samples.csv, summary.csv, memory.csv, context.json go (default: "
    "build/results)\n";

enum {
    FIRST_CONTEXT = 16,
    CALIBRATION_CONTEXT = 64,
    DEFAULT_BUDGET_S = 120,
    MOST_SAMPLES = 100,
    GENERATED = 3,
    STEP_COLUMN = 13
};

typedef enum metric { TTFT, TPOT, STEP, METRICS } metric;
static const char *const metric_names[METRICS] = {"ttft", "tpot", "step"};

// A cell is a decoder at a context: cell i is decoder i / contexts at context i % contexts. A round takes one sample of
// each.
typedef struct sweep {
    const model *m;
    decoder *decoder[DECODERS];
    const float *logits; // of the latest step
    sampler *greedy;
    int *tokens; // (T + 1)

    size_t *context, contexts, cells;
    size_t *order;   // (cells), shuffled each round
    size_t *samples; // (cells), taken so far
    double *ns;      // (rounds begun, cells, METRICS)
    double *sorted;  // (rounds begun)
    size_t rounds;   // whole ones
    size_t requests; // timed so far
    uint64_t random;
    bool partial;

    const bench_options *o;
    double budget_s, round_s, planned_s;  // for a round and for all, as estimated so far
    double ns_per_multiply_add[DECODERS]; // of a request, counted by its prefill
    uint64_t begin_ns;
    progress bar;

    char dir[FILE_PATH_SIZE], csv_path[FILE_PATH_SIZE];
    FILE *csv;
} sweep;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

// The first Ctrl-C ends the sweep after the request under way; a second one kills, as usual.
static void catch_interrupt(struct sigaction *before)
{
    struct sigaction once = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&once.sa_mask);
    interrupted = 0;
    sigaction(SIGINT, &once, before);
}

static double elapsed_s(const sweep *s)
{
    return (double)(clock_ns() - s->begin_ns) * 1e-9;
}

// One request: a prompt of t tokens, then up to GENERATED tokens. Room in the context leaves two at least, since t <
// n_ctx.
static status request(sweep *s, size_t which, size_t t, double ns[METRICS])
{
    const config *c = &s->m->config;
    size_t N = t + GENERATED - 1 <= c->T ? GENERATED : 2;
    uint64_t at[GENERATED] = {0};
    for (size_t i = 0; i < t; i++)
        s->tokens[i] = fixed_token(i, c->V);
    decoders[which]->reset(s->decoder[which]);
    uint64_t begin = clock_ns();
    for (size_t n = 0; n < N; n++) {
        status failed = decoders[which]->step(s->decoder[which], s->tokens, t + n, &s->logits);
        if (failed)
            return failed;
        s->tokens[t + n] = sampler_choose(s->greedy, s->logits);
        at[n] = clock_ns();
        if (s->tokens[t + n] < 0)
            return status_fail("%s: the logits are not finite numbers after %zu tokens; verify names the place",
                               model_label(s->m), t + n);
    }
    ns[TTFT] = (double)(at[0] - begin);
    ns[TPOT] = (double)(at[N - 1] - at[0]) / (double)(N - 1);
    ns[STEP] = (double)(at[1] - at[0]);
    return NULL;
}

// Learns from one request at context t what a multiply-add costs each decoder. Also warms caches, pages and clocks.
static status calibrate(sweep *s, size_t t)
{
    for (size_t d = 0; d < DECODERS && !interrupted; d++) {
        double ns[METRICS];
        uint64_t begin = clock_ns();
        status failed = request(s, d, t, ns);
        if (failed)
            return failed;
        s->ns_per_multiply_add[d] = (double)(clock_ns() - begin) / cost_multiply_adds(&s->m->config, 0, t);
    }
    return NULL;
}

static double estimated_round_s(const sweep *s)
{
    double ns = 0;
    for (size_t i = 0; i < s->cells; i++)
        ns +=
            s->ns_per_multiply_add[i / s->contexts] * cost_multiply_adds(&s->m->config, 0, s->context[i % s->contexts]);
    return ns * 1e-9;
}

// Rounds still to come, as things look now: what was asked for, or what the budget allows.
static size_t rounds_left(const sweep *s)
{
    size_t total = s->o->samples;
    if (total == 0) {
        double affordable = s->round_s > 0 ? (double)s->rounds + (s->budget_s - elapsed_s(s)) / s->round_s : 0;
        total = affordable < STATS_MIN_SAMPLES ? STATS_MIN_SAMPLES
                : affordable > MOST_SAMPLES    ? MOST_SAMPLES
                                               : (size_t)affordable;
    }
    return total > s->rounds ? total - s->rounds : 0;
}

static void plan(sweep *s)
{
    s->planned_s = elapsed_s(s) + (double)rounds_left(s) * s->round_s;
}

static void shuffle(sweep *s)
{
    for (size_t i = s->cells; i > 1; i--) { // Fisher and Yates
        s->random = random_splitmix64(s->random);
        size_t j = s->random % i, other = s->order[j];
        s->order[j] = s->order[i - 1];
        s->order[i - 1] = other;
    }
}

// Three rows, which reach the file before the next request begins.
static status write_sample(sweep *s, size_t cell, const double ns[METRICS])
{
    for (metric k = 0; k < METRICS; k++) {
        results_csv_text(s->csv, model_label(s->m));
        fprintf(s->csv, ",%s,%s,%zu,%zu,%zu,%.0f\n", decoders[cell / s->contexts]->name, metric_names[k],
                s->context[cell % s->contexts], s->samples[cell], s->requests, ns[k]);
    }
    if (fflush(s->csv) == 0 && !ferror(s->csv))
        return NULL;
    return status_fail("cannot write %s: %s; make room, or name another directory with --out", s->csv_path,
                       strerror(errno));
}

static status take_sample(sweep *s, size_t cell)
{
    double *ns = s->ns + (s->samples[cell] * s->cells + cell) * METRICS;
    status failed = request(s, cell / s->contexts, s->context[cell % s->contexts], ns);
    if (!failed)
        failed = write_sample(s, cell, ns);
    if (failed)
        return failed;
    s->samples[cell]++;
    s->requests++;
    progress_update(&s->bar, elapsed_s(s) / s->planned_s);
    return NULL;
}

static status take_round(sweep *s)
{
    double *ns = memory_resize(s->ns, (s->rounds + 1) * s->cells * METRICS, sizeof *ns);
    s->ns = ns ? ns : s->ns;
    double *sorted = memory_resize(s->sorted, s->rounds + 1, sizeof *sorted);
    s->sorted = sorted ? sorted : s->sorted;
    if (!ns || !sorted)
        return memory_failed("the samples");
    shuffle(s);
    for (size_t i = 0; i < s->cells; i++) {
        if (interrupted)
            return NULL;
        status failed = take_sample(s, s->order[i]);
        if (failed)
            return failed;
    }
    s->rounds++;
    return NULL;
}

static void announce(const sweep *s)
{
    fprintf(stderr, "sweep of %s: %zu context%s, %d decoders, about %.0f s\n", model_label(s->m), s->contexts,
            s->contexts == 1 ? "" : "s", DECODERS, s->planned_s);
}

// Estimates from a short request what all will take, warms up with a long one, then takes rounds.
static status measure(sweep *s)
{
    size_t largest = s->context[s->contexts - 1];
    status failed = calibrate(s, largest < CALIBRATION_CONTEXT ? largest : CALIBRATION_CONTEXT);
    if (failed)
        return failed;
    s->round_s = estimated_round_s(s);
    plan(s);
    announce(s);
    machine_warn_if_busy();
    s->bar = progress_begin("sweep");
    failed = calibrate(s, largest);
    s->round_s = estimated_round_s(s);
    double warm_s = elapsed_s(s);
    for (plan(s); !failed && !interrupted && rounds_left(s) > 0; plan(s)) {
        failed = take_round(s);
        s->round_s = s->rounds > 0 ? (elapsed_s(s) - warm_s) / (double)s->rounds : s->round_s;
    }
    progress_end(&s->bar);
    s->partial = interrupted;
    return failed;
}

static estimate cell_estimate(const sweep *s, size_t cell, metric k)
{
    for (size_t i = 0; i < s->samples[cell]; i++)
        s->sorted[i] = s->ns[(i * s->cells + cell) * METRICS + k];
    return stats_median(s->sorted, s->samples[cell]);
}

static void print_bound(FILE *f, double ns)
{
    if (isnan(ns)) // too few samples: left empty
        fputc(',', f);
    else
        fprintf(f, ",%.0f", ns);
}

static status print_summary(FILE *f, const void *what)
{
    const sweep *s = what;
    fputs("model,decoder,metric,context,median_ns,ci_lo_ns,ci_hi_ns,samples\n", f);
    for (metric k = 0; k < METRICS; k++)
        for (size_t cell = 0; cell < s->cells; cell++) {
            if (s->samples[cell] == 0)
                continue;
            estimate e = cell_estimate(s, cell, k);
            results_csv_text(f, model_label(s->m));
            fprintf(f, ",%s,%s,%zu,%.0f", decoders[cell / s->contexts]->name, metric_names[k],
                    s->context[cell % s->contexts], e.median);
            print_bound(f, e.lo);
            print_bound(f, e.hi);
            fprintf(f, ",%zu\n", s->samples[cell]);
        }
    return NULL;
}

static status print_memory(FILE *f, const void *what)
{
    const sweep *s = what;
    fputs("model,context,kv_bytes,naive_activation_bytes\n", f);
    for (size_t i = 0; i < s->contexts; i++) {
        results_csv_text(f, model_label(s->m));
        fprintf(f, ",%zu,%zu,%zu\n", s->context[i], cost_kv_bytes(&s->m->config, s->context[i]),
                activations_bytes(&s->m->config, s->context[i]));
    }
    return NULL;
}

static status write_context(const sweep *s)
{
    json_t *context;
    status failed = machine_context(s->m, &context);
    if (failed)
        return failed;
    json_t *about =
        json_pack("{s:I, s:I, s:I, s:f, s:b}", "seed", (json_int_t)s->o->seed, "rounds", (json_int_t)s->rounds,
                  "requests", (json_int_t)s->requests, "seconds", elapsed_s(s), "partial", s->partial);
    failed = json_object_set_new(context, "sweep", about) == 0 ? results_write_json(s->dir, "context.json", context)
                                                               : memory_failed("the description of this sweep");
    json_decref(context);
    return failed;
}

// One row of the table; a cell without a sample shows a dash.
static void print_table_row(const sweep *s, size_t i, size_t verified)
{
    char text[HUMANE];
    double step[DECODERS] = {0};
    size_t last = (DECODERS - 1) * s->contexts + i;
    printf("%9zu  %10s", s->context[i], s->samples[last] ? humane_ns(cell_estimate(s, last, TTFT).median, text) : "-");
    for (size_t d = 0; d < DECODERS; d++) {
        size_t cell = d * s->contexts + i;
        step[d] = s->samples[cell] ? cell_estimate(s, cell, STEP).median : 0;
        printf("  %*s", STEP_COLUMN, step[d] > 0 ? humane_ns(step[d], text) : "-");
    }
    if (s->context[i] < verified && step[0] > 0 && step[DECODERS - 1] > 0)
        printf("  %8.1f", step[0] / step[DECODERS - 1]);
    else
        printf("  %8s", "-");
    printf("  %10s\n", humane_bytes((double)cost_kv_bytes(&s->m->config, s->context[i]), text));
}

static void print_table(const sweep *s)
{
    size_t verified = results_verified(s->m);
    printf("%s%s: medians of %zu rounds\n\n%9s  %10s", model_label(s->m), s->partial ? ", PARTIAL" : "", s->rounds,
           "context", "TTFT");
    for (size_t d = 0; d < DECODERS; d++)
        printf("  %*s %s", STEP_COLUMN - (int)strlen(decoders[d]->name) - 1, "step", decoders[d]->name);
    printf("  %8s  %10s\n", "speed-up", "KV");
    for (size_t i = 0; i < s->contexts; i++)
        print_table_row(s, i, verified);
    printf("\nTTFT is that of %s; the prefill of %s is the same work. Intervals are in %s/summary.csv.\n",
           decoders[DECODERS - 1]->name, decoders[0]->name, s->dir);
    if (s->contexts > 0 && s->context[s->contexts - 1] >= verified)
        printf("A speed-up is shown where this build has passed `build/bench verify -m %s`: so far %zu tokens.\n",
               model_label(s->m), verified);
}

static status report(const sweep *s)
{
    status failed = results_write(s->dir, "summary.csv", print_summary, s);
    if (!failed)
        failed = results_write(s->dir, "memory.csv", print_memory, s);
    if (!failed)
        failed = write_context(s);
    if (!failed)
        print_table(s);
    return failed;
}

// 16, 32, 64, ... below limit, and limit itself: the last context that a step can extend.
static status default_contexts(size_t limit, size_t **list, size_t *n)
{
    char text[512];
    int length = 0;
    for (size_t c = FIRST_CONTEXT; c < limit; c *= 2)
        length += snprintf(text + length, sizeof text - (size_t)length, "%zu,", c);
    snprintf(text + length, sizeof text - (size_t)length, "%zu", limit);
    return contexts_parse(text, limit, list, n);
}

static status choose_contexts(sweep *s)
{
    size_t limit = s->m->config.T - 1;
    if (limit == 0)
        return status_fail("%s: a context of one token leaves no step to time; use another model", model_label(s->m));
    return s->o->contexts ? contexts_parse(s->o->contexts, limit, &s->context, &s->contexts)
                          : default_contexts(limit, &s->context, &s->contexts);
}

static status create_decoders(sweep *s)
{
    const config *c = &s->m->config;
    status failed = sampler_create(&(sampling){.top_p = 1}, c->V, &s->greedy);
    for (size_t d = 0; d < DECODERS && !failed; d++)
        failed = decoders[d]->create(s->m, c->T, &s->decoder[d]);
    return failed;
}

static status open_samples(sweep *s)
{
    status failed = file_path(s->dir, "samples.csv", s->csv_path);
    if (failed)
        return failed;
    s->csv = fopen(s->csv_path, "w");
    if (!s->csv)
        return status_fail("cannot write %s: %s; name another directory with --out", s->csv_path, strerror(errno));
    fputs("model,decoder,metric,context,sample,order,ns\n", s->csv);
    return NULL;
}

static status prepare(sweep *s)
{
    status failed = choose_contexts(s);
    if (failed)
        return failed;
    s->cells = DECODERS * s->contexts;
    s->tokens = memory_array(s->m->config.T + 1, sizeof *s->tokens);
    s->order = memory_array(s->cells, sizeof *s->order);
    s->samples = memory_array(s->cells, sizeof *s->samples);
    if (!s->tokens || !s->order || !s->samples)
        return memory_failed("the sweep");
    for (size_t i = 0; i < s->cells; i++)
        s->order[i] = i;
    failed = create_decoders(s);
    return failed ? failed : open_samples(s);
}

static void release(sweep *s)
{
    for (size_t d = 0; d < DECODERS; d++)
        if (s->decoder[d])
            decoders[d]->destroy(s->decoder[d]);
    if (s->csv)
        fclose(s->csv);
    sampler_free(s->greedy);
    memory_free(s->tokens);
    memory_free(s->context);
    memory_free(s->order);
    memory_free(s->samples);
    memory_free(s->ns);
    memory_free(s->sorted);
}

static status run(sweep *s)
{
    status failed = prepare(s);
    if (failed)
        return failed;
    struct sigaction before;
    catch_interrupt(&before);
    s->begin_ns = clock_ns();
    failed = measure(s);
    sigaction(SIGINT, &before, NULL);
    return failed ? failed : report(s);
}

status sweep_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "m:c:b:n:s:o:", usage, &o, exit_code);
    if (failed || o.help)
        return failed;
    if (o.samples != 0 && o.samples < STATS_MIN_SAMPLES) {
        *exit_code = EXIT_USAGE;
        return status_fail("--samples %zu: fewer than %d give no 95 %% interval", o.samples, STATS_MIN_SAMPLES);
    }
    sweep s = {.o = &o, .budget_s = o.budget_s > 0 ? o.budget_s : DEFAULT_BUDGET_S, .random = o.seed};
    model *m = NULL;
    failed = results_make(o.out, s.dir);
    if (!failed)
        failed = model_load(o.model, &m);
    if (!failed) {
        s.m = m;
        failed = run(&s);
    }
    release(&s);
    model_free(m);
    if (!failed && s.partial)
        *exit_code = EXIT_INTERRUPTED;
    return failed;
}
