// What a store asks of a pool: memory that several decoders of one model and spec share, one block
// for the same P positions of all L layers. A pool belongs to one thread and outlives its decoders.
#ifndef LOCKSTEP_KV_POOL_H
#define LOCKSTEP_KV_POOL_H

#include "common/kv/page.h"

typedef struct kv_block {
    page *pages;       // (L, bytes of a page)
    size_t references; // sequences that have it in their table
    bool published;    // others may find it: it is never written again
} kv_block;

typedef struct kv_pool {
    // A block with one reference that nobody else has; NULL: none is left.
    kv_block *(*take)(struct kv_pool *pool);
    // One reference less. A sequence releases its pages from the last to the first.
    void (*release)(struct kv_pool *pool, kv_block *block);
    // The published block with these P tokens behind `before` (NULL: at the beginning) in this
    // namespace, with one reference more; NULL: there is none.
    kv_block *(*find)(struct kv_pool *pool, const char *space, const kv_block *before,
                      const int *tokens);
    // `block` is full and complete in every layer. Does nothing where these tokens can be found.
    void (*publish)(struct kv_pool *pool, const char *space, const kv_block *before,
                    kv_block *block, const int *tokens);
    // Pages up to row `found` were found, for a step that would go on at row `first` without them:
    // up to which row are they used? first, or the end of a page. NULL: all of them.
    size_t (*admits)(struct kv_pool *pool, size_t first, size_t found);
    // Of these, rows first..found - 1 are used: the step goes on at row `found`. NULL: nobody asks.
    void (*used)(struct kv_pool *pool, size_t first, size_t found);
} kv_pool;

#endif
