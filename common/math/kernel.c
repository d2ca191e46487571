// The tile: a few rows times a few panels, all sums in registers. Plain C; the compiler makes the
// vectors.
#include "common/math/kernel.h"

#include "common/math/lanes.h"
#include "common/math/numeric.h"

// What all rows pass over before the next is fetched: this much of the right-hand side (192 KiB)
// stays in the second-level cache.
enum {
    GROUP = 4,  // panels
    DEPTH = 768 // of their rows
};

// Whether to ask for the unrolling that keeps `sum` in registers was measured per compiler and
// width (notes/04-measuring.md).
#ifndef __clang__
#    define UNROLL _Pragma("GCC unroll 16")
#elif defined(__AVX512F__)
#    define UNROLL _Pragma("unroll")
#else
#    define UNROLL
#endif

// sum[j] = fma(x, b[j], sum[j]) for one row of a panel. Lanes run over outputs j and never over k:
// this is why neither the tile nor the width of a vector can change a bit.
static inline __attribute__((always_inline)) void accumulate(float *restrict sum, float x,
                                                             const float *restrict b)
{
#pragma omp simd
    for (size_t j = 0; j < LANES; j++)
        sum[j] = numeric_fma(x, b[j], sum[j]);
}

static inline __attribute__((always_inline)) void add_lanes(float *restrict sum,
                                                            const float *restrict bias)
{
#pragma omp simd
    for (size_t j = 0; j < LANES; j++)
        sum[j] += bias[j];
}

static inline __attribute__((always_inline)) void copy_lanes(float *restrict to,
                                                             const float *restrict from)
{
#pragma omp simd
    for (size_t j = 0; j < LANES; j++)
        to[j] = from[j];
}

static inline __attribute__((always_inline)) void
start_lanes(float *restrict sum, const float *restrict y, const bool resume)
{
#pragma omp simd
    for (size_t j = 0; j < LANES; j++)
        sum[j] = resume ? y[j] : 0.0f;
}

// Row k of panel p, of binary32 numbers, times the rows of a.
static inline __attribute__((always_inline)) void
multiply_row(const size_t height, float sum[][GROUP][LANES], size_t p, const float *restrict a,
             size_t a_stride, const float *restrict b)
{
    UNROLL for (size_t r = 0; r < height; r++) accumulate(sum[r][p], a[r * a_stride], b);
}

// Every call has constants for `height`, `count`, `of` and `resume`: the loops over them are
// unrolled after inlining.
static inline __attribute__((always_inline)) void tile(const size_t height, const size_t count,
                                                       size_t K, const float *restrict a,
                                                       size_t a_stride, panels b, const element of,
                                                       float *restrict y, size_t y_stride,
                                                       const float *bias, const bool resume)
{
    float sum[TILE_ROWS][GROUP][LANES];
    UNROLL for (size_t r = 0; r < height; r++) UNROLL for (size_t p = 0; p < count; p++)
        start_lanes(sum[r][p], y + r * y_stride + p * LANES, resume);
    for (size_t k = 0; k < K; k++)
        UNROLL for (size_t p = 0; p < count; p++)
        {
            const size_t at = p * b.stride + k * LANES;
            if (of == ELEMENT_F32) {
                multiply_row(height, sum, p, a + k, a_stride, (const float *)b.at + at);
            } else {
                float wide[LANES];
                lanes_widen_f16((const uint16_t *)b.at + at, wide);
                multiply_row(height, sum, p, a + k, a_stride, wide);
            }
        }
    if (bias)
        UNROLL for (size_t r = 0; r < height; r++) UNROLL for (size_t p = 0; p < count; p++)
            add_lanes(sum[r][p], bias + p * LANES);
    UNROLL for (size_t r = 0; r < height; r++) UNROLL for (size_t p = 0; p < count; p++)
        copy_lanes(y + r * y_stride + p * LANES, sum[r][p]);
}

static size_t tile_height(size_t left)
{
    return left >= TILE_ROWS ? TILE_ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// The same panels from panel p and row k on.
static inline panels move_to(panels b, size_t p, size_t k)
{
    const size_t width = b.of == ELEMENT_F32 ? sizeof(float) : sizeof(uint16_t);
    b.at = (const char *)b.at + (p * b.stride + k * LANES) * width;
    return b;
}

// One tile's rows times GROUP panels, or one; then plus bias, unless it is NULL.
static inline __attribute__((always_inline)) void
strip_of(const element of, size_t height, size_t K, const float *a, size_t a_stride, panels b,
         float *y, size_t y_stride, const float *bias, bool resume)
{
#define TILE(ROWS, COUNT)                                                                          \
    (resume ? tile(ROWS, COUNT, K, a, a_stride, b, of, y, y_stride, bias, true)                    \
            : tile(ROWS, COUNT, K, a, a_stride, b, of, y, y_stride, bias, false))
    bool group = b.count == GROUP;
    switch (height) {
    case TILE_ROWS:
        if (!group)
            TILE(TILE_ROWS, 1);
        for (size_t p = 0; group && p < GROUP; p += TILE_PANELS) {
            TILE(TILE_ROWS, TILE_PANELS);
            b = move_to(b, TILE_PANELS, 0);
            y += TILE_PANELS * LANES;
            bias = bias ? bias + TILE_PANELS * LANES : NULL;
        }
        break;
    case 4:
        group ? TILE(4, GROUP) : TILE(4, 1);
        break;
    case 2:
        group ? TILE(2, GROUP) : TILE(2, 1);
        break;
    default:
        group ? TILE(1, GROUP) : TILE(1, 1);
    }
#undef TILE
}

static void strip_f32(size_t height, size_t K, const float *a, size_t a_stride, panels b, float *y,
                      size_t y_stride, const float *bias, bool resume)
{
    strip_of(ELEMENT_F32, height, K, a, a_stride, b, y, y_stride, bias, resume);
}

static void strip_f16(size_t height, size_t K, const float *a, size_t a_stride, panels b, float *y,
                      size_t y_stride, const float *bias, bool resume)
{
    strip_of(ELEMENT_F16, height, K, a, a_stride, b, y, y_stride, bias, resume);
}

// All rows times GROUP panels, or one, to a depth of at most DEPTH; then plus bias, unless it is
// NULL.
static void slab(size_t n, size_t K, const float *a, size_t a_stride, panels b, float *y,
                 size_t y_stride, const float *bias, bool resume)
{
    for (size_t r = 0, height; r < n; r += height) {
        height = tile_height(n - r);
        (b.of == ELEMENT_F32 ? strip_f32 : strip_f16)(height, K, a + r * a_stride, a_stride, b,
                                                      y + r * y_stride, y_stride, bias, resume);
    }
}

void kernel_product(size_t n, size_t K, const float *a, size_t a_stride, panels b, float *y,
                    size_t y_stride, const float *bias, bool resume)
{
    for (size_t p = 0, count; p < b.count; p += count) {
        count = b.count - p >= GROUP ? GROUP : 1;
        size_t k = 0, depth;
        do {
            depth = K - k < DEPTH ? K - k : DEPTH;
            panels part = move_to(b, p, k);
            part.count = count;
            const float *bias_at_end = bias && k + depth == K ? bias + p * LANES : NULL;
            slab(n, depth, a + k, a_stride, part, y + p * LANES, y_stride, bias_at_end,
                 resume || k > 0);
            k += depth;
        } while (k < K);
    }
}
