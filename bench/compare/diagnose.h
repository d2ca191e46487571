// From patterns in rows to one diagnosis of the whole matrix.
#ifndef LOCKSTEP_BENCH_DIAGNOSE_H
#define LOCKSTEP_BENCH_DIAGNOSE_H

#include "bench/compare/compare.h"

// Whether every row of m is log-probabilities: their exp add up to 1. `row` is (columns).
bool diagnose_log_probs(const npy_matrix *m, double *row);

// Row r of A and row s of B; if one of the two alone holds log-probabilities, the other is turned
// into such.
void diagnose_read(const comparison *c, const npy_matrix *a, size_t r, double *row_a,
                   const npy_matrix *b, size_t s, double *row_b);

// Finds c->diagnosis, once rows and verdict are there; `rows` is (6, columns).
void diagnose(comparison *c, const npy_matrix *a, const npy_matrix *b, double *rows);

#endif
