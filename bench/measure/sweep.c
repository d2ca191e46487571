// bench sweep: TTFT, TPOT and step of every decoder over the contexts, all samples interleaved in
// random order.
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/interrupt.h"
#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "bench/measure/measure.h"
#include "bench/measure/rounds.h"
#include "bench/measure/workload.h"
#include "bench/subject/plugin.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/kv/kv.h"
#include "naive/naive.h"

static const char usage[] =
    "build/bench sweep [options]: time naive and cached decoders over the contexts\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -c, --contexts 16,32,100-103   tokens of context, below the model's limit (default: 16, 32, "
    "64, ... and limit - "
    "1)\n"
    "  -b, --budget SECONDS           measure for that long (default 120), and take 6 to 100 "
    "samples of each\n"
    "  -n, --samples N                take N samples of each instead, however long it lasts; 6 or "
    "more\n"
    "  -s, --seed N                   of the order in which samples are taken (default 0)\n"
    "  -o, --out DIR                  where samples.csv, summary.csv, memory.csv, context.json go "
    "(default: "
    "build/results)\n" SUBJECT_USAGE
    "                                 without either: kvcache; naive is measured beside it\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n";

enum { DEFAULT_BUDGET_S = 120, GENERATED = 3, STEP_COLUMN = 13 };

const char *const sweep_files[] = {"summary.csv", "memory.csv", "context.json", NULL};

typedef enum metric { TTFT, TPOT, STEP, METRICS } metric;
static const char *const metric_names[METRICS] = {"ttft", "tpot", "step"};

// A cell is a decoder at a context: cell i is decoder i / contexts at context i % contexts.
typedef struct sweep {
    const model *m;
    subjects of;
    workload work;
    size_t *context, contexts;
    size_t *bytes; // (subjects, contexts) of keys and values; 0: not known yet, or none
    rounds rounds;
    const bench_options *o;
    char dir[FILE_PATH_SIZE];
    int lock; // of dir
} sweep;

// One request: a prompt of t tokens, then up to GENERATED tokens. Room in the context leaves two at
// least, since t < n_ctx.
static status take(void *user, size_t cell, double *ns)
{
    sweep *s = user;
    size_t t = s->context[cell % s->contexts],
           N = t + GENERATED - 1 <= s->m->config.T ? GENERATED : 2;
    double at_ns[GENERATED];
    size_t *bytes = s->bytes[cell] ? NULL : &s->bytes[cell]; // asked for once
    status failed = workload_request(&s->work, cell / s->contexts, t, N, at_ns, bytes);
    if (failed)
        return failed;
    ns[TTFT] = at_ns[0];
    ns[TPOT] = (at_ns[N - 1] - at_ns[0]) / (double)(N - 1);
    ns[STEP] = at_ns[1] - at_ns[0];
    return NULL;
}

static double work(const void *user, size_t cell)
{
    const sweep *s = user;
    const subject *by = &s->of.at[cell / s->contexts];
    return cost_request(&s->m->config, &by->kv, by->api == &naive_decoder,
                        s->context[cell % s->contexts], GENERATED);
}

static const char *name_of(const sweep *s, size_t which)
{
    return s->of.at[which].name;
}

static rounds_label label(const void *user, size_t cell, size_t value)
{
    const sweep *s = user;
    return (rounds_label){model_label(s->m), name_of(s, cell / s->contexts), metric_names[value],
                          s->context[cell % s->contexts]};
}

static status measure(sweep *s)
{
    char what[256];
    const rounds_job job = {.name = "sweep",
                            .x = "context",
                            .unit = "ns",
                            .cells = s->of.n * s->contexts,
                            .values = METRICS,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = s,
                            .samples = s->o->samples,
                            .budget_s = s->o->budget > 0 ? s->o->budget : DEFAULT_BUDGET_S,
                            .seed = s->o->seed};
    status failed = rounds_open(&job, s->dir, "samples.csv", false, &s->rounds);
    if (failed)
        return failed;
    snprintf(what, sizeof what, "sweep of %s: %zu context%s, %zu decoders", model_label(s->m),
             s->contexts, s->contexts == 1 ? "" : "s", s->of.n);
    return rounds_run(&s->rounds, what);
}

// The keys and values of each decoder, and the rows that a recompute writes.
static status print_memory(FILE *f, const void *what)
{
    const sweep *s = what;
    fputs("model,decoder,context,kv_bytes,naive_activation_bytes\n", f);
    for (size_t cell = 0; cell < s->of.n * s->contexts; cell++) {
        const size_t t = s->context[cell % s->contexts];
        results_csv_text(f, model_label(s->m));
        fputc(',', f);
        results_csv_text(f, name_of(s, cell / s->contexts));
        fprintf(f, ",%zu,%zu,%zu\n", t, s->bytes[cell], activations_bytes(&s->m->config, t));
    }
    return NULL;
}

static status write_context(const sweep *s)
{
    json_t *context;
    status failed = machine_context(s->m, &context);
    if (failed)
        return failed;
    json_t *about = json_pack("{s:I, s:s*, s:o}", "seed", (json_int_t)s->o->seed, "plugin_sha256",
                              plugin_digest(), "decoders", subjects_json(&s->of));
    failed = json_object_set_new(context, "sweep", about) == 0
                 ? rounds_describe(&s->rounds, about)
                 : memory_failed("the description of this sweep");
    if (!failed)
        failed = results_seal(s->dir, "", (const char *const[]){"summary.csv", "memory.csv", NULL},
                              context);
    if (!failed)
        failed = results_write_json(s->dir, "context.json", context);
    json_decref(context);
    return failed;
}

// How wide a decoder's column is: room for its heading.
static int step_column(const sweep *s, size_t which)
{
    const int heading = (int)(strlen("step ") + strlen(name_of(s, which)));
    return heading > STEP_COLUMN ? heading : STEP_COLUMN;
}

static double step_ns(const sweep *s, size_t which, size_t i)
{
    const size_t cell = which * s->contexts + i;
    return rounds_samples(&s->rounds, cell) ? rounds_estimate(&s->rounds, cell, STEP).median : 0;
}

// How much faster a subject's step is than naive's, where its verification allows to say so.
static void print_speedup(const sweep *s, size_t which, size_t i, size_t verified)
{
    const double naive = step_ns(s, 0, i), step = step_ns(s, which, i);
    if (s->context[i] < verified && naive > 0 && step > 0)
        printf("  %8.1f", naive / step);
    else
        printf("  %8s", "-");
}

// One row of the table; a cell without a sample shows a dash.
static void print_table_row(const sweep *s, size_t i, const size_t *verified)
{
    char text[FORMAT_ROOM];
    const size_t last = (s->of.n - 1) * s->contexts + i;
    printf("%9zu  %10s", s->context[i],
           rounds_samples(&s->rounds, last)
               ? format_ns(rounds_estimate(&s->rounds, last, TTFT).median, text)
               : "-");
    for (size_t d = 0; d < s->of.n; d++) {
        const double step = step_ns(s, d, i);
        printf("  %*s", step_column(s, d), step > 0 ? format_ns(step, text) : "-");
        if (d > 0)
            print_speedup(s, d, i, verified[d]);
        if (d > 0)
            printf("  %10s", s->bytes[d * s->contexts + i]
                                 ? format_bytes((double)s->bytes[d * s->contexts + i], text)
                                 : "-");
    }
    printf("\n");
}

static void print_heading(const sweep *s)
{
    printf("%s%s: medians of %zu rounds\n\n%9s  %10s", model_label(s->m),
           s->rounds.partial ? ", PARTIAL" : "", s->rounds.whole, "context", "TTFT");
    for (size_t d = 0; d < s->of.n; d++) {
        printf("  %*s%s", step_column(s, d) - (int)strlen(name_of(s, d)), "step ", name_of(s, d));
        if (d > 0)
            printf("  %8s  %10s", "speed-up", "KV");
    }
    printf("\n");
}

// What a user has to run before a speed-up is shown.
static void print_unverified(const sweep *s, size_t which, size_t verified)
{
    if (s->contexts == 0 || s->context[s->contexts - 1] < verified)
        return;
    printf("A speed-up is shown where this build has passed `build/bench verify");
    bench_options_print_model(stdout, model_label(s->m));
    printf(" --decoder %s`: so far %zu tokens.\n", s->of.at[which].text, verified);
}

static status print_table(const sweep *s)
{
    size_t *verified = memory_array(s->of.n, sizeof *verified);
    char key[SUBJECT_KEY];
    if (!verified)
        return memory_failed("the table");
    for (size_t d = 0; d < s->of.n; d++)
        verified[d] = results_verified(s->m, subject_key(&s->of.at[d], key));
    print_heading(s);
    for (size_t i = 0; i < s->contexts; i++)
        print_table_row(s, i, verified);
    printf(
        "\nTTFT is that of %s. KV is what a decoder says that its keys and values take. Intervals "
        "are in %s/summary.csv.\n",
        name_of(s, s->of.n - 1), s->dir);
    for (size_t d = 1; d < s->of.n; d++)
        print_unverified(s, d, verified[d]);
    memory_free(verified);
    return NULL;
}

static status report(const sweep *s)
{
    status failed = results_write(s->dir, "summary.csv", rounds_print_summary, &s->rounds);
    if (!failed)
        failed = results_write(s->dir, "memory.csv", print_memory, s);
    if (!failed)
        failed = write_context(s);
    if (failed)
        return failed;
    failed = print_table(s);
    return failed ? failed : rounds_print_noise(&s->rounds);
}

static status choose_contexts(sweep *s, int *exit_code)
{
    size_t limit = s->m->config.T - 1;
    if (limit == 0)
        return status_fail("%s: a context of one token leaves no step to time; use another model",
                           model_label(s->m));
    return s->o->contexts
               ? bench_options_contexts(s->o->contexts, limit, &s->context, &s->contexts, exit_code)
               : contexts_doubling(limit, &s->context, &s->contexts);
}

static status run(sweep *s, int *exit_code)
{
    status failed = choose_contexts(s, exit_code);
    if (!failed)
        failed = workload_create(s->m, &s->of, &s->work);
    s->bytes = memory_array(s->of.n * s->contexts, sizeof *s->bytes);
    if (!failed && !s->bytes)
        failed = memory_failed("the bytes of keys and values");
    if (failed)
        return failed;
    interrupt_catch();
    failed = measure(s);
    interrupt_release();
    return failed ? failed : report(s);
}

static void release(sweep *s)
{
    workload_free(&s->work);
    memory_free(s->context);
    memory_free(s->bytes);
    subjects_free(&s->of);
    rounds_close(&s->rounds);
    results_unlock(s->lock);
}

static status sweep_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    sweep s = {.o = o, .lock = -1};
    model *m = NULL;
    status failed = results_take(o->out, sweep_files, s.dir, &s.lock);
    if (!failed)
        failed = subjects_check_memory(
            o, &(subjects_need){
                   .model = o->model, .first = naive_decoder.name, .firsts = 1, .others = 1});
    if (!failed)
        failed = model_load_as(o->model, o->weights, &m);
    s.m = m;
    if (!failed)
        failed = subjects_open(o, naive_decoder.name, &s.of);
    if (!failed)
        failed = run(&s, exit_code);
    if (!failed && s.rounds.partial)
        *exit_code = interrupt_exit_code();
    release(&s);
    model_free(m);
    return failed;
}

status sweep_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "m:W:c:b:n:s:o:d:k:t:", usage, &o, exit_code);
    if (!failed)
        failed = bench_options_enough_samples(&o, exit_code);
    if (failed || o.help)
        return failed;
    return subjects_contain(sweep_body, &o, exit_code);
}
