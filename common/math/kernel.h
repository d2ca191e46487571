// The one kernel: rows times panels. The linear layers, q.k and p.V are all this product.
#ifndef LOCKSTEP_KERNEL_H
#define LOCKSTEP_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/math/rows.h"

// What one tile computes at once: its sums fill 24 of 32 registers of 16 lanes, or 12 of 16
// registers of 8. Attention walks over the rows in steps of TILE_ROWS.
enum { TILE_ROWS = 6 };
#ifdef __AVX512F__
enum { TILE_PANELS = 4 };
#else
enum { TILE_PANELS = 1 };
#endif

// How a number of the right-hand side is stored. The kernel widens it to binary32, exactly, on its
// way into a product.
typedef enum element { ELEMENT_F32, ELEMENT_F16 } element;

// What stands on the right: `count` panels of 16 lanes, each (K, 16) row-major, `stride` elements
// from one panel to the next.
typedef struct panels {
    const void *at;
    size_t stride, count;
    element of;
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
