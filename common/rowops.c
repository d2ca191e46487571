// The row operations, each element in one fixed order of IEEE-754 operations (notes/03-arithmetic.md).
#include "common/rowops.h"

#include <string.h>

#include "common/kernel.h"
#include "common/numeric.h"

void rowops_embed(const model *m, const int *tokens, size_t first, size_t T, rows *x)
{
    for (size_t t = first; t < T; t++) {
        const float *position = m->wpe + t * padded(m->config.C);
        float *y = row(x, t - first);
        for (size_t c = 0; c < m->config.C; c++)
            y[c] = linear_weight(&m->wte, c, (size_t)tokens[t]) + position[c];
    }
}

// Contract 3: the 16 partial sums of a row go pairwise into one: lane j with lane j + half.
static float tree_sum(float partial[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            partial[j] += partial[j + half];
    return partial[0];
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
    return tree_sum(partial);
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
    return tree_sum(partial);
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

// Columns [from, from + count) of y += bias.
static void add_bias(const float *bias, rows *y, size_t from, size_t count, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        float *out = row(y, r) + from;
#pragma omp simd
        for (size_t j = 0; j < count; j++)
            out[j] += bias[from + j];
    }
}

void rowops_linear(const linear *w, const rows *x, rows *y, size_t n)
{
    enum { AT_ONCE = 4 }; // panels: their columns of y are still in the cache when the bias comes
    const size_t count = panels_for(w->N), panel = w->K * LANES;
    for (size_t p = 0; p < count; p += AT_ONCE) {
        panels some = {w->panels + p * panel, panel, count - p < AT_ONCE ? count - p : AT_ONCE};
        kernel_product(n, w->K, x->at, x->stride, some, y->at + p * LANES, y->stride, false);
        if (w->bias)
            add_bias(w->bias, y, p * LANES, some.count * LANES, n);
    }
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

static float larger(float a, float b)
{
    return a > b ? a : b;
}

// The maximum of a row; its order is fixed too, so that even a NaN comes out the same everywhere.
static float row_max(const float *x, size_t n)
{
    float partial[LANES];
    for (size_t j = 0; j < LANES; j++)
        partial[j] = -INFINITY;
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++)
            partial[j] = larger(x[i + j], partial[j]);
    for (size_t i = whole; i < n; i++)
        partial[i - whole] = larger(x[i], partial[i - whole]);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            partial[j] = larger(partial[j], partial[j + half]);
    return partial[0];
}

void rowops_softmax(float *x, size_t n, float scale, float *scaled)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
    if (scaled)
        memcpy(scaled, x, n * sizeof *x);
    float max = row_max(x, n);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] = numeric_exp(x[i] - max);
    float inverse = 1.0f / row_sum(x, n);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] *= inverse;
}
