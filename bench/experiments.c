// The experiments: what each asks, what it counts, and how it takes a sample.
#include <math.h>
#include <stdio.h>

#include "bench/contexts.h"
#include "bench/cost.h"
#include "bench/curves.h"
#include "bench/fit.h"
#include "bench/resident.h"
#include "common/humane.h"
#include "common/memory.h"

#define EMBEDDED "" // the model used when none is named
#define ATTENTION_MODEL "synthetic:L=1,C=64,H=1,T=32768,V=256"
#define LONG_MODEL "synthetic:L=4,C=64,H=1,T=8192,V=256"
#define MEMORY_MODEL "synthetic:L=12,C=128,H=2,T=4096,V=256"
#define LAYER_MODEL "synthetic:L=%zu,C=160,H=2,T=512,V=256"

enum { LAYER_CONTEXT = 256, MOST_LAYERS = 64 };

static bool recomputes(size_t which)
{
    return which == 0; // the first decoder is what the others are compared with
}

// The first row that a step at context t computes.
static size_t first_row(size_t which, size_t t)
{
    return recomputes(which) ? 0 : t;
}

static size_t most_steps(const config *c)
{
    return c->T - 1;
}

static status open_requests(lab *l)
{
    return workload_create(l->models[0], &l->work[0]);
}

static status open_requests_and_parts(lab *l)
{
    status failed = open_requests(l);
    return failed ? failed : parts_create(l->models[0], &l->parts);
}

// Bytes of the keys and values that a cached step at context x[i] reads.
static double kv_bytes_read(const lab *l, size_t i)
{
    return (double)kv_bytes(&lab_model(l, i)->config, l->x[i] + 1);
}

// TTFT, and the step that follows it, at context t.
enum { TTFT, STEP, ATTENTION };

static status time_request(lab *l, size_t which, size_t i, size_t t, double *ns)
{
    double at_ns[2];
    status failed = workload_request(lab_work(l, i), which, t, 2, at_ns);
    if (failed)
        return failed;
    ns[TTFT] = at_ns[0];
    ns[STEP] = at_ns[1] - at_ns[0];
    return NULL;
}

static double count_request(const config *c, size_t metric, size_t which, size_t t)
{
    return metric == TTFT   ? cost_multiply_adds(c, 0, t)
           : metric == STEP ? cost_multiply_adds(c, first_row(which, t), t + 1)
                            : cost_attention(c, first_row(which, t), t + 1);
}

static status measure_context(lab *l, size_t which, size_t i, double *ns)
{
    ns[ATTENTION] = parts_attention_ns(&l->parts, first_row(which, l->x[i]), l->x[i]);
    return time_request(l, which, i, l->x[i], ns);
}

static double count_context(const lab *l, size_t metric, size_t which, size_t i)
{
    return count_request(&l->models[0]->config, metric, which, l->x[i]);
}

// Attention alone.
static status open_parts(lab *l)
{
    return parts_create(l->models[0], &l->parts);
}

static status measure_attention(lab *l, size_t which, size_t i, double *ns)
{
    ns[0] = parts_attention_ns(&l->parts, first_row(which, l->x[i]), l->x[i]);
    return NULL;
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
            failed = workload_create(l->models[i], &l->work[i]);
    }
    return failed;
}

static status measure_layers(lab *l, size_t which, size_t i, double *ns)
{
    return time_request(l, which, i, LAYER_CONTEXT, ns);
}

static double count_layers(const lab *l, size_t metric, size_t which, size_t i)
{
    return count_request(&lab_model(l, i)->config, metric, which, LAYER_CONTEXT);
}

static double weights_read(const lab *l, size_t i)
{
    return (double)lab_model(l, i)->block_bytes;
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
    status failed = workload_request(&l->work[0], which, 1, l->x[i], at_ns);
    ns[0] = at_ns[l->x[i] - 1];
    memory_free(at_ns);
    return failed;
}

static double count_generate(const lab *l, size_t metric, size_t which, size_t i)
{
    (void)metric;
    return cost_request(&l->models[0]->config, recomputes(which), 1, l->x[i]);
}

// The first number of tokens from which on the cached decoder is faster, by intervals that do not meet.
static void conclude_generate(const lab *l)
{
    size_t i = l->xs;
    while (i > 0 && lab_estimate(l, 0, DECODERS - 1, i - 1).hi < lab_estimate(l, 0, 0, i - 1).lo)
        i--;
    if (i == l->xs)
        printf("\nThe cache has not paid for itself within %zu tokens.\n", l->x[l->xs - 1]);
    else
        printf("\nThe cache has paid for itself from %zu token%s on: from there on the intervals of both totals lie "
               "apart.\n",
               l->x[i], l->x[i] == 1 ? "" : "s");
}

// Memory: the peak of a process that prefills a context, and what of it one that only has the model does not need.
enum { RESIDENT, HELD };

typedef struct occupant {
    const model *m;
    const decoder_api *api;
    size_t t;
} occupant;

static status occupy(void *argument)
{
    const occupant *o = argument;
    const float *logits;
    decoder *d = NULL;
    int *tokens = memory_array(o->t, sizeof *tokens);
    for (size_t i = 0; tokens && i < o->t; i++)
        tokens[i] = fixed_token(i, o->m->config.V);
    status failed = tokens ? o->api->create(o->m, o->t, &d) : memory_failed("the tokens");
    return failed ? failed : o->api->step(d, tokens, o->t, &logits);
}

static status do_nothing(void *argument)
{
    (void)argument;
    return NULL;
}

static status open_nothing(lab *l)
{
    (void)l;
    return NULL;
}

static status measure_memory(lab *l, size_t which, size_t i, double *bytes)
{
    occupant o = {l->models[0], decoders[which], l->x[i]};
    double idle;
    status failed = resident_peak(do_nothing, NULL, &idle);
    if (!failed)
        failed = resident_peak(occupy, &o, &bytes[RESIDENT]);
    bytes[HELD] = bytes[RESIDENT] - idle;
    return failed;
}

static double count_memory(const lab *l, size_t metric, size_t which, size_t i)
{
    const model *m = l->models[0];
    double kept = (double)kv_bytes(&m->config, l->x[i]) / (recomputes(which) ? (double)m->config.L : 1);
    return (double)activations_bytes(&m->config, l->x[i]) + kept + (metric == RESIDENT ? (double)m->block_bytes : 0);
}

// The most tokens whose keys and values fit beside the weights, for shapes that people know.
static void conclude_memory(const lab *l)
{
    static const char *const shapes[] = {"synthetic:124M", "synthetic:355M", "synthetic:774M", "synthetic:1558M"};
    static const double budgets_gib[] = {1, 2, 4, 8, 16};
    enum { BUDGETS = sizeof budgets_gib / sizeof *budgets_gib };
    (void)l;
    printf(
        "\nThe longest context whose keys and values fit beside the weights, by the counts alone\n\n  %-16s %10s %12s",
        "", "weights", "KV a token");
    for (size_t b = 0; b < BUDGETS; b++)
        printf(" %6.0f GiB", budgets_gib[b]);
    printf("\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char weights[HUMANE], token[HUMANE];
        config c;
        uint64_t seed;
        if (config_parse_synthetic(shapes[i], &c, &seed))
            continue;
        double held = (double)model_packed_bytes(&c, true), each = (double)kv_bytes(&c, 1);
        printf("  %-16s %10s %12s", shapes[i], humane_bytes(held, weights), humane_bytes(each, token));
        for (size_t b = 0; b < BUDGETS; b++)
            printf(" %10.0f", fmax(0, floor((budgets_gib[b] * 0x1p30 - held) / each)));
        printf("\n");
    }
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
    status failed = workload_request(&l->work[0], which, l->x[i], WINDOW + 1, at_ns);
    ns[0] = (at_ns[WINDOW] - at_ns[0]) / WINDOW;
    return failed;
}

static double count_throughput(const lab *l, size_t metric, size_t which, size_t i)
{
    (void)metric;
    const config *c = &l->models[0]->config;
    return (cost_request(c, recomputes(which), l->x[i], WINDOW + 1) - cost_multiply_adds(c, 0, l->x[i])) / WINDOW;
}

static void conclude_throughput(const lab *l)
{
    printf("\nTokens per second, generating %d from each context on\n\n%9s  %10s  %10s\n", WINDOW, "context",
           decoders[0]->name, decoders[DECODERS - 1]->name);
    for (size_t i = 0; i < l->xs; i++) {
        printf("%9zu", l->x[i]);
        for (size_t d = 0; d < DECODERS; d++)
            printf("  %10.1f", 1e9 / lab_estimate(l, 0, d, i).median);
        printf("\n");
    }
}

// Where attention overtakes the linear layers.
enum { CROSS_ATTENTION, CROSS_LINEAR };

static status measure_crossover(lab *l, size_t which, size_t i, double *ns)
{
    size_t t = l->x[i], first = first_row(which, t);
    ns[CROSS_ATTENTION] = parts_attention_ns(&l->parts, first, t);
    ns[CROSS_LINEAR] = parts_linear_ns(&l->parts, first, t);
    return NULL;
}

static double count_crossover(const lab *l, size_t metric, size_t which, size_t i)
{
    const config *c = &l->models[0]->config;
    size_t t = l->x[i], first = first_row(which, t);
    return metric == CROSS_ATTENTION ? cost_attention(c, first, t + 1) : cost_linear(c, first, t + 1);
}

// ln(attention / linear) at x[i].
static double balance(const lab *l, size_t which, size_t i)
{
    return log(lab_estimate(l, CROSS_ATTENTION, which, i).median / lab_estimate(l, CROSS_LINEAR, which, i).median);
}

// The first place behind which attention overtakes; xs - 1 if it never does.
static size_t place_before_crossing(const lab *l, size_t which)
{
    size_t i = 0;
    while (i + 1 < l->xs && !(balance(l, which, i) <= 0 && balance(l, which, i + 1) > 0))
        i++;
    return i;
}

// The crossing that was measured: on straight lines between two places of a log-log plot.
static double measured_crossing(const lab *l, size_t which, size_t i)
{
    if (i + 1 == l->xs)
        return NAN;
    double here = balance(l, which, i), next = balance(l, which, i + 1), x = log((double)l->x[i]);
    return exp(x + (log((double)l->x[i + 1]) - x) * here / (here - next));
}

// Predicted by the counts with the rates that both parts have at the place nearest to where the counts alone cross.
static double crossing_by_rates(const lab *l, size_t which)
{
    const config *c = &l->models[0]->config;
    double counted = cost_crossover(c, !recomputes(which), 1) - 1, relative = 1;
    size_t nearest = 0;
    for (size_t i = 1; i < l->xs; i++)
        if (fabs(log((double)l->x[i] / counted)) < fabs(log((double)l->x[nearest] / counted)))
            nearest = i;
    for (size_t metric = CROSS_ATTENTION; metric <= CROSS_LINEAR; metric++) {
        double ns = lab_estimate(l, metric, which, nearest).median / count_crossover(l, metric, which, nearest);
        relative = metric == CROSS_ATTENTION ? ns : relative / ns;
    }
    return cost_crossover(c, !recomputes(which), relative) - 1;
}

// The model of a part, fitted to all places but those at either side of the crossing.
static status fit_elsewhere(const lab *l, size_t metric, size_t which, size_t before, fit_model *out)
{
    double x[CURVES_X], y[CURVES_X];
    size_t n = 0;
    for (size_t i = 0; i < l->xs; i++) {
        x[n] = (double)l->x[i];
        y[n] = lab_estimate(l, metric, which, i).median;
        n += i != before && i != before + 1;
    }
    return fit_physical(x, y, NULL, n, out);
}

static double model_at(const fit_model *m, double x)
{
    return m->coefficient[0].value + x * (m->coefficient[1].value + x * m->coefficient[2].value);
}

// Predicted from all other places: there the models of both parts cross. Found by halving.
static double crossing_by_models(const lab *l, size_t which, size_t before)
{
    fit_model attention_model, linear_model;
    double lo = 1, hi = (double)l->models[0]->config.T;
    if (fit_elsewhere(l, CROSS_ATTENTION, which, before, &attention_model) ||
        fit_elsewhere(l, CROSS_LINEAR, which, before, &linear_model))
        return NAN;
    for (int i = 0; i < 60; i++) {
        double x = (lo + hi) / 2;
        *(model_at(&attention_model, x) < model_at(&linear_model, x) ? &lo : &hi) = x;
    }
    return lo;
}

static void conclude_crossover(const lab *l)
{
    printf("\nAttention overtakes the linear layers at this many tokens (counts: if all multiply-adds took as long;\n"
           "rates: with those measured near there; models: fitted to all places but the two around the crossing)\n\n"
           "  %-8s %10s %10s %10s %10s %14s\n",
           "", "counts", "rates", "models", "measured", "models off by");
    for (size_t d = 0; d < DECODERS; d++) {
        size_t before = place_before_crossing(l, d);
        double measured = measured_crossing(l, d, before), by_models = crossing_by_models(l, d, before);
        printf("  %-8s %10.0f %10.0f %10.0f %10.0f %12.1f %%\n", decoders[d]->name,
               cost_crossover(&l->models[0]->config, !recomputes(d), 1) - 1, crossing_by_rates(l, d), by_models,
               measured, 100 * (by_models / measured - 1));
    }
}

#define CONTEXT                                                                                                        \
    .x = "context", .metrics = {"ttft", "step", "attention"}, .unit = "ns", .counted = "multiply_adds",                \
    .most = most_steps, .open = open_requests_and_parts, .measure = measure_context, .count = count_context,           \
    .bytes = kv_bytes_read, .reach = 1

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
     .open = open_parts,
     .measure = measure_attention,
     .count = count_attention,
     .bytes = kv_bytes_read,
     .reach = 1},
    {.name = "context",
     .question = "What do the first token and the next one cost, as the context grows?",
     .model = BENCH_MODEL,
     .budget_s = 80,
     CONTEXT},
    {.name = "longcontext",
     .question = "Where do whole steps bend to their asymptotes?",
     .model = LONG_MODEL,
     .budget_s = 40,
     CONTEXT},
    {.name = "layers",
     .question = "Does each layer cost the same?",
     .x = "layers",
     .places = (const size_t[]){1, 2, 4, 8, 16, 0},
     .metrics = {"ttft", "step"},
     .unit = "ns",
     .counted = "multiply_adds",
     .budget_s = 15,
     .most = most_layers,
     .open = open_layers,
     .measure = measure_layers,
     .count = count_layers,
     .bytes = weights_read,
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
     .most = most_tokens,
     .open = open_nothing,
     .measure = measure_memory,
     .count = count_memory,
     .conclude = conclude_memory},
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
     .open = open_parts,
     .measure = measure_crossover,
     .count = count_crossover,
     .bytes = kv_bytes_read,
     .reach = 1,
     .conclude = conclude_crossover},
};
