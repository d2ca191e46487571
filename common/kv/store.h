// What the files of this room share: the store itself.
#ifndef LOCKSTEP_KV_STORE_H
#define LOCKSTEP_KV_STORE_H

#include "common/kv/keep.h"
#include "common/kv/kv.h"
#include "common/kv/page.h"
#include "common/kv/pool.h"

struct kv {
    kv_spec spec;
    const keep *keep;
    page_shape shape;
    size_t layers, T;
    size_t pages;   // of a sequence of T tokens
    page **table;   // (layers, pages): where page i of a layer lies; NULL: nowhere
    page *memory;   // own memory, unless there is a pool: (layers, stock) pages
    size_t stock;   // pages of a layer
    page **spare;   // (layers, stock): those that are in no table, the next one last
    size_t *spares; // (layers)
    kv_pool *pool;  // or NULL
    const char *space;
    kv_block **block; // (pages): the pool's blocks that the table points into
    kv_block **fresh; // (pages): found or taken for the step at hand, not yet in the table
    size_t held;      // rows that every layer holds, or has held and dropped
    size_t dropped;   // positions between the sinks and this one are gone in some layer
    void *scratch;    // (16, D) numbers
    float *row;       // (D): a key or a value as it is read
};

// Page i of layer l of the store.
static inline page **kv_page(const kv *s, size_t l, size_t i)
{
    return s->table + l * s->pages + i;
}

// Gives page i of layer l a place, if it has none; it must have been reserved.
page *kv_place_page(kv *s, size_t l, size_t i);

// Takes all pages of layer l out of the table.
void kv_empty(kv *s, size_t l);

// After row t - 1 of layer l: what no row from t on needs goes back.
void kv_drop(kv *s, size_t l, size_t t);

#endif
