// The tile: a few rows times a few panels, all sums in registers. Plain C; the compiler makes the
// vectors.
#include "common/math/kernel.h"

#include <string.h>

#include "common/base/size.h"
#include "common/math/widen.h"
#include "common/number/numeric.h"

// What all rows pass over before the next is fetched: this much of the right-hand side (192 KiB)
// stays in the second-level cache.
enum {
    GROUP = WIDEN_PANELS,
    DEPTH = 768, // of their rows
    WIDE = 256,  // or, widened, of narrow ones, 64 KiB
    FEW = 8      // rows for which that does not pay
};

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

// Every call has constants for `height`, `count` and `resume`: the loops over them are unrolled
// after inlining.
static inline __attribute__((always_inline)) void
tile(const size_t height, const size_t count, size_t K, const float *restrict a, size_t a_stride,
     const float *restrict b, size_t b_stride, float *restrict y, size_t y_stride,
     const float *bias, const bool resume)
{
    float sum[TILE_ROWS][GROUP][LANES];
    KERNEL_UNROLL for (size_t r = 0; r < height; r++)
        KERNEL_UNROLL for (size_t p = 0; p < count; p++)
            start_lanes(sum[r][p], y + r * y_stride + p * LANES, resume);
    for (size_t k = 0; k < K; k++)
        KERNEL_UNROLL for (size_t p = 0; p < count; p++)
            KERNEL_UNROLL for (size_t r = 0; r < height; r++)
                accumulate(sum[r][p], a[r * a_stride + k], b + p * b_stride + k * LANES);
    if (bias)
        KERNEL_UNROLL for (size_t r = 0; r < height; r++)
            KERNEL_UNROLL for (size_t p = 0; p < count; p++) add_lanes(sum[r][p], bias + p * LANES);
    KERNEL_UNROLL for (size_t r = 0; r < height; r++)
        KERNEL_UNROLL for (size_t p = 0; p < count; p++)
            copy_lanes(y + r * y_stride + p * LANES, sum[r][p]);
}

static size_t tile_height(size_t left)
{
    return left >= TILE_ROWS ? TILE_ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// One tile's rows times GROUP panels, or one; then plus bias, unless it is NULL.
static void strip(size_t height, size_t K, const float *a, size_t a_stride, const float *b,
                  size_t b_stride, bool group, float *y, size_t y_stride, const float *bias,
                  bool resume)
{
#define TILE(ROWS, COUNT)                                                                          \
    (resume ? tile(ROWS, COUNT, K, a, a_stride, b, b_stride, y, y_stride, bias, true)              \
            : tile(ROWS, COUNT, K, a, a_stride, b, b_stride, y, y_stride, bias, false))
    switch (height) {
    case TILE_ROWS:
        if (!group)
            TILE(TILE_ROWS, 1);
        for (size_t p = 0; group && p < GROUP; p += TILE_PANELS) {
            TILE(TILE_ROWS, TILE_PANELS);
            b += TILE_PANELS * b_stride;
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

// All rows times GROUP panels, or one, to a depth of at most DEPTH; then plus bias, unless it is
// NULL.
static void slab(size_t n, size_t K, const float *a, size_t a_stride, const float *b,
                 size_t b_stride, bool group, float *y, size_t y_stride, const float *bias,
                 bool resume)
{
    for (size_t r = 0, height; r < n; r += height) {
        height = tile_height(n - r);
        strip(height, K, a + r * a_stride, a_stride, b, b_stride, group, y + r * y_stride, y_stride,
              bias, resume);
    }
}

// A few rows times narrow panels, which go into the sums as they are widened: nothing of them is
// kept wide.
static void few_narrow_rows(size_t n, size_t K, const float *a, size_t a_stride, const panels *b,
                            float *y, size_t y_stride, const float *bias, bool resume)
{
    for (size_t r = 0; r < n && !resume; r++)
        memset(y + r * y_stride, 0, b->count * LANES * sizeof *y);
    for (size_t p = 0, count; p < b->count; p += count) {
        const size_t left = b->count - p, most = n == 1 ? WIDEN_ALONE : GROUP;
        count = left >= most ? most : left >= GROUP ? GROUP : 1;
        for (size_t r = 0, some; r < n; r += some) {
            some = n - r >= WIDEN_ROWS ? WIDEN_ROWS : n - r >= 2 ? 2 : 1;
            widen_multiply(b, p, count, K, some, a + r * a_stride, a_stride,
                           y + r * y_stride + p * LANES, y_stride);
        }
        for (size_t r = 0; bias && r < n; r++)
            for (size_t q = p; q < p + count; q++)
                add_lanes(y + r * y_stride + q * LANES, bias + q * LANES);
    }
}

// Rows times narrow panels: a piece is widened once for all of them.
static void narrow_rows(size_t n, size_t K, const float *a, size_t a_stride, const panels *b,
                        float *y, size_t y_stride, const float *bias, bool resume)
{
    for (size_t p = 0, count; p < b->count; p += count) {
        count = b->count - p >= GROUP ? GROUP : 1;
        size_t k = 0, depth;
        do {
            float wide[GROUP][WIDE][LANES];
            depth = size_min(K - k, WIDE);
            widen_panels(b, p, count, k, depth, wide[0][0], sizeof *wide / sizeof(float));
            slab(n, depth, a + k, a_stride, wide[0][0], sizeof *wide / sizeof(float),
                 count == GROUP, y + p * LANES, y_stride,
                 bias && k + depth == K ? bias + p * LANES : NULL, resume || k > 0);
            k += depth;
        } while (k < K);
    }
}

void kernel_product(size_t n, size_t K, const float *a, size_t a_stride, panels b, float *y,
                    size_t y_stride, const float *bias, bool resume)
{
    if (b.of != ELEMENT_F32 && (n == 1 || (n <= FEW && widen_takes_rows(&b)))) {
        few_narrow_rows(n, K, a, a_stride, &b, y, y_stride, bias, resume);
        return;
    }
    if (b.of != ELEMENT_F32) {
        narrow_rows(n, K, a, a_stride, &b, y, y_stride, bias, resume);
        return;
    }
    for (size_t p = 0, count; p < b.count; p += count) {
        count = b.count - p >= GROUP ? GROUP : 1;
        size_t k = 0, depth;
        do {
            depth = size_min(K - k, DEPTH);
            slab(n, depth, a + k, a_stride,
                 (const float *)b.at + p * b.stride + (b.first + k) * LANES, b.stride,
                 count == GROUP, y + p * LANES, y_stride,
                 bias && k + depth == K ? bias + p * LANES : NULL, resume || k > 0);
            k += depth;
        } while (k < K);
    }
}
