// Times in rounds.
#include "bench/strategies/times.h"

#include <math.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/cost/cost.h"
#include "bench/measure/workload.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "naive/naive.h"

#define LONG_MODEL "synthetic:L=4,C=256,H=4,T=8192,V=256"

enum { BUDGET_S = 300, QUICK_LONGEST = 256 };

static const char *const metric_names[TIMES_METRICS] = {"ttft_ns", "step_ns", "kv_bytes"};

// Where the usual contexts of a model lie: shares of the longest.
static const size_t shares[] = {64, 16, 4, 1};

static const times_site *site_of(const times *t, size_t cell)
{
    size_t i = t->sites - 1;
    while (t->site[i].first > cell)
        i--;
    return &t->site[i];
}

static const subject *subject_of(const times *t, size_t cell)
{
    const times_site *at = site_of(t, cell);
    return &t->of->at[(cell - at->first) / at->contexts];
}

static size_t context_of(const times *t, size_t cell)
{
    const times_site *at = site_of(t, cell);
    return at->context[(cell - at->first) % at->contexts];
}

static status take(void *user, size_t cell, double *values)
{
    const times *t = user;
    subject by = *subject_of(t, cell);
    const subjects one = {.at = &by, .n = 1};
    double at_ns[2] = {0};
    size_t bytes = 0;
    workload w;
    status failed = workload_create(site_of(t, cell)->m, &one, &w);
    if (!failed)
        failed = workload_request(&w, 0, context_of(t, cell), 2, at_ns, &bytes);
    workload_free(&w);
    values[TIMES_TTFT] = at_ns[0];
    values[TIMES_STEP] = at_ns[1] - at_ns[0];
    values[TIMES_BYTES] = (double)bytes;
    return failed;
}

static double work(const void *user, size_t cell)
{
    const times *t = user;
    const subject *by = subject_of(t, cell);
    return cost_request(&site_of(t, cell)->m->config, &by->kv, by->api == &naive_decoder,
                        context_of(t, cell), 2);
}

static rounds_label label(const void *user, size_t cell, size_t value)
{
    const times *t = user;
    return (rounds_label){model_label(site_of(t, cell)->m), subject_of(t, cell)->name,
                          metric_names[value], context_of(t, cell)};
}

static status choose_contexts(const bench_options *o, times_site *at, int *exit_code)
{
    size_t limit = at->m->config.T - 1, *list, n;
    if (limit == 0)
        return status_fail("%s: a context of one token leaves no step to time; use another model",
                           model_label(at->m));
    if (o->quick)
        limit = size_min(limit, QUICK_LONGEST);
    for (size_t i = 0; !o->contexts && i < sizeof shares / sizeof *shares; i++)
        if (limit / shares[i] > 0)
            at->context[at->contexts++] = limit / shares[i];
    if (!o->contexts)
        return NULL;
    status failed = bench_options_contexts(o->contexts, limit, &list, &n, exit_code);
    if (!failed && n > TIMES_CONTEXTS) {
        *exit_code = EXIT_USAGE;
        failed = status_fail("--contexts: %zu are more than the %d that are compared", n,
                             TIMES_CONTEXTS);
    }
    for (size_t i = 0; i < n && !failed; i++)
        at->context[at->contexts++] = list[i];
    memory_free(list);
    return failed;
}

static status open_site(const bench_options *o, const char *name, times *t, int *exit_code)
{
    times_site *at = &t->site[t->sites++];
    bench_options plain = *o; // memory for plain decoders, of which one is made at a time
    plain.subjects = 0;
    status failed = subjects_check_memory(&plain, &(subjects_need){.model = name, .others = 2});
    if (!failed)
        failed = model_load(name, &at->m);
    if (!failed)
        failed = choose_contexts(o, at, exit_code);
    at->first = t->cells;
    t->cells += at->contexts * t->of->n;
    return failed;
}

status times_open(const bench_options *o, const subjects *of, times *out, int *exit_code)
{
    const char *const usual[TIMES_MODELS] = {model_default(), BENCH_MODEL, LONG_MODEL};
    *out = (times){.of = of};
    if (o->model_given)
        return open_site(o, o->model, out, exit_code);
    status failed = NULL;
    for (size_t i = 0; i < TIMES_MODELS && !failed; i++)
        failed = open_site(o, usual[i], out, exit_code);
    return failed;
}

void times_free(times *t)
{
    rounds_close(&t->rounds);
    for (size_t i = 0; i < t->sites; i++)
        model_free(t->site[i].m);
}

status times_begin(times *t, const bench_options *o, const char *dir, bool resume)
{
    const rounds_job job = {.name = "strategies",
                            .x = "context",
                            .unit = "value",
                            .cells = t->cells,
                            .values = TIMES_METRICS,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = t,
                            .samples = o->samples ? o->samples
                                       : o->quick ? STATS_MIN_SAMPLES
                                                  : 0,
                            .budget_s = o->budget > 0 ? o->budget : BUDGET_S,
                            .seed = o->seed};
    return rounds_open(&job, dir, "strategies-samples.csv", resume, &t->rounds);
}

status times_run(times *t)
{
    char what[128];
    snprintf(what, sizeof what, "times of %zu decoders on %zu model%s", t->of->n, t->sites,
             t->sites == 1 ? "" : "s");
    return rounds_run(&t->rounds, what);
}

size_t times_cell(const times_site *at, size_t which, size_t i)
{
    return at->first + which * at->contexts + i;
}

bool times_known(const times *t, const times_site *at, size_t which, size_t i)
{
    return rounds_samples(&t->rounds, times_cell(at, which, i)) > 0;
}

estimate times_of(const times *t, const times_site *at, size_t which, size_t i, times_metric k)
{
    return rounds_estimate(&t->rounds, times_cell(at, which, i), k);
}

status times_ratio(const times *t, const times_site *at, size_t which, size_t i, times_metric k,
                   estimate *out)
{
    const size_t own = times_cell(at, which, i), first = times_cell(at, 0, i),
                 a = rounds_samples(&t->rounds, own), b = rounds_samples(&t->rounds, first),
                 n = size_min(a, b);
    double *values = memory_array(a + b + 1, sizeof *values);
    *out = (estimate){NAN, NAN, NAN};
    if (!values)
        return memory_failed("the ratios of times");
    rounds_values(&t->rounds, own, k, values);
    rounds_values(&t->rounds, first, k, values + a);
    for (size_t r = 0; r < n; r++)
        values[r] /= values[a + r];
    if (n > 0)
        *out = stats_median(values, n);
    memory_free(values);
    return NULL;
}
