// Requests and parts, and the clock around them.
#include "bench/measure/workload.h"

#include "bench/base/contexts.h"
#include "bench/subject/plugin.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/kv/keep/keep.h"
#include "common/math/rowops.h"
#include "common/model/synthetic.h"

enum { REPEAT_NS = 1000000 };

status workload_create(const model *m, const subjects *of, workload *out)
{
    const config *c = &m->config;
    *out = (workload){.m = m, .of = of, .tokens = memory_array(c->T + 1, sizeof *out->tokens)};
    out->decoder = memory_array(of->n, sizeof(decoder *));
    if (!out->tokens || !out->decoder)
        return memory_failed("the tokens");
    status failed = sampler_create(&(sampling){.top_p = 1}, c->V, &out->greedy);
    for (size_t d = 0; d < of->n && !failed; d++)
        failed = subject_create(&of->at[d], m, c->T, &out->decoder[d]);
    return failed;
}

void workload_free(workload *w)
{
    for (size_t d = 0; w->decoder && d < w->of->n; d++)
        if (w->decoder[d])
            w->of->at[d].api->destroy(w->decoder[d]);
    sampler_free(w->greedy);
    memory_free(w->decoder);
    memory_free(w->tokens);
    *w = (workload){0};
}

status workload_request(workload *w, size_t which, size_t t, size_t N, double *at_ns, size_t *bytes)
{
    const decoder_api *api = w->of->at[which].api;
    for (size_t i = 0; i < t; i++)
        w->tokens[i] = fixed_token(i, w->m->config.V);
    api->reset(w->decoder[which]);
    uint64_t begin = clock_ns();
    for (size_t n = 0; n < N; n++) {
        const float *logits;
        status failed = plugin_checked(api->step(w->decoder[which], w->tokens, t + n, 1, &logits));
        if (failed)
            return failed;
        w->tokens[t + n] = sampler_choose(w->greedy, logits, t + n);
        at_ns[n] = (double)(clock_ns() - begin);
        if (n == 0 && bytes && api->bytes)
            *bytes = api->bytes(w->decoder[which]);
        if (w->tokens[t + n] < 0)
            return status_fail(
                "%s: the logits are not finite numbers after %zu tokens; verify names the place",
                model_label(w->m), t + n);
    }
    return NULL;
}

// Stores rows from..to-1 in the first `layers` layers.
static status store(parts *p, size_t layers, size_t from, size_t to)
{
    const rows k = rows_from(&p->a.k, from), v = rows_from(&p->a.v, from);
    status failed = NULL;
    for (size_t l = 0; l < layers && !failed; l++)
        failed = kv_store(p->kept, l, from, &k, &v, to - from);
    return failed;
}

// Makes the store hold what row `first` sees. Where every row is kept, that is done once.
static status fill(parts *p, size_t first)
{
    const size_t L = p->m->config.L;
    if (p->whole)
        return NULL;
    kv_forget(p->kept);
    p->whole = p->spec.keep == KV_ALL;
    if (p->whole)
        return store(p, L, 0, p->m->config.T);
    const visible see = keep_of(&p->spec)->sees(&p->spec, first);
    status failed = store(p, L, 0, see.sinks);
    return failed ? failed : store(p, L, see.from, first);
}

status parts_create(const model *m, const kv_spec *spec, parts *out)
{
    const config *c = &m->config;
    *out = (parts){.m = m, .spec = *spec};
    if (spec->keep == KV_HEAVY)
        return status_fail(
            "under heavy what a row attends to depends on all rows before it, so its "
            "attention is not timed alone: leave it out of this experiment");
    status failed = activations_create(c, c->T, &out->a);
    if (!failed)
        failed = kv_create(c, c->L, &(decoder_options){.T_max = c->T, .kv = *spec}, &out->kept);
    if (failed)
        return failed;
    for (size_t t = 0; t < c->T; t++) {
        synthetic_fill("qkv", 0, 0, 1, t * out->a.qkv.n, out->a.qkv.n, row(&out->a.qkv, t));
        synthetic_fill("normed", 0, 0, 1, t * c->C, c->C, row(&out->a.normed, t));
        synthetic_fill("heads", 0, 0, 1, t * c->C, c->C, row(&out->a.heads, t));
    }
    return NULL;
}

void parts_free(parts *p)
{
    activations_free(&p->a);
    kv_destroy(p->kept);
}

// One layer's part of a step that computes the n rows from `first` on.
typedef void part(parts *p, size_t l, size_t first, size_t n);

static void attend(parts *p, size_t l, size_t first, size_t n)
{
    kv_attend(p->kept, l, first, &p->a, n, &(tap){0}); // these numbers have every form
}

static void multiply(parts *p, size_t l, size_t first, size_t n)
{
    (void)first;
    const layer *w = &p->m->layers[l];
    rowops_linear(&w->qkv, &p->a.normed, &p->a.qkv, n);
    rowops_linear(&w->proj, &p->a.heads, &p->a.change, n);
    rowops_linear(&w->fc, &p->a.normed, &p->a.hidden, n);
    rowops_linear(&w->fcproj, &p->a.hidden, &p->a.change, n);
}

// The mean time of `run` on the first `layers` layers.
static double mean_ns(parts *p, part *run, size_t layers, size_t first, size_t t)
{
    uint64_t begin = clock_ns(), passed = 0;
    double times = 0;
    for (; passed < REPEAT_NS; passed = clock_ns() - begin, times++)
        for (size_t l = 0; l < layers; l++)
            run(p, l, first, t + 1 - first);
    return (double)passed / times;
}

status parts_attention_ns(parts *p, size_t first, size_t t, double *ns)
{
    const size_t L = p->m->config.L, layers = first == 0 ? 1 : L;
    status failed = first == 0 ? NULL : fill(p, first);
    if (failed)
        return failed;
    *ns = mean_ns(p, attend, layers, first, t) * (double)(L / layers);
    // A step from row 0 empties its layer.
    return first == 0 && p->whole ? store(p, 1, 0, p->m->config.T) : NULL;
}

double parts_linear_ns(parts *p, size_t first, size_t t)
{
    return mean_ns(p, multiply, p->m->config.L, first, t);
}
