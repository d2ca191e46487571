// How much work a forward pass is: exact counts, padding left out (notes/04-measuring.md).
#ifndef LOCKSTEP_BENCH_COST_H
#define LOCKSTEP_BENCH_COST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/config.h"

// Multiply-adds of one layer's four matrices for one row.
static inline double cost_layer_row(const config *c)
{
    return 4.0 * (double)c->C * (double)c->C + 2.0 * (double)c->C * (double)c->F;
}

// Multiply-adds of the rows first..T-1 over all layers, and of the last row's logits. A prefill, or any step of naive,
// has first = 0; a cached step has first = T - 1.
static inline double cost_multiply_adds(const config *c, size_t first, size_t T)
{
    double rows = (double)(T - first), C = (double)c->C, L = (double)c->L;
    double keys = ((double)T * (double)(T + 1) - (double)first * (double)(first + 1)) / 2; // that these rows attend to
    return rows * cost_layer_row(c) * L + 2 * keys * C * L + (double)c->V * C;
}

// Multiply-adds of a request: a prompt of t tokens, N generated ones. `recompute`: every step computes all rows.
static inline double cost_request(const config *c, bool recompute, size_t t, size_t N)
{
    double all = cost_multiply_adds(c, 0, t);
    for (size_t n = 1; n < N; n++)
        all += cost_multiply_adds(c, recompute ? 0 : t + n - 1, t + n);
    return all;
}

// Bytes of K and V for t tokens.
static inline size_t cost_kv_bytes(const config *c, size_t t)
{
    return 2 * c->L * c->C * sizeof(float) * t;
}

#endif
