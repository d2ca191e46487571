// A decoder to begin with: right, but it recomputes every row at every step. Chapter 7 makes it
// keep K and V.
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/decoder.h"
#include "common/math/activations.h"
#include "common/math/rowops.h"
#include "common/math/softmax.h"
#include "common/math/tap.h"
#include "common/number/numeric.h"

struct decoder {
    const model *m;
    size_t T_max;
    activations a;
    float *k, *v; // (T_max, C) each, heads side by side: of the layer at hand
    tap tap;
};

static void destroy(decoder *d)
{
    if (!d)
        return;
    activations_free(&d->a);
    memory_free(d->k);
    memory_free(d->v);
    memory_free(d);
}

static status create(const model *m, const decoder_options *o, decoder **out)
{
    const size_t T_max = o->T_max;
    if (o->kv.keep != KV_ALL || o->kv.form != KV_F32)
        return status_fail("this decoder keeps every row as it is: leave out the spec");
    if (config_kv_heads(&m->config) != m->config.H)
        return status_fail("this decoder has a K/V head for each query head: use such a model");
    decoder *d = memory_array(1, sizeof *d);
    if (!d)
        return memory_failed("a decoder");
    *d = (decoder){.m = m, .T_max = T_max};
    status s = activations_create(&m->config, T_max, &d->a);
    d->k = memory_array(T_max * m->config.C, sizeof *d->k);
    d->v = memory_array(T_max * m->config.C, sizeof *d->v);
    if (!s && (!d->k || !d->v))
        s = memory_failed("keys and values");
    if (s)
        destroy(d);
    else
        *out = d;
    return s;
}

// One head of one row over `keys` keys: k and v are its first, C floats from one to the next. Every
// sum starts at +0 and goes upwards: contract 4.
static void attend(const float *q, const float *k, const float *v, size_t C, size_t D, size_t keys,
                   float *p, float *scaled, float *y)
{
    const float scale = 1.0f / sqrtf((float)D);
    for (size_t t = 0; t < keys; t++) {
        p[t] = 0;
        for (size_t c = 0; c < D; c++)
            p[t] = numeric_fma(q[c], k[t * C + c], p[t]);
    }
    const visible see = {.to = keys};
    const float max = softmax_scale(p, see, scale);
    softmax_gather(p, see, scaled);
    softmax_row(p, see, max);
    for (size_t c = 0; c < D; c++) {
        y[c] = 0;
        for (size_t t = 0; t < keys; t++)
            y[c] = numeric_fma(p[t], v[t * C + c], y[c]);
    }
}

// Stores the new rows' keys and values, then lets each new row look at the keys up to its own.
static void attend_rows(decoder *d, size_t l, size_t first, size_t n)
{
    const size_t C = d->m->config.C, D = config_head_size(&d->m->config);
    float *k = d->k, *v = d->v, *p = d->a.scores.at, *scaled = d->a.shown.at;
    for (size_t r = 0; r < n; r++) {
        memcpy(k + (first + r) * C, row(&d->a.k, r), C * sizeof *k);
        memcpy(v + (first + r) * C, row(&d->a.v, r), C * sizeof *v);
    }
    for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < C; c += D) {
            const size_t t = first + r, keys = t + 1; // up to its own
            float *y = row(&d->a.heads, r) + c;
            attend(row(&d->a.q, r) + c, k + c, v + c, C, D, keys, p, scaled, y);
            tap_head(&d->tap, STAGE_SCORES, (int)l, c / D, t, scaled, keys);
            tap_head(&d->tap, STAGE_SOFTMAX, (int)l, c / D, t, p, keys);
            tap_head(&d->tap, STAGE_ATTEND, (int)l, c / D, t, y, D);
        }
}

static void transform(decoder *d, size_t l, size_t first, size_t n)
{
    const layer *w = &d->m->layers[l];
    const float eps = d->m->config.eps;
    activations *a = &d->a;
    const int at = (int)l;
    rowops_layer_norm(&w->ln1, eps, &a->x, &a->normed, n);
    tap_rows(&d->tap, STAGE_LN1, at, first, &a->normed, n);
    rowops_linear(&w->qkv, &a->normed, &a->qkv, n);
    tap_rows(&d->tap, STAGE_Q, at, first, &a->q, n);
    tap_rows(&d->tap, STAGE_K, at, first, &a->k, n);
    tap_rows(&d->tap, STAGE_V, at, first, &a->v, n);
    attend_rows(d, l, first, n);
    rowops_linear(&w->proj, &a->heads, &a->change, n);
    tap_rows(&d->tap, STAGE_PROJ, at, first, &a->change, n);
    rowops_add(&a->x, &a->change, n);
    rowops_layer_norm(&w->ln2, eps, &a->x, &a->normed, n);
    tap_rows(&d->tap, STAGE_LN2, at, first, &a->normed, n);
    rowops_linear(&w->fc, &a->normed, &a->hidden, n);
    tap_rows(&d->tap, STAGE_FC, at, first, &a->hidden, n);
    rowops_gelu(&a->hidden, n);
    tap_rows(&d->tap, STAGE_GELU, at, first, &a->hidden, n);
    rowops_linear(&w->fcproj, &a->hidden, &a->change, n);
    tap_rows(&d->tap, STAGE_FCPROJ, at, first, &a->change, n);
    rowops_add(&a->x, &a->change, n);
}

static status step(decoder *d, const int *tokens, size_t T, size_t wanted, const float **logits)
{
    status s = decoder_check(d->m, d->T_max, tokens, T, wanted);
    if (!s)
        s = activations_reserve(&d->a, wanted);
    if (s)
        return s;
    const size_t first = 0, n = T - first;
    activations *a = &d->a;
    rowops_embed(d->m, tokens, first, T, &a->x);
    tap_rows(&d->tap, STAGE_EMBED, NO_LAYER, first, &a->x, n);
    for (size_t l = 0; l < d->m->config.L; l++)
        transform(d, l, first, n);
    const rows last = rows_from(&a->x, n - wanted);
    rowops_layer_norm(&d->m->lnf, d->m->config.eps, &last, &a->normed, wanted);
    tap_rows(&d->tap, STAGE_LNF, NO_LAYER, T - wanted, &a->normed, wanted);
    rowops_linear(&d->m->head, &a->normed, &a->logits, wanted);
    tap_rows(&d->tap, STAGE_LOGITS, NO_LAYER, T - wanted, &a->logits, wanted);
    *logits = activations_logits(a, wanted);
    return NULL;
}

static void reset(decoder *d)
{
    (void)d;
}

static void observe(decoder *d, observer *fn, void *user)
{
    d->tap.fn = fn;
    d->tap.user = user;
}

const decoder_api lockstep_decoder = {
    DECODER_API_VERSION, "mine", create, step, reset, destroy, observe, NULL, NULL, NULL};
