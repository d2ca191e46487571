// One step leaves the residual stream of all its rows behind the last layer: what unembed does to
// the last of them is done to all.
#include "kvcache/embed.h"

#include <string.h>

#include "common/math/activations.h"
#include "common/math/rowops.h"
#include "kvcache/kvcache.h"

// y (C) = the mean of x (T, C).
static void take_mean(const rows *x, size_t T, float *y)
{
    memset(y, 0, x->n * sizeof *y);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < x->n; c++)
            y[c] += row(x, t)[c];
    for (size_t c = 0; c < x->n; c++)
        y[c] /= (float)T;
}

status embed(decoder *d, const int *tokens, size_t T, const char *pooling, float *embedding)
{
    const kvcache_state of = kvcache_state_of(d);
    const float *logits;
    status s = kvcache_decoder.step(d, tokens, T, 1, &logits);
    if (s)
        return s;
    rows *final = &of.a->normed;
    rowops_layer_norm(&of.m->lnf, of.m->config.eps, &of.a->x, final, T);
    if (strcmp(pooling, "mean") == 0)
        take_mean(final, T, embedding);
    else
        memcpy(embedding, row(final, T - 1), final->n * sizeof *embedding);
    return NULL;
}
