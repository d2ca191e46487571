// A GPT-2 decoder that keeps K and V: every step computes only the rows it has not seen.
#include <string.h>

#include "common/base/memory.h"
#include "common/kv/kv.h"
#include "common/math/rowops.h"
#include "kvcache/kvcache.h"

struct decoder {
    const model *m;
    size_t T_max;
    activations a;
    kv *kept;      // K and V of all layers
    int *seen;     // (T_max) the tokens they belong to
    size_t length; // how many
    tap tap;
};

static void destroy(decoder *d)
{
    if (!d)
        return;
    activations_free(&d->a);
    kv_destroy(d->kept);
    memory_free(d->seen);
    memory_free(d);
}

static status create(const model *m, const decoder_options *o, decoder **out)
{
    *out = NULL;
    decoder *d = memory_array(1, sizeof *d);
    if (!d)
        return memory_failed("a decoder");
    d->m = m;
    d->T_max = o->T_max;
    status s = activations_create(&m->config, o->T_max, &d->a);
    if (!s)
        s = kv_create(&m->config, m->config.L, o, &d->kept);
    d->seen = memory_array(o->T_max, sizeof *d->seen);
    if (!s && !d->seen)
        s = memory_failed("the tokens seen");
    if (s) {
        destroy(d);
        return s;
    }
    *out = d;
    return NULL;
}

// Where the step begins: rows 0..first-1 need not be computed again.
static status first_row(decoder *d, const int *tokens, size_t T, size_t wanted, size_t *first)
{
    size_t t = 0;
    while (t < d->length && t < T && tokens[t] == d->seen[t])
        t++;
    status s = kv_begin(d->kept, tokens, T, t, T - wanted, first);
    if (s)
        return s;
    memcpy(d->seen, tokens, T * sizeof *tokens);
    d->length = *first;
    return NULL;
}

// One transformer block over n rows, in place in the residual stream x (n, C).
static status transform(decoder *d, size_t l, size_t first, size_t n)
{
    const layer *w = &d->m->layers[l];
    const float eps = d->m->config.eps;
    const int at = (int)l;
    activations *a = &d->a;

    // Each row is brought to mean 0 and variance 1, then scaled and shifted: (n, C).
    rowops_layer_norm(&w->ln1, eps, &a->x, &a->normed, n);
    tap_rows(&d->tap, STAGE_LN1, at, first, &a->normed, n);
    // One product gives each row its queries, keys and values, heads side by side: (n, C + 2 G D).
    rowops_linear(&w->qkv, &a->normed, &a->qkv, n);
    tap_rows(&d->tap, STAGE_Q, at, first, &a->q, n);
    tap_rows(&d->tap, STAGE_K, at, first, &a->k, n);
    tap_rows(&d->tap, STAGE_V, at, first, &a->v, n);
    // The keys and values are stored; each query looks for the keys up to its own that it fits, and
    // takes the mean of their values, weighted by how well: (n, C). Rows meet here and nowhere
    // else.
    status s = kv_attend(d->kept, l, first, a, n, &d->tap);
    if (s)
        return s;
    // The heads' results are mixed, (n, C), and added to the residual stream.
    rowops_linear(&w->proj, &a->heads, &a->change, n);
    tap_rows(&d->tap, STAGE_PROJ, at, first, &a->change, n);
    rowops_add(&a->x, &a->change, n);

    // The feed-forward network, row by row: normed again, (n, C),
    rowops_layer_norm(&w->ln2, eps, &a->x, &a->normed, n);
    tap_rows(&d->tap, STAGE_LN2, at, first, &a->normed, n);
    // widened to F channels, (n, F),
    rowops_linear(&w->fc, &a->normed, &a->hidden, n);
    tap_rows(&d->tap, STAGE_FC, at, first, &a->hidden, n);
    // bent by GELU, without which two products would be one, (n, F),
    rowops_gelu(&a->hidden, n);
    tap_rows(&d->tap, STAGE_GELU, at, first, &a->hidden, n);
    // narrowed again, (n, C), and added to the residual stream.
    rowops_linear(&w->fcproj, &a->hidden, &a->change, n);
    tap_rows(&d->tap, STAGE_FCPROJ, at, first, &a->change, n);
    rowops_add(&a->x, &a->change, n);
    return NULL;
}

// The logits that follow the last `wanted` of n rows: (wanted, V).
static const float *unembed(decoder *d, size_t first, size_t n, size_t wanted)
{
    activations *a = &d->a;
    const size_t skipped = n - wanted;
    const rows last = rows_from(&a->x, skipped);
    // The rows whose logits are wanted are normed once more: (wanted, C).
    rowops_layer_norm(&d->m->lnf, d->m->config.eps, &last, &a->normed, wanted);
    tap_rows(&d->tap, STAGE_LNF, NO_LAYER, first + skipped, &a->normed, wanted);
    // A logit is the product of a row with a token's embedding: (wanted, V).
    rowops_linear(&d->m->head, &a->normed, &a->logits, wanted);
    tap_rows(&d->tap, STAGE_LOGITS, NO_LAYER, first + skipped, &a->logits, wanted);
    return activations_logits(a, wanted);
}

static status step(decoder *d, const int *tokens, size_t T, size_t wanted, const float **logits)
{
    size_t first;
    status s = decoder_check(d->m, d->T_max, tokens, T, wanted);
    if (!s)
        s = activations_reserve(&d->a, wanted);
    if (!s)
        s = first_row(d, tokens, T, wanted, &first);
    if (s)
        return s;
    const size_t n = T - first;
    // A token's embedding plus that of its position begins the residual stream: (n, C).
    rowops_embed(d->m, tokens, first, T, &d->a.x);
    tap_rows(&d->tap, STAGE_EMBED, NO_LAYER, first, &d->a.x, n);
    for (size_t l = 0; !s && l < d->m->config.L; l++)
        s = transform(d, l, first, n);
    if (s)
        return s;
    kv_commit(d->kept, tokens, d->length = T);
    *logits = unembed(d, first, n, wanted);
    return NULL;
}

static void reset(decoder *d)
{
    kv_forget(d->kept);
    d->length = 0;
}

static void observe(decoder *d, observer *fn, void *user)
{
    d->tap.fn = fn;
    d->tap.user = user;
}

static bool holds(const decoder *d, size_t l, size_t head, size_t t)
{
    return kv_holds(d->kept, l, head, t);
}

static status read_kv(const decoder *d, size_t l, size_t head, size_t t, float *k, float *v)
{
    return kv_read(d->kept, l, head, t, k, v);
}

static size_t bytes(const decoder *d)
{
    return kv_bytes(d->kept);
}

kvcache_state kvcache_state_of(decoder *d)
{
    return (kvcache_state){d->m, &d->a, d->kept, d->seen, &d->length, d->T_max};
}

const decoder_api kvcache_decoder = {
    DECODER_API_VERSION, "kvcache", create, step, reset, destroy, observe, holds, read_kv, bytes};
