// The row operations of a GPT-2: what turns rows of activations into rows of activations. None of
// them has a path that depends on how many rows there are or knows who calls it: row r of the
// result depends on row r of the input alone, bit for bit.
#ifndef LOCKSTEP_ROWOPS_H
#define LOCKSTEP_ROWOPS_H

#include "common/math/rows.h"
#include "common/model/model.h"

// x (T - first, C): row r = wte[tokens[first + r]] + wpe[first + r], or the row that the model was
// given under that id.
void rowops_embed(const model *m, const int *tokens, size_t first, size_t T, rows *x);

// y (n, C) = layer norm of x (n, C): Ba, Kiros and Hinton 2016; sums in the order of contract 3.
void rowops_layer_norm(const norm *w, float eps, const rows *x, rows *y, size_t n);

// y (n, N) = x (n, K) W + b.
void rowops_linear(const linear *w, const rows *x, rows *y, size_t n);

// x (n, F) = gelu_new(x), in place.
void rowops_gelu(rows *x, size_t n);

// x (n, C) += y (n, C): the residual stream.
void rowops_add(rows *x, const rows *y, size_t n);

// Contract 3: the 16 partial sums of a row become one, lane j with lane j + half, from half = 8 on.
float rowops_fold_sum(float partial[LANES]);

#endif
