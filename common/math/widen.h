// Panels of a narrow form, widened to binary32 a piece at a time.
#ifndef LOCKSTEP_WIDEN_H
#define LOCKSTEP_WIDEN_H

#include "common/math/kernel.h"

// Panels that are widened side by side, and rows whose scales are at a time.
enum { WIDEN_DEPTH = 64, WIDEN_PANELS = 4 };

// Panels that one row is multiplied with at once, and rows that four panels are, if registers hold
// their sums: the more panels there are, the more of them memory is asked for at a time.
enum { WIDEN_MOST = 8, WIDEN_MOST_ROWS = 4 };
#ifdef __AVX512F__
enum { WIDEN_ALONE = WIDEN_MOST };
#else
enum { WIDEN_ALONE = WIDEN_PANELS };
#endif
#if defined(__AVX512F__) && !defined(__clang__) // clang 14 keeps sixteen sums in memory
enum { WIDEN_ROWS = WIDEN_MOST_ROWS };
#else
enum { WIDEN_ROWS = 2 };
#endif

// Rows [k, k + depth) of the panels [p, p + count) of b as every row of a product reads them, each
// panel (depth, 16), `stride` floats from one to the next; k is a multiple of WIDEN_DEPTH, count is
// WIDEN_PANELS or 1.
void widen_panels(const panels *b, size_t p, size_t count, size_t k, size_t depth, float *to,
                  size_t stride);

// y (n, 16 count) = y + a (n, K) times the rows [0, K) of these panels, as kernel_product defines
// it: nothing wide is written. n is 1, with WIDEN_ALONE panels, too; or, where widen_takes_rows
// says so, 2 or WIDEN_ROWS.
void widen_multiply(const panels *b, size_t p, size_t count, size_t K, size_t n, const float *a,
                    size_t a_stride, float *y, size_t y_stride);

// Whether these are multiplied with several rows at once: weights are.
static inline bool widen_takes_rows(const panels *b)
{
    return b->of == ELEMENT_F16 || b->of == ELEMENT_BF16 ||
           (b->of == ELEMENT_Q8 && !b->scales.by_row);
}

#endif
