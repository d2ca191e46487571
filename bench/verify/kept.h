// Which rows each head keeps, where that is known only once they have been attended to (heavy:R+H):
// a digest of the positions that each row of a recompute sees, and of those that a cache holds.
#ifndef LOCKSTEP_BENCH_KEPT_H
#define LOCKSTEP_BENCH_KEPT_H

#include <stdint.h>

#include "common/decoder.h"

typedef struct kept_sets {
    size_t L, G, T;
    uint64_t *digest; // (T, L, G) of the positions before its own that row t sees; NULL: none
} kept_sets;

// Room for those of T rows, for a spec under which they have to be watched; nothing otherwise.
status kept_create(const config *c, const kv_spec *spec, size_t T, kept_sets *out);
void kept_free(kept_sets *k);

// The observer of the recompute; `user` is the kept_sets.
void kept_watch(void *user, stage s, int l, int head, size_t t, const float *values, size_t n);

// Whether this layer and head of d hold, of the positions below `last`, what row T of the recompute
// sees. True where T is not below k's.
bool kept_same(const kept_sets *k, const decoder_api *api, const decoder *d, size_t l, size_t head,
               size_t T, size_t last);

#endif
