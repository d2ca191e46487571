// A matrix of activations: one row per token, each row a whole number of cache lines.
#ifndef LOCKSTEP_ROWS_H
#define LOCKSTEP_ROWS_H

#include <stddef.h>

#include "common/number/panels.h"

typedef struct rows {
    float *at;     // (rows, n), row r starts at at + r * stride
    size_t n;      // values in a row
    size_t stride; // floats from one row to the next: n padded to whole panels, and one line more,
                   // so that the rows of a tile do not all fall into the same set of the
                   // first-level cache when n is a power of two
} rows;

static inline size_t rows_stride(size_t n)
{
    return padded(n) + LANES;
}

static inline float *row(const rows *m, size_t r)
{
    return m->at + r * m->stride;
}

// The columns [from, from + n) of m, in place: q, k, v inside qkv; one head inside q.
static inline rows rows_columns(const rows *m, size_t from, size_t n)
{
    return (rows){.at = m->at + from, .n = n, .stride = m->stride};
}

// The rows from r on, in place.
static inline rows rows_from(const rows *m, size_t r)
{
    return (rows){.at = row(m, r), .n = m->n, .stride = m->stride};
}

#endif
