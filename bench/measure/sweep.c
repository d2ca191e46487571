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
#include "bench/verify/plugin.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/kv/kv.h"

static const char usage[] =
    "build/bench sweep [options]: time naive and a cached decoder over the contexts\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
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
    "build/results)\n"
    "  -d, --decoder FILE.so          time this plug-in in place of kvcache (make mine SRC=yours.c "
    "builds one)\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n";

enum { DEFAULT_BUDGET_S = 120, GENERATED = 3, STEP_COLUMN = 13, LONGEST_NAME = 24 };

typedef enum metric { TTFT, TPOT, STEP, METRICS } metric;
static const char *const metric_names[METRICS] = {"ttft", "tpot", "step"};

// A cell is a decoder at a context: cell i is decoder i / contexts at context i % contexts.
typedef struct sweep {
    const model *m;
    const decoder_api *plugin; // NULL: none
    workload work;
    size_t *context, contexts;
    rounds rounds;
    const bench_options *o;
    char dir[FILE_PATH_SIZE];
} sweep;

// One request: a prompt of t tokens, then up to GENERATED tokens. Room in the context leaves two at
// least, since t < n_ctx.
static status take(void *user, size_t cell, double *ns)
{
    sweep *s = user;
    size_t t = s->context[cell % s->contexts],
           N = t + GENERATED - 1 <= s->m->config.T ? GENERATED : 2;
    double at_ns[GENERATED];
    status failed = workload_request(&s->work, cell / s->contexts, t, N, at_ns);
    if (!failed && plugin_complaint())
        failed = status_fail("%s", plugin_complaint());
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
    return cost_request(&s->m->config, cell / s->contexts == 0, s->context[cell % s->contexts],
                        GENERATED);
}

static const char *name_of(const sweep *s, size_t which)
{
    return s->work.api[which]->name;
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
                            .cells = DECODERS * s->contexts,
                            .values = METRICS,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = s,
                            .samples = s->o->samples,
                            .budget_s = s->o->budget_s > 0 ? s->o->budget_s : DEFAULT_BUDGET_S,
                            .seed = s->o->seed};
    status failed = rounds_open(&job, s->dir, "samples.csv", false, &s->rounds);
    if (failed)
        return failed;
    snprintf(what, sizeof what, "sweep of %s: %zu context%s, %d decoders", model_label(s->m),
             s->contexts, s->contexts == 1 ? "" : "s", DECODERS);
    return rounds_run(&s->rounds, what);
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
        json_pack("{s:I, s:s*}", "seed", (json_int_t)s->o->seed, "plugin_sha256", plugin_digest());
    failed = json_object_set_new(context, "sweep", about) == 0
                 ? rounds_describe(&s->rounds, about)
                 : memory_failed("the description of this sweep");
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

// One row of the table; a cell without a sample shows a dash.
static void print_table_row(const sweep *s, size_t i, size_t verified)
{
    char text[FORMAT_ROOM];
    double step[DECODERS] = {0};
    size_t last = (DECODERS - 1) * s->contexts + i;
    printf("%9zu  %10s", s->context[i],
           rounds_samples(&s->rounds, last)
               ? format_ns(rounds_estimate(&s->rounds, last, TTFT).median, text)
               : "-");
    for (size_t d = 0; d < DECODERS; d++) {
        size_t cell = d * s->contexts + i;
        step[d] =
            rounds_samples(&s->rounds, cell) ? rounds_estimate(&s->rounds, cell, STEP).median : 0;
        printf("  %*s", step_column(s, d), step[d] > 0 ? format_ns(step[d], text) : "-");
    }
    if (s->context[i] < verified && step[0] > 0 && step[DECODERS - 1] > 0)
        printf("  %8.1f", step[0] / step[DECODERS - 1]);
    else
        printf("  %8s", "-");
    printf("  %10s\n", format_bytes((double)cost_kv_bytes(&s->m->config, s->context[i]), text));
}

static void print_table(const sweep *s)
{
    const char *cached = name_of(s, DECODERS - 1);
    size_t verified = results_verified(s->m, plugin_digest());
    printf("%s%s: medians of %zu rounds\n\n%9s  %10s", model_label(s->m),
           s->rounds.partial ? ", PARTIAL" : "", s->rounds.whole, "context", "TTFT");
    for (size_t d = 0; d < DECODERS; d++)
        printf("  %*s%s", step_column(s, d) - (int)strlen(name_of(s, d)), "step ", name_of(s, d));
    printf("  %8s  %10s\n", "speed-up", "KV");
    for (size_t i = 0; i < s->contexts; i++)
        print_table_row(s, i, verified);
    printf(s->plugin
               ? "\nTTFT is that of %s; KV counts keys and values in float32, whatever %s keeps."
               : "\nTTFT is that of %s; the prefill of %s is the same work.",
           cached, s->plugin ? cached : name_of(s, 0));
    printf(" Intervals are in %s/summary.csv.\n", s->dir);
    if (s->contexts > 0 && s->context[s->contexts - 1] >= verified)
        printf("A speed-up is shown where this build has passed `build/bench verify -m %s%s%s`: so "
               "far %zu tokens.\n",
               model_label(s->m), s->plugin ? " --decoder " : "", s->plugin ? s->o->decoder : "",
               verified);
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
    print_table(s);
    return rounds_print_noise(&s->rounds);
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
        failed = workload_create(s->m, s->plugin, &s->work);
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
    rounds_close(&s->rounds);
}

// The plug-in's name goes into the CSVs, where it tells whose a row is, and onto the plots.
static status check_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+";
    if (!*name || name[strspn(name, allowed)] || strlen(name) > LONGEST_NAME ||
        strcmp(name, decoders[0]->name) == 0)
        return status_fail("the plug-in's name is '%.40s': name it in lockstep_decoder with at "
                           "most %d letters, digits "
                           "and -_.+, and not %s",
                           name, LONGEST_NAME, decoders[0]->name);
    return NULL;
}

static status open_plugin(sweep *s)
{
    status failed = s->o->decoder ? plugin_open(s->o->decoder, &s->plugin) : NULL;
    return failed || !s->plugin ? failed : check_name(s->plugin->name);
}

static status sweep_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    sweep s = {.o = o};
    model *m = NULL;
    status failed = results_make(o->out, s.dir);
    if (!failed)
        failed = open_plugin(&s);
    if (!failed)
        failed = model_load(o->model, &m);
    if (!failed) {
        s.m = m;
        failed = run(&s, exit_code);
    }
    if (!failed && s.rounds.partial)
        *exit_code = EXIT_INTERRUPTED;
    release(&s);
    model_free(m);
    return failed;
}

status sweep_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "m:c:b:n:s:o:d:t:", usage, &o, exit_code);
    if (!failed)
        failed = bench_options_enough_samples(&o, exit_code);
    if (failed || o.help)
        return failed;
    return o.decoder ? plugin_contain(sweep_body, &o, o.timeout_s, exit_code)
                     : sweep_body(&o, exit_code);
}
