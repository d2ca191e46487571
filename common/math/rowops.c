// The row operations, each element in one fixed order of IEEE-754 operations
// (notes/03-arithmetic.md).
#include "common/math/rowops.h"

#include "common/math/kernel.h"
#include "common/math/numeric.h"

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
static inline void fold_sum(float *partial, size_t half)
{
    for (size_t j = 0; j < half; j++)
        partial[j] += partial[j + half];
}

static float tree_sum(float partial[LANES])
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

void rowops_linear(const linear *w, const rows *x, rows *y, size_t n)
{
    const panels weights = {w->panels, w->K * LANES, panels_for(w->N)};
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

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static inline void fold_larger(float *partial, size_t half)
{
    for (size_t j = 0; j < half; j++)
        partial[j] = larger(partial[j], partial[j + half]);
}

// x *= scale; returns the maximum. Its order is that of a sum, so that even a NaN comes out the
// same everywhere. Fills the last 16 lanes with -Inf: no maximum changes for it, and e^-Inf is 0,
// so that what follows needs no last few elements of its own.
static float scale_row(float *x, size_t n, float scale)
{
    float partial[LANES];
    for (size_t j = 0; j < LANES; j++)
        partial[j] = -INFINITY;
    for (size_t j = n; j < padded(n); j++)
        x[j] = -INFINITY;
    for (size_t i = 0; i < n; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++) {
            x[i + j] *= scale;
            partial[j] = larger(x[i + j], partial[j]);
        }
    fold_larger(partial, LANES / 2);
    fold_larger(partial, LANES / 4);
    fold_larger(partial, LANES / 8);
    return larger(partial[0], partial[1]);
}

// x = e^(x - max); returns the sum. Adding the +0 of the lanes beyond n changes no sum of what is
// not negative.
static float exp_row(float *x, size_t n, float max)
{
    float partial[LANES] = {0};
    for (size_t i = 0; i < n; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++) {
            x[i + j] = numeric_exp(x[i + j] - max);
            partial[j] += x[i + j];
        }
    return tree_sum(partial);
}

void rowops_softmax(float *x, size_t n, float scale)
{
    float inverse = 1.0f / exp_row(x, n, scale_row(x, n, scale));
#pragma omp simd
    for (size_t i = 0; i < padded(n); i++)
        x[i] *= inverse;
}
