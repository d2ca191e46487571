// The row operations, each element in one fixed order of IEEE-754 operations
// (notes/03-arithmetic.md).
#include "common/math/rowops.h"

#include <string.h>

#include "common/math/kernel.h"
#include "common/number/numeric.h"

void rowops_embed(const model *m, const int *tokens, size_t first, size_t T, rows *x)
{
    for (size_t t = first; t < T; t++) {
        const size_t C = m->config.C, id = (size_t)tokens[t];
        const float *position = m->wpe + t * padded(C);
        float *y = row(x, t - first);
        if (id >= m->config.V) { // its position has been added
            memcpy(y, m->given + (id - m->config.V) * C, C * sizeof *y);
            continue;
        }
        for (size_t c = 0; c < C; c++)
            y[c] = linear_weight(&m->wte, c, id) + position[c];
    }
}

// Contract 3: the 16 partial sums of a row go pairwise into one: lane j with lane j + half.
static inline void fold_sum(float *partial, size_t half)
{
    for (size_t j = 0; j < half; j++)
        partial[j] += partial[j + half];
}

float rowops_fold_sum(float partial[LANES])
{
    fold_sum(partial, LANES / 2);
    fold_sum(partial, LANES / 4);
    fold_sum(partial, LANES / 8);
    return partial[0] + partial[1];
}

static float row_sum(const float *x, size_t n)
{
    float partial[LANES] = {0};
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++)
            partial[j] += x[i + j];
    for (size_t i = whole; i < n; i++)
        partial[i - whole] += x[i];
    return rowops_fold_sum(partial);
}

// The sum of (x - mean)^2, in the same order.
static float row_squares(const float *x, size_t n, float mean)
{
    float partial[LANES] = {0};
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++)
            partial[j] = numeric_fma(x[i + j] - mean, x[i + j] - mean, partial[j]);
    for (size_t i = whole; i < n; i++)
        partial[i - whole] = numeric_fma(x[i] - mean, x[i] - mean, partial[i - whole]);
    return rowops_fold_sum(partial);
}

void rowops_layer_norm(const norm *w, float eps, const rows *x, rows *y, size_t n)
{
    const size_t C = x->n;
    for (size_t r = 0; r < n; r++) {
        const float *in = row(x, r);
        float *out = row(y, r);
        float mean = row_sum(in, C) / (float)C;
        float variance = row_squares(in, C, mean) / (float)C;
        float scale = 1.0f / sqrtf(variance + eps);
#pragma omp simd
        for (size_t c = 0; c < C; c++)
            out[c] = numeric_fma((in[c] - mean) * scale, w->gain[c], w->bias[c]);
    }
}

void rowops_linear(const linear *w, const rows *x, rows *y, size_t n)
{
    const panels weights = {
        .at = w->panels,
        .stride = panels_depth(w->of, w->K) * LANES,
        .count = panels_for(w->N),
        .of = w->of,
        .scales = {w->scales, .block = PANEL_BLOCK, .stride = linear_blocks(w) * LANES}};
    kernel_product(n, w->K, x->at, x->stride, weights, y->at, y->stride, w->bias, false);
}

void rowops_gelu(rows *x, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        float *y = row(x, r);
#pragma omp simd
        for (size_t i = 0; i < x->n; i++)
            y[i] = numeric_gelu(y[i]);
    }
}

void rowops_add(rows *x, const rows *y, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        float *sum = row(x, r);
        const float *more = row(y, r);
#pragma omp simd
        for (size_t c = 0; c < x->n; c++)
            sum[c] += more[c];
    }
}
