// Softmax, 16 positions at a time. Lanes that a row does not see hold -Inf: no maximum changes for
// it, e^-Inf is +0, and adding +0 changes no sum of what is not negative.
#include "common/math/softmax.h"

#include <math.h>
#include <string.h>

#include "common/base/size.h"
#include "common/math/rowops.h"
#include "common/number/numeric.h"

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static inline void fold_larger(float *partial, size_t half)
{
    for (size_t j = 0; j < half; j++)
        partial[j] = larger(partial[j], partial[j + half]);
}

// The panels of 16 positions that hold a visible one: [0, first) and [second, end).
typedef struct walk {
    size_t first, second, end;
} walk;

static walk walk_of(visible see)
{
    const size_t first = padded(see.sinks), second = see.from / LANES * LANES;
    return (walk){first, second > first ? second : first, padded(see.to)};
}

static void hide(float *x, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        x[i] = -INFINITY;
}

// Hides the lanes of those panels that are not seen: behind the sinks, before `from`, behind `to`.
static void hide_unseen(float *x, visible see, walk w)
{
    hide(x, see.sinks, size_min(w.first, see.from));
    hide(x, see.sinks > w.second ? see.sinks : w.second, see.from);
    hide(x, see.to, w.end);
}

static void scale_lanes(float *x, size_t from, size_t to, float scale, float partial[LANES])
{
    for (size_t i = from; i < to; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++) {
            x[i + j] *= scale;
            partial[j] = larger(x[i + j], partial[j]);
        }
}

// The order of the maximum is that of a sum, so that even a NaN comes out the same everywhere.
float softmax_scale(float *x, visible see, float scale)
{
    const walk w = walk_of(see);
    float partial[LANES];
    for (size_t j = 0; j < LANES; j++)
        partial[j] = -INFINITY;
    hide_unseen(x, see, w);
    scale_lanes(x, 0, w.first, scale, partial);
    scale_lanes(x, w.second, w.end, scale, partial);
    fold_larger(partial, LANES / 2);
    fold_larger(partial, LANES / 4);
    fold_larger(partial, LANES / 8);
    return larger(partial[0], partial[1]);
}

static void exp_lanes(float *x, size_t from, size_t to, float max, float partial[LANES])
{
    for (size_t i = from; i < to; i += LANES)
#pragma omp simd
        for (size_t j = 0; j < LANES; j++) {
            x[i + j] = numeric_exp(x[i + j] - max);
            partial[j] += x[i + j];
        }
}

static void multiply_lanes(float *x, size_t from, size_t to, float by)
{
#pragma omp simd
    for (size_t i = from; i < to; i++)
        x[i] *= by;
}

void softmax_row(float *x, visible see, float max)
{
    const walk w = walk_of(see);
    float partial[LANES] = {0};
    exp_lanes(x, 0, w.first, max, partial);
    exp_lanes(x, w.second, w.end, max, partial);
    const float inverse = 1.0f / rowops_fold_sum(partial);
    multiply_lanes(x, 0, w.first, inverse);
    multiply_lanes(x, w.second, w.end, inverse);
}

const float *softmax_gather(const float *x, visible see, float *to)
{
    memcpy(to, x, see.sinks * sizeof *x);
    memcpy(to + see.sinks, x + see.from, (see.to - see.from) * sizeof *x);
    return to;
}
