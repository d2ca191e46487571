// The one kernel: rows times panels. The linear layers, q.k and p.V are all this product.
#ifndef LOCKSTEP_KERNEL_H
#define LOCKSTEP_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/math/rows.h"

// What one tile computes at once: its sums fill 24 of 32 registers of 16 lanes, or 12 of 16
// registers of 8. Attention walks over the rows in bands of a few tiles, for which narrow keys and
// values are widened once.
enum { TILE_ROWS = 6, BAND_ROWS = 8 * TILE_ROWS };
#ifdef __AVX512F__
enum { TILE_PANELS = 4 };
#else
enum { TILE_PANELS = 1 };
#endif

// Whether to ask for the unrolling that keeps `sum` in registers was measured per compiler and
// width (notes/04-measuring.md).
#ifndef __clang__
#    define KERNEL_UNROLL _Pragma("GCC unroll 16")
#elif defined(__AVX512F__)
#    define KERNEL_UNROLL _Pragma("unroll")
#else
#    define KERNEL_UNROLL
#endif

// Where the scales of a right-hand side stand, fp16 numbers.
typedef struct panel_scales {
    const uint16_t *at;
    bool by_row;   // one (of kivi: two) for each row of a panel, or for each lane of `block` rows
    size_t block;  // rows, or lanes, of panels side by side, that share one
    size_t before; // by row: lanes of the first block that stand before the first panel
    size_t stride; // by row: from one block of lanes to the next; by lane: from panel to panel
    // By row, the scale of a panel's own first row stands first; by lane, that of row 0.
} panel_scales;

// What stands on the right: `count` panels of 16 lanes, each (K, 16) row-major, `stride` elements
// from one panel to the next; narrow elements lie in words (common/number/panels.h).
typedef struct panels {
    const void *at;
    size_t stride, count;
    size_t first; // rows of each panel that stand before row 0 of the product
    element of;
    panel_scales scales; // of the elements that have one
} panels;

// y (n rows, 16 count) = a (n rows, K) times b, plus bias (16 count) unless that is NULL. With
// `resume`, the sums go on from what y holds instead of from +0.
//
// The contract: y[r][j] is acc = fma(a[r][k], b[k][j], acc) for k = 0..K-1 ascending, then acc +
// bias[j], and nothing else. It depends on row r and column j alone: not on how many rows there
// are, nor on the tile that holds them, nor on the width of a vector.
void kernel_product(size_t n, size_t K, const float *a, size_t a_stride, panels b, float *y,
                    size_t y_stride, const float *bias, bool resume);

#endif
