// A GPT-2 decoder that keeps K and V: every step computes only the rows it has not seen.
#include "common/base/memory.h"
#include "common/kv/attention.h"
#include "common/math/rowops.h"
#include "kvcache/kvcache.h"

struct decoder {
    const model *m;
    size_t T_max;
    activations a;
    kv kept;       // K and V of all layers
    int *seen;     // (T_max) the tokens they belong to
    size_t length; // how many
    tap tap;
};

static void destroy(decoder *d)
{
    if (!d)
        return;
    activations_free(&d->a);
    kv_free(&d->kept);
    memory_free(d->seen);
    memory_free(d);
}

static status create(const model *m, size_t T_max, decoder **out)
{
    *out = NULL;
    decoder *d = memory_array(1, sizeof *d);
    if (!d)
        return memory_failed("a decoder");
    d->m = m;
    d->T_max = T_max;
    status s = activations_create(&m->config, T_max, &d->a);
    if (!s)
        s = kv_create(&m->config, m->config.L, T_max, &d->kept);
    d->seen = memory_array(T_max, sizeof *d->seen);
    if (!s && !d->seen)
        s = memory_failed("the tokens seen");
    if (s) {
        destroy(d);
        return s;
    }
    *out = d;
    return NULL;
}

static size_t first_row(const decoder *d, const int *tokens, size_t T)
{
    size_t t = 0;
    while (t < d->length && t < T - 1 && tokens[t] == d->seen[t])
        t++;
    return t;
}

// One transformer block over n rows, in place in the residual stream x.
static void transform(decoder *d, size_t l, size_t first, size_t n)
{
    const layer *w = &d->m->layers[l];
    const float eps = d->m->config.eps;
    activations *a = &d->a;
    d->tap.layer = (int)l;

    rowops_layer_norm(&w->ln1, eps, &a->x, &a->normed, n);
    tap_rows(&d->tap, STAGE_LN1, &a->normed, n);
    rowops_linear(&w->qkv, &a->normed, &a->qkv, n);
    tap_rows(&d->tap, STAGE_Q, &a->q, n);
    tap_rows(&d->tap, STAGE_K, &a->k, n);
    tap_rows(&d->tap, STAGE_V, &a->v, n);
    kv_store(&d->kept, l, first, &a->k, &a->v, n);
    attention(&d->kept, l, first, a, n, &d->tap);
    rowops_linear(&w->proj, &a->heads, &a->change, n);
    tap_rows(&d->tap, STAGE_PROJ, &a->change, n);
    rowops_add(&a->x, &a->change, n);

    rowops_layer_norm(&w->ln2, eps, &a->x, &a->normed, n);
    tap_rows(&d->tap, STAGE_LN2, &a->normed, n);
    rowops_linear(&w->fc, &a->normed, &a->hidden, n);
    tap_rows(&d->tap, STAGE_FC, &a->hidden, n);
    rowops_gelu(&a->hidden, n);
    tap_rows(&d->tap, STAGE_GELU, &a->hidden, n);
    rowops_linear(&w->fcproj, &a->hidden, &a->change, n);
    tap_rows(&d->tap, STAGE_FCPROJ, &a->change, n);
    rowops_add(&a->x, &a->change, n);
}

// The logits that follow the last of n rows.
static void unembed(decoder *d, size_t n)
{
    activations *a = &d->a;
    const rows last = rows_from(&a->x, n - 1);
    d->tap.layer = -1;
    d->tap.first += n - 1;
    rowops_layer_norm(&d->m->lnf, d->m->config.eps, &last, &a->normed, 1);
    tap_rows(&d->tap, STAGE_LNF, &a->normed, 1);
    rowops_linear(&d->m->head, &a->normed, &a->logits, 1);
    tap_rows(&d->tap, STAGE_LOGITS, &a->logits, 1);
}

static status step(decoder *d, const int *tokens, size_t T, const float **logits)
{
    status s = decoder_check(d->m, d->T_max, tokens, T);
    if (s)
        return s;
    const size_t first = first_row(d, tokens, T), n = T - first;
    d->tap.layer = -1;
    d->tap.first = first;
    rowops_embed(d->m, tokens, first, T, &d->a.x);
    tap_rows(&d->tap, STAGE_EMBED, &d->a.x, n);
    for (size_t l = 0; l < d->m->config.L; l++)
        transform(d, l, first, n);
    unembed(d, n);
    for (size_t t = first; t < T; t++)
        d->seen[t] = tokens[t];
    d->length = T;
    *logits = d->a.logits.at;
    return NULL;
}

static void reset(decoder *d)
{
    d->length = 0;
}

static void observe(decoder *d, observer *fn, void *user)
{
    d->tap.fn = fn;
    d->tap.user = user;
}

static size_t length(const decoder *d, size_t l)
{
    (void)l;
    return d->length;
}

static status read_kv(const decoder *d, size_t l, size_t head, size_t t, float *k, float *v)
{
    if (l >= d->m->config.L || head >= d->m->config.H || t >= length(d, l))
        return status_fail("layer %zu, head %zu, position %zu is not held", l, head, t);
    kv_read(&d->kept, l, head, t, k, v);
    return NULL;
}

const decoder_api kvcache_decoder = {
    DECODER_API_VERSION, "kvcache", create, step, reset, destroy, observe, length, read_kv};
