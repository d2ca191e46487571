// The experiments: what each asks, what it counts, and how it takes a sample.
#include <math.h>
#include <stdio.h>

#include "bench/contexts.h"
#include "bench/cost.h"
#include "bench/curves.h"
#include "bench/humane.h"
#include "bench/resident.h"
#include "common/memory.h"

#define EMBEDDED "" // the model used when none is named
#define ATTENTION_MODEL "synthetic:L=1,C=64,H=1,T=32768,V=256"
#define LONG_MODEL "synthetic:L=4,C=64,H=1,T=8192,V=256"
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

// Memory: the peak of a process that prefills a context, beside that of one which only has the model.
enum { RESIDENT, IDLE };

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
    status failed = resident_peak(do_nothing, NULL, &bytes[IDLE]);
    return failed ? failed : resident_peak(occupy, &o, &bytes[RESIDENT]);
}

static double count_memory(const lab *l, size_t metric, size_t which, size_t i)
{
    const model *m = l->models[0];
    double kept = (double)cost_kv_bytes(&m->config, l->x[i]) / (recomputes(which) ? (double)m->config.L : 1);
    return (double)m->block_bytes + (metric == RESIDENT ? (double)activations_bytes(&m->config, l->x[i]) + kept : 0);
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
        double held = (double)model_packed_bytes(&c, true), each = (double)cost_kv_bytes(&c, 1);
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
    return metric == CROSS_ATTENTION ? cost_attention(c, first, t + 1)
                                     : (double)(t + 1 - first) * cost_layer_row(c) * (double)c->L;
}

// ln(attention / linear) at x[i].
static double balance(const lab *l, size_t which, size_t i)
{
    return log(lab_estimate(l, CROSS_ATTENTION, which, i).median / lab_estimate(l, CROSS_LINEAR, which, i).median);
}

// The measured crossing between two places, on a straight line in a log-log plot; NaN if there is none.
static double measured_crossing(const lab *l, size_t which)
{
    for (size_t i = 0; i + 1 < l->xs; i++) {
        double here = balance(l, which, i), next = balance(l, which, i + 1), x = log((double)l->x[i]);
        if (here <= 0 && next > 0)
            return exp(x + (log((double)l->x[i + 1]) - x) * here / (here - next));
    }
    return NAN;
}

// The context at which both parts count as many multiply-adds, if a multiply-add of one takes `ratio` times as long as
// one of the other: a row of the linear layers costs 4 C^2 + 2 C F, one of attention 2 C for each of its keys, which
// are t + 1 in a cached step and (t + 2) / 2 on average where all rows are computed.
static double counted_crossing(const lab *l, size_t which, double ratio)
{
    const config *c = &l->models[0]->config;
    double keys = cost_layer_row(c) / (2 * (double)c->C) / ratio;
    return recomputes(which) ? 2 * keys - 2 : keys - 1;
}

static size_t nearest(const lab *l, double x)
{
    size_t best = 0;
    for (size_t i = 1; i < l->xs; i++)
        if (fabs(log((double)l->x[i] / x)) < fabs(log((double)l->x[best] / x)))
            best = i;
    return best;
}

// Multiply-adds per ns at x[i].
static double rate(const lab *l, size_t metric, size_t which, size_t i)
{
    return count_crossover(l, metric, which, i) / lab_estimate(l, metric, which, i).median;
}

// The counts alone say where to look, the rates measured there what to expect.
static void conclude_crossover(const lab *l)
{
    printf("\nAttention overtakes the linear layers at this many tokens\n\n"
           "  %-8s %11s  %32s %10s %10s %8s\n",
           "", "by counts", "GMAC/s there: attention, linear", "predicted", "measured", "off by");
    for (size_t d = 0; d < DECODERS; d++) {
        double counted = counted_crossing(l, d, 1), measured = measured_crossing(l, d);
        size_t i = nearest(l, counted);
        double attention = rate(l, CROSS_ATTENTION, d, i), linear = rate(l, CROSS_LINEAR, d, i);
        double predicted = counted_crossing(l, d, linear / attention);
        printf("  %-8s %11.0f  %12.1f, %6.1f (at %7zu) %10.0f %10.0f %6.1f %%\n", decoders[d]->name, counted, attention,
               linear, l->x[i], predicted, measured, 100 * (predicted / measured - 1));
    }
}

#define CONTEXT                                                                                                        \
    .x = "context", .metrics = {"ttft", "step", "attention"}, .unit = "ns", .counted = "multiply_adds",                \
    .most = most_steps, .open = open_requests_and_parts, .measure = measure_context, .count = count_context,           \
    .bytes = kv_bytes_read

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
     .bytes = kv_bytes_read},
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
     .bytes = weights_read},
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
     .model = EMBEDDED,
     .x = "context",
     .metrics = {"resident", "idle"},
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
     .conclude = conclude_crossover},
};
