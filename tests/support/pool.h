// A pool of a few blocks, for tests: what is in no sequence is NaN, unless it can be found.
#ifndef LOCKSTEP_TESTS_POOL_H
#define LOCKSTEP_TESTS_POOL_H

#include "common/kv/pool.h"
#include "common/model/config.h"

enum { POOL_BLOCKS = 64, POOL_PAGE = 128 }; // blocks, and positions of a page, at most

// What can be found: a block's namespace, its tokens, and the block before it.
typedef struct pool_entry {
    const char *space;
    const kv_block *before;
    int tokens[POOL_PAGE];
} pool_entry;

typedef struct pool {
    kv_pool api; // first, so that a pointer to it is one to the pool
    page_shape shape;
    size_t layers;
    size_t left;  // blocks that may still be taken: set it to make a step run out
    size_t found; // hits so far
    kv_block blocks[POOL_BLOCKS];
    pool_entry entries[POOL_BLOCKS];
} pool;

void pool_create(pool *p, const kv_spec *spec, const config *c);
void pool_destroy(pool *p);

// References to all blocks together.
size_t pool_references(const pool *p);

#endif
