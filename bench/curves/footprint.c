// Processes that prefill a context and are asked how much memory they held.
#include "bench/curves/footprint.h"

#include <math.h>
#include <stdio.h>

#include "bench/base/contexts.h"
#include "bench/cost/cost.h"
#include "bench/curves/resident.h"
#include "common/base/format.h"
#include "common/base/memory.h"

enum { RESIDENT, HELD };

typedef struct occupant {
    const model *m;
    const subject *by;
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
    status failed = tokens ? subject_create(o->by, o->m, o->t, &d) : memory_failed("the tokens");
    return failed ? failed : o->by->api->step(d, tokens, o->t, 1, &logits);
}

static status do_nothing(void *argument)
{
    (void)argument;
    return NULL;
}

status footprint_measure(lab *l, size_t which, size_t i, double *bytes)
{
    occupant o = {l->models[0], &l->of.at[which], l->x[i]};
    double idle;
    status failed = resident_peak(do_nothing, NULL, &idle);
    if (!failed)
        failed = resident_peak(occupy, &o, &bytes[RESIDENT]);
    bytes[HELD] = bytes[RESIDENT] - idle;
    return failed;
}

double footprint_count(const lab *l, size_t metric, size_t which, size_t i)
{
    const model *m = l->models[0];
    const size_t layers = lab_recomputes(l, which) ? 1 : m->config.L;
    const size_t kept = kv_memory(&m->config, layers, &l->of.at[which].kv, l->x[i]);
    return (double)activations_bytes(&m->config, l->x[i]) + (double)kept +
           (metric == RESIDENT ? (double)m->block_bytes : 0);
}

// The most tokens whose keys and values fit beside the weights, for shapes that people know.
status footprint_conclude(const lab *l, FILE *f)
{
    static const char *const shapes[] = {"synthetic:124M", "synthetic:355M", "synthetic:774M",
                                         "synthetic:1558M"};
    static const double budgets_gib[] = {1, 2, 4, 8, 16};
    enum { BUDGETS = sizeof budgets_gib / sizeof *budgets_gib };
    (void)l;
    fprintf(f,
            "\nThe longest context whose keys and values fit beside the weights, by the counts "
            "alone\n\n  %-16s %10s %12s",
            "", "weights", "KV a token");
    for (size_t b = 0; b < BUDGETS; b++)
        fprintf(f, " %6.0f GiB", budgets_gib[b]);
    fprintf(f, "\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char weights[FORMAT_ROOM], token[FORMAT_ROOM];
        config c;
        uint64_t seed;
        if (config_parse_synthetic(shapes[i], &c, &seed))
            continue;
        double held = (double)model_packed_bytes(&c, true), each = (double)cost_kv_bytes(&c, 1);
        fprintf(f, "  %-16s %10s %12s", shapes[i], format_bytes(held, weights),
                format_bytes(each, token));
        for (size_t b = 0; b < BUDGETS; b++)
            fprintf(f, " %10.0f", fmax(0, floor((budgets_gib[b] * 0x1p30 - held) / each)));
        fprintf(f, "\n");
    }
    return NULL;
}
