// Keys and values of one or more layers, packed for the kernel: K as panels over time (a lane is a
// key), V as panels over a head's channels.
#ifndef LOCKSTEP_KV_H
#define LOCKSTEP_KV_H

#include "common/base/status.h"
#include "common/math/kernel.h"
#include "common/math/rows.h"
#include "common/model/model.h"

typedef struct kv {
    float *k, *v; // per layer and head: (ceil(T/16), D, 16), and (ceil(D/16), padded T, 16)
    size_t layers, H, D, T;
} kv;

// Room for T tokens in `layers` layers. What has not been stored is never read.
status kv_create(const config *c, size_t layers, size_t T, kv *out);
void kv_free(kv *kept);

// Stores rows [first, first + n) of layer l: k and v are (n, C) with the heads side by side, row 0
// being position `first`.
void kv_store(kv *kept, size_t l, size_t first, const rows *k, const rows *v, size_t n);

// The keys of a head as a right-hand side for rows of q, covering positions 0..T-1 (K = D); its
// values for rows of p (K = T).
panels kv_keys(const kv *kept, size_t l, size_t head, size_t T);
panels kv_values(const kv *kept, size_t l, size_t head);

// Copies out one position's key and value, (D) each.
void kv_read(const kv *kept, size_t l, size_t head, size_t t, float *k, float *v);

// Bytes that T tokens take when all layers keep theirs: 2 L C T floats, padding not counted.
static inline size_t kv_bytes(const config *c, size_t T)
{
    return 2 * c->L * c->C * T * sizeof(float);
}

#endif
