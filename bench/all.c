// bench all: the whole story in one command, each part printed as the command that runs it alone.
#include <stdio.h>
#include <string.h>

#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "bench/measure/measure.h"
#include "bench/measure/probe.h"
#include "bench/verify/verify.h"
#include "common/model/model.h"

static const char usage[] =
    "build/bench all [options]: verify the embedded model, then verify and sweep a model of real "
    "size\n\n"
    "  -m, --model DIR|synthetic:...  that model (default: synthetic:124M)\n"
    "  -q, --quick                    few and short contexts: a first look in less than a minute\n"
    "  -o, --out DIR                  where the sweep's files go (default: build/results)\n";

// --quick: the edges of tiles and panels are verified, and as much is timed as shows the curves
// part.
static const size_t quick_verify[] = {1, 2, 15, 16, 17, 31, 32, 33, 129},
                    quick_sweep[] = {16, 32, 64, 128};
static const char quick_samples[] = "6";

enum { MOST_ARGUMENTS = 10, LIST_SIZE = 64 };

// The arguments of one command, ending in NULL.
typedef struct call {
    command *run;
    const char *argument[MOST_ARGUMENTS + 1];
    int n;
} call;

static void add(call *c, const char *option, const char *value)
{
    if (!value)
        return;
    c->argument[c->n++] = option;
    c->argument[c->n++] = value;
}

static status run(call *c, int *exit_code)
{
    char *argv[MOST_ARGUMENTS + 1] = {0};
    printf("\n$ build/bench");
    for (int i = 0; i < c->n; i++) {
        argv[i] = (char *)c->argument[i]; // getopt reorders the pointers, and leaves the text alone
        printf(" %s", argv[i]);
    }
    printf("\n");
    fflush(stdout);
    return c->run(c->n, argv, exit_code);
}

static status model_config(const char *name, config *out)
{
    uint64_t seed;
    return strncmp(name, "synthetic:", strlen("synthetic:")) == 0
               ? config_parse_synthetic(name, out, &seed)
               : config_read(name, out);
}

// The contexts up to `limit` as --contexts takes them; limit itself if all of them are beyond it.
static const char *list_below(const size_t *contexts, size_t n, size_t limit, char text[LIST_SIZE])
{
    int length = 0;
    for (size_t i = 0; i < n && contexts[i] <= limit; i++)
        length += snprintf(text + length, LIST_SIZE - (size_t)length, "%s%zu", i == 0 ? "" : ",",
                           contexts[i]);
    if (length == 0)
        snprintf(text, LIST_SIZE, "%zu", limit);
    return text;
}

// Roughly how many prefills of a model's whole context each part computes, for an estimate.
// Verification uses all cores, the sweep one.
static const struct effort {
    double verify_embedded, verify, sweep;
    double least_s; // the sweep's budget
} effort_full = {1000, 200, 53, 120}, effort_quick = {5, 6, 6, 0};

static double prefill_s(const config *c, double flops)
{
    const double reached = 0.7; // share of the peak
    return 2 * cost_multiply_adds(c, NULL, 0, c->T) / (flops * reached);
}

static void announce(const config *embedded, const config *chosen, bool quick)
{
    const struct effort *e = quick ? &effort_quick : &effort_full;
    double flops = probe_fma_best(), one_s = prefill_s(chosen, flops);
    double verify_s = (e->verify_embedded * prefill_s(embedded, flops) + e->verify * one_s) /
                      (double)machine_cores();
    double sweep_s = e->sweep * one_s > e->least_s ? e->sweep * one_s : e->least_s;
    fprintf(stderr, "about %.0f s on %zu cores of %.0f GFLOP/s: verify %.0f s, sweep %.0f s\n",
            verify_s + sweep_s, machine_cores(), flops * 1e-9, verify_s, sweep_s);
}

// Minutes pass before the sweep asks for its folder: what it would refuse is said first.
static status check_folder(const char *out)
{
    char dir[FILE_PATH_SIZE];
    int lock = -1;
    const status s = results_take(out, sweep_files, dir, &lock);
    results_unlock(lock);
    return s;
}

status all_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    char verified[LIST_SIZE], swept[LIST_SIZE], embedded_verified[LIST_SIZE];
    config embedded, chosen;
    status s = bench_options_parse(argc, argv, "m:qo:", usage, &o, exit_code);
    if (s || o.help)
        return s;
    const char *name = o.model_given ? o.model : BENCH_MODEL;
    s = model_config(model_default(), &embedded);
    if (!s)
        s = model_config(name, &chosen);
    if (s)
        return s;
    s = check_folder(o.out);
    if (s)
        return s;
    call calls[] = {{verify_command, {"verify"}, 1},
                    {verify_command, {"verify"}, 1},
                    {sweep_command, {"sweep"}, 1}};
    add(&calls[1], "-m", name);
    add(&calls[2], "-m", name);
    add(&calls[2], "-o", o.out);
    if (o.quick) {
        const size_t n = sizeof quick_verify / sizeof *quick_verify,
                     last = chosen.T > 1 ? chosen.T - 1 : 1;
        add(&calls[0], "-c", list_below(quick_verify, n, embedded.T, embedded_verified));
        add(&calls[1], "-c", list_below(quick_verify, n, chosen.T, verified));
        add(&calls[2], "-c",
            list_below(quick_sweep, sizeof quick_sweep / sizeof *quick_sweep, last, swept));
        add(&calls[2], "-n", quick_samples);
    }
    announce(&embedded, &chosen, o.quick);
    for (size_t i = 0; i < sizeof calls / sizeof *calls && !s && *exit_code == 0; i++)
        s = run(&calls[i], exit_code);
    return s;
}
