// The test's pool: linear searches over a few blocks.
#include "tests/support/pool.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/base/memory.h"

// Every element of a page is NaN, whatever its form: all bits are set.
static void poison(pool *p, kv_block *block)
{
    memset(block->pages, 0xff, p->layers * p->shape.bytes);
}

static bool is_parent(const pool *p, const kv_block *block)
{
    for (size_t i = 0; i < POOL_BLOCKS; i++)
        if (p->blocks[i].published && p->entries[i].before == block)
            return true;
    return false;
}

// A block that was never found is taken before one that may be; a parent stays as long as its
// children.
static kv_block *pool_take(kv_pool *api)
{
    pool *p = (pool *)api;
    kv_block *taken = NULL;
    for (size_t i = 0; i < POOL_BLOCKS && p->left > 0; i++) {
        kv_block *b = &p->blocks[i];
        if (b->references == 0 && !is_parent(p, b) &&
            (!taken || (taken->published && !b->published)))
            taken = b;
    }
    if (!taken)
        return NULL;
    p->left--;
    poison(p, taken);
    taken->published = false;
    taken->references = 1;
    return taken;
}

static void pool_release(kv_pool *api, kv_block *block)
{
    pool *p = (pool *)api;
    cr_assert_gt(block->references, 0, "a block is released once too often");
    if (--block->references > 0)
        return;
    p->left++;
    if (!block->published)
        poison(p, block);
}

static kv_block *pool_look(pool *p, const char *space, const kv_block *before, const int *tokens)
{
    for (size_t i = 0; i < POOL_BLOCKS; i++) {
        const pool_entry *e = &p->entries[i];
        if (p->blocks[i].published && e->before == before && strcmp(e->space, space) == 0 &&
            memcmp(e->tokens, tokens, p->shape.P * sizeof *tokens) == 0)
            return &p->blocks[i];
    }
    return NULL;
}

static kv_block *pool_find(kv_pool *api, const char *space, const kv_block *before,
                           const int *tokens)
{
    pool *p = (pool *)api;
    kv_block *found = pool_look(p, space, before, tokens);
    if (!found)
        return NULL;
    p->left -= found->references == 0 ? 1 : 0;
    p->found++;
    found->references++;
    return found;
}

static void pool_publish(kv_pool *api, const char *space, const kv_block *before, kv_block *block,
                         const int *tokens)
{
    pool *p = (pool *)api;
    cr_assert(!before || before->published, "a block is published behind one that is not");
    if (pool_look(p, space, before, tokens))
        return;
    pool_entry *e = &p->entries[block - p->blocks];
    e->space = space;
    e->before = before;
    memcpy(e->tokens, tokens, p->shape.P * sizeof *tokens);
    block->published = true;
}

void pool_create(pool *p, const kv_spec *spec, const config *c)
{
    *p = (pool){.api = {.take = pool_take,
                        .release = pool_release,
                        .find = pool_find,
                        .publish = pool_publish},
                .shape = page_shape_of(spec, c),
                .layers = c->L,
                .left = POOL_BLOCKS};
    for (size_t i = 0; i < POOL_BLOCKS; i++) {
        p->blocks[i].pages = memory_array(p->layers, p->shape.bytes);
        cr_assert_not_null(p->blocks[i].pages);
        poison(p, &p->blocks[i]);
    }
}

void pool_destroy(pool *p)
{
    for (size_t i = 0; i < POOL_BLOCKS; i++)
        memory_free(p->blocks[i].pages);
}

size_t pool_references(const pool *p)
{
    size_t n = 0;
    for (size_t i = 0; i < POOL_BLOCKS; i++)
        n += p->blocks[i].references;
    return n;
}
