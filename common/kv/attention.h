// Causal attention of new rows over the keys and values kept so far.
#ifndef LOCKSTEP_ATTENTION_H
#define LOCKSTEP_ATTENTION_H

#include "common/kv/kv.h"
#include "common/math/activations.h"
#include "common/math/tap.h"

// a->heads (n, C) = attention of the n rows of a->q over the keys and values of layer l in `kept`,
// which must hold positions 0..first + n - 1 already. Row r stands at position first + r and looks
// at the keys 0..first + r: nothing beyond is read into its result. Vaswani et al. 2017, eq. 1; the
// order of every sum is contract 4 and 5.
void attention(const kv *kept, size_t l, size_t first, activations *a, size_t n, const tap *to);

#endif
