// How much work a forward pass is, by formula: exact, padding left out (notes/08-counting.md). What
// it is by counting stands in bench/cost/count.h, and a test holds the two equal.
#ifndef LOCKSTEP_BENCH_COST_H
#define LOCKSTEP_BENCH_COST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/kv/keep/keep.h"
#include "common/model/config.h"

// A pass computes the rows first..T-1 and the last row's logits. A prefill, or any step of naive,
// has first = 0; a cached step has first = T - 1. Numbers are whole, and exact as doubles below
// 2^53.

// Pairs of a row and a key that it attends to: row t sees the keys 0..t, or those that the spec
// lets it see; NULL is plain.
static inline double cost_pairs(const kv_spec *spec, size_t first, size_t T)
{
    double pairs = 0;
    if (!spec || spec->keep == KV_ALL)
        return ((double)T * (double)(T + 1) - (double)first * (double)(first + 1)) / 2;
    for (size_t t = first; t < T; t++)
        pairs += (double)softmax_count(keep_of(spec)->sees(spec, t));
    return pairs;
}

// Multiply-adds of one layer's four matrices for one row.
static inline double cost_layer_row(const config *c)
{
    const double C = (double)c->C, width = (double)config_kv_width(c);
    return C * (C + 2 * width) + C * C + 2 * C * (double)c->F;
}

// Multiply-adds of all layers' matrices; of q.k and p.V; and of everything, logits included.
static inline double cost_linear(const config *c, size_t first, size_t T)
{
    return (double)(T - first) * cost_layer_row(c) * (double)c->L;
}

static inline double cost_attention(const config *c, const kv_spec *spec, size_t first, size_t T)
{
    return 2 * cost_pairs(spec, first, T) * (double)c->C * (double)c->L;
}

static inline double cost_multiply_adds(const config *c, const kv_spec *spec, size_t first,
                                        size_t T)
{
    return cost_linear(c, first, T) + cost_attention(c, spec, first, T) +
           (double)c->V * (double)c->C;
}

// Multiply-adds of a request: a prompt of t tokens, N generated ones. `recompute`: every step
// computes all rows.
static inline double cost_request(const config *c, const kv_spec *spec, bool recompute, size_t t,
                                  size_t N)
{
    double all = cost_multiply_adds(c, spec, 0, t);
    for (size_t n = 1; n < N; n++)
        all += cost_multiply_adds(c, spec, recompute ? 0 : t + n - 1, t + n);
    return all;
}

// exps: one per score, and one per number that GELU takes.
static inline double cost_exps(const config *c, const kv_spec *spec, size_t first, size_t T)
{
    return (cost_pairs(spec, first, T) * (double)c->H + (double)(T - first) * (double)c->F) *
           (double)c->L;
}

// Bytes of the weights that a pass needs, each number once: matrices, biases and norms of all
// layers, the last norm, what makes the logits, and a row of wte and of wpe for each row. All of
// them F32 (bench/cost/count.h counts others).
static inline double cost_weight_bytes(const config *c, size_t first, size_t T)
{
    const double C = (double)c->C, biases = 3 * C + 2 * (double)config_kv_width(c) + (double)c->F,
                 norms = 4 * C; // of one layer
    const double layers = (cost_layer_row(c) + biases + norms) * (double)c->L;
    return (layers + 2 * C + (double)c->V * C + 2 * C * (double)(T - first)) *
           (double)sizeof(float);
}

// The T at which attention takes as long as all layers' matrices, if a multiply-add of attention
// takes `relative` times as long as one of theirs: in a prefill or a step of naive (T rows), or in
// a cached step (one row). With `relative` 1 it is where the counts cross: T + 1 = 4 C + 2 F, or T
// = 2 C + F, whatever L is.
static inline double cost_crossover(const config *c, bool cached, double relative)
{
    const double keys =
        cost_layer_row(c) / (2 * (double)c->C * relative); // that an average row attends to
    return cached ? keys : 2 * keys - 1;
}

// Bytes of T tokens' keys and values in all layers, in binary32: 2 L G D T floats.
static inline size_t cost_kv_bytes(const config *c, size_t T)
{
    return 2 * c->L * config_kv_width(c) * T * sizeof(float);
}

#endif
