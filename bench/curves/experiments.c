// The experiments: what each asks, what it counts, and how it takes a sample.
#include <math.h>
#include <stdio.h>

#include "bench/cost/cost.h"
#include "bench/curves/crossover.h"
#include "bench/curves/curves.h"
#include "bench/curves/footprint.h"
#include "common/base/memory.h"

#define EMBEDDED "" // the model used when none is named
#define ATTENTION_MODEL "synthetic:L=64,C=64,H=1,T=32768,V=256"
#define LONG_MODEL "synthetic:L=4,C=64,H=1,T=8192,V=256"
#define MEMORY_MODEL "synthetic:L=12,C=128,H=2,T=4096,V=256"
#define LAYER_MODEL "synthetic:L=%zu,C=32,H=1,T=128,V=64"

enum { LAYER_CONTEXT = 64, MOST_LAYERS = 64 };

static size_t most_steps(const config *c)
{
    return c->T - 1;
}

static status open_requests(lab *l)
{
    return workload_create(l->models[0], &l->of, &l->work[0]);
}

static status open_requests_and_parts(lab *l)
{
    status failed = open_requests(l);
    return failed ? failed : lab_open_parts(l);
}

// Bytes of the keys and values that a cached step at context x[i] reads.
static double kv_bytes_read(const lab *l, size_t i)
{
    return (double)cost_kv_bytes(&lab_model(l, i)->config, l->x[i] + 1);
}

// TTFT, and the step that follows it, at context t.
enum { TTFT, STEP, ATTENTION };

static status time_request(lab *l, size_t which, size_t i, size_t t, double *ns)
{
    double at_ns[2];
    status failed = workload_request(lab_work(l, i), which, t, 2, at_ns, NULL);
    if (failed)
        return failed;
    ns[TTFT] = at_ns[0];
    ns[STEP] = at_ns[1] - at_ns[0];
    return NULL;
}

static double count_request(const lab *l, const config *c, size_t metric, size_t which, size_t t)
{
    const kv_spec *spec = &l->of.at[which].kv;
    const size_t first = lab_first_row(l, which, t);
    return metric == TTFT   ? cost_multiply_adds(c, spec, 0, t)
           : metric == STEP ? cost_multiply_adds(c, spec, first, t + 1)
                            : cost_attention(c, spec, first, t + 1);
}

// Attention alone.
static status measure_attention(lab *l, size_t which, size_t i, double *ns)
{
    return parts_attention_ns(lab_parts(l, which), lab_first_row(l, which, l->x[i]), l->x[i], ns);
}

static status measure_context(lab *l, size_t which, size_t i, double *ns)
{
    status failed = measure_attention(l, which, i, &ns[ATTENTION]);
    return failed ? failed : time_request(l, which, i, l->x[i], ns);
}

static double count_context(const lab *l, size_t metric, size_t which, size_t i)
{
    return count_request(l, &l->models[0]->config, metric, which, l->x[i]);
}

static double count_attention(const lab *l, size_t metric, size_t which, size_t i)
{
    return count_context(l, ATTENTION + metric, which, i);
}

// Layers: a model for each.
static size_t most_layers(const config *c)
{
    (void)c;
    return MOST_LAYERS;
}

static status open_layers(lab *l)
{
    status failed = NULL;
    for (size_t i = 0; i < l->xs && !failed; i++) {
        char name[128];
        snprintf(name, sizeof name, LAYER_MODEL, l->x[i]);
        failed = model_load(name, &l->models[i]);
        if (!failed)
            failed = workload_create(l->models[i], &l->of, &l->work[i]);
    }
    return failed;
}

static status measure_layers(lab *l, size_t which, size_t i, double *ns)
{
    return time_request(l, which, i, LAYER_CONTEXT, ns);
}

static double count_layers(const lab *l, size_t metric, size_t which, size_t i)
{
    return count_request(l, &lab_model(l, i)->config, metric, which, LAYER_CONTEXT);
}

static double weights_and_kv_read(const lab *l, size_t i)
{
    const model *m = lab_model(l, i);
    return (double)(m->block_bytes + cost_kv_bytes(&m->config, LAYER_CONTEXT + 1));
}

// A whole generation, from one token.
static size_t most_tokens(const config *c)
{
    return c->T;
}

static status measure_generate(lab *l, size_t which, size_t i, double *ns)
{
    double *at_ns = memory_array(l->x[i], sizeof *at_ns);
    if (!at_ns)
        return memory_failed("the clock's readings");
    status failed = workload_request(&l->work[0], which, 1, l->x[i], at_ns, NULL);
    ns[0] = at_ns[l->x[i] - 1];
    memory_free(at_ns);
    return failed;
}

static double count_generate(const lab *l, size_t metric, size_t which, size_t i)
{
    (void)metric;
    return cost_request(&l->models[0]->config, &l->of.at[which].kv, lab_recomputes(l, which), 1,
                        l->x[i]);
}

// The first place from which on decoder `which` takes less than the first one in all: by the
// medians, or with `clearly` by intervals that do not meet. xs if there is none.
static size_t ahead_from(const lab *l, size_t which, bool clearly)
{
    size_t i = l->xs;
    for (; i > 0; i--) {
        estimate slow = lab_estimate(l, 0, 0, i - 1), fast = lab_estimate(l, 0, which, i - 1);
        if (!(clearly ? fast.hi < slow.lo : fast.median < slow.median))
            break;
    }
    return i;
}

static status conclude_generate(const lab *l, FILE *f)
{
    fprintf(f, "\n");
    for (size_t d = 1; d < l->of.n; d++) {
        const size_t by_medians = ahead_from(l, d, false), clearly = ahead_from(l, d, true);
        if (isnan(lab_estimate(l, 0, 0, l->xs - 1).hi) ||
            isnan(lab_estimate(l, 0, d, l->xs - 1).hi))
            fprintf(f, "Whether the cache of %s pays for itself is not shown: too few samples.\n",
                    l->of.at[d].name);
        else if (clearly == l->xs)
            fprintf(f, "The cache of %s has not paid for itself within %zu tokens.\n",
                    l->of.at[d].name, l->x[l->xs - 1]);
        else
            fprintf(f,
                    "The cache of %s has paid for itself from %zu tokens on by the medians, from "
                    "%zu on beyond noise: there the intervals lie apart.\n",
                    l->of.at[d].name, l->x[by_medians], l->x[clearly]);
    }
    return NULL;
}

// Tokens per second, over a window of some.
enum { WINDOW = 16 };

static size_t most_windows(const config *c)
{
    return c->T > WINDOW ? c->T - WINDOW : 0;
}

static status measure_throughput(lab *l, size_t which, size_t i, double *ns)
{
    double at_ns[WINDOW + 1];
    status failed = workload_request(&l->work[0], which, l->x[i], WINDOW + 1, at_ns, NULL);
    ns[0] = (at_ns[WINDOW] - at_ns[0]) / WINDOW;
    return failed;
}

static double count_throughput(const lab *l, size_t metric, size_t which, size_t i)
{
    (void)metric;
    const config *c = &l->models[0]->config;
    const kv_spec *spec = &l->of.at[which].kv;
    return (cost_request(c, spec, lab_recomputes(l, which), l->x[i], WINDOW + 1) -
            cost_multiply_adds(c, spec, 0, l->x[i])) /
           WINDOW;
}

static status conclude_throughput(const lab *l, FILE *f)
{
    fprintf(f, "\nTokens per second, generating %d from each context on\n\n%9s", WINDOW, "context");
    for (size_t d = 0; d < l->of.n; d++)
        fprintf(f, "  %*s", lab_width(l, d), l->of.at[d].name);
    fprintf(f, "\n");
    for (size_t i = 0; i < l->xs; i++) {
        fprintf(f, "%9zu", l->x[i]);
        for (size_t d = 0; d < l->of.n; d++)
            fprintf(f, "  %*.1f", lab_width(l, d), 1e9 / lab_estimate(l, 0, d, i).median);
        fprintf(f, "\n");
    }
    return NULL;
}

#define CONTEXT                                                                                    \
    .x = "context", .metrics = {"ttft", "step", "attention"}, .unit = "ns",                        \
    .counted = "multiply_adds", .most = most_steps, .open = open_requests_and_parts,               \
    .measure = measure_context, .count = count_context, .reach = 1

const experiment experiments[EXPERIMENTS] = {
    {.name = "attention",
     .question = "Is attention alone O(t^2) without a cache, and O(t) with one?",
     .model = ATTENTION_MODEL,
     .x = "context",
     .metrics = {"attention"},
     .unit = "ns",
     .counted = "multiply_adds",
     .budget_s = 25,
     .most = most_steps,
     .open = lab_open_parts,
     .measure = measure_attention,
     .count = count_attention,
     .bytes = kv_bytes_read,
     .reach = 1},
    {.name = "context",
     .question = "What do the first token and the next one cost, as the context grows?",
     .model = BENCH_MODEL,
     .budget_s = 80,
     .from = 64,
     CONTEXT},
    {.name = "longcontext",
     .question = "Where do whole steps bend to their asymptotes?",
     .model = LONG_MODEL,
     .budget_s = 40,
     .bytes = kv_bytes_read,
     CONTEXT},
    {.name = "layers",
     .question = "Does each layer cost the same?",
     .x = "layers",
     .places = (const size_t[]){1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 0},
     .metrics = {"ttft", "step"},
     .unit = "ns",
     .counted = "multiply_adds",
     .budget_s = 15,
     .most = most_layers,
     .open = open_layers,
     .measure = measure_layers,
     .count = count_layers,
     .bytes = weights_and_kv_read,
     .reach = LAYER_CONTEXT + 1},
    {.name = "generate",
     .question = "How long does it take to generate n tokens, all in all?",
     .model = EMBEDDED,
     .x = "tokens",
     .places = (const size_t[]){1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 0},
     .metrics = {"total"},
     .unit = "ns",
     .counted = "multiply_adds",
     .budget_s = 50,
     .from = 16,
     .most = most_tokens,
     .open = open_requests,
     .measure = measure_generate,
     .count = count_generate,
     .conclude = conclude_generate},
    {.name = "memory",
     .question = "What does a process hold that keeps its keys and values?",
     .model = MEMORY_MODEL,
     .x = "context",
     .metrics = {"resident", "held"},
     .unit = "bytes",
     .counted = "bytes",
     .budget_s = 10,
     .from = 512,
     .most = most_tokens,
     .measure = footprint_measure,
     .count = footprint_count,
     .conclude = footprint_conclude},
    {.name = "throughput",
     .question = "How many tokens a second, at each context?",
     .model = EMBEDDED,
     .x = "context",
     .metrics = {"tpot"},
     .unit = "ns",
     .counted = "multiply_adds",
     .budget_s = 30,
     .most = most_windows,
     .open = open_requests,
     .measure = measure_throughput,
     .count = count_throughput,
     .bytes = kv_bytes_read,
     .reach = WINDOW,
     .conclude = conclude_throughput},
    {.name = "crossover",
     .question = "From which context on does attention cost more than the linear layers?",
     .model = LONG_MODEL,
     .x = "context",
     .metrics = {"attention", "linear"},
     .unit = "ns",
     .counted = "multiply_adds",
     .budget_s = 25,
     .most = most_steps,
     .open = lab_open_parts,
     .measure = crossover_measure,
     .count = crossover_count,
     .bytes = kv_bytes_read,
     .reach = 1,
     .conclude = crossover_conclude},
};
