// The experiments: what each asks, what it counts, and how it takes a sample.
#include <math.h>
#include <stdio.h>

#include "bench/cost.h"
#include "bench/curves.h"

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

#define CONTEXT                                                                                                        \
    .x = "context", .metrics = {"ttft", "step", "attention"}, .unit = "ns", .counted = "multiply_adds",                \
    .most = most_steps, .open = open_requests_and_parts, .measure = measure_context, .count = count_context,           \
    .bytes = kv_bytes_read

const experiment experiments[EXPERIMENTS] = {
    {.name = "context",
     .question = "What do the first token and the next one cost, as the context grows?",
     .model = BENCH_MODEL,
     .budget_s = 75,
     CONTEXT},
    {.name = "longcontext",
     .question = "Where do the steps bend to their asymptotes, t^2 and t?",
     .model = LONG_MODEL,
     .budget_s = 50,
     CONTEXT},
};
