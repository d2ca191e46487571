// The decoder with a KV cache.
#ifndef LOCKSTEP_KVCACHE_H
#define LOCKSTEP_KVCACHE_H

#include "common/decoder.h"

extern const decoder_api kvcache_decoder;

// What such a decoder remembers, for a snapshot (kvcache/snapshot/snapshot.h).
typedef struct kvcache_state {
    const model *m;
    struct activations *a; // room for T_max rows
    struct kv *kept;
    int *seen; // (T_max)
    size_t *length;
    size_t T_max;
} kvcache_state;

kvcache_state kvcache_state_of(decoder *d);

#endif
