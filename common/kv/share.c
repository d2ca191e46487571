// Pages of a pool: found, taken and published by a store that has one.
#include <string.h>

#include "common/base/size.h"
#include "common/kv/store.h"

// Gives back the fresh blocks from page `i` on, the last one first.
static void give_back_fresh(kv *s, size_t i)
{
    for (size_t j = s->pages; j-- > i;)
        if (s->fresh[j]) {
            s->pool->release(s->pool, s->fresh[j]);
            s->fresh[j] = NULL;
        }
}

// Full pages of the same tokens behind the `first` rows at hand, as many as the pool admits.
// Returns how many rows there will be.
static size_t find_pages(kv *s, const int *tokens, size_t first, size_t most)
{
    const size_t P = s->shape.P;
    size_t i = first / P;
    const kv_block *before = i > 0 ? s->block[i - 1] : NULL;
    for (; s->dropped == 0 && (i + 1) * P <= most; i++) {
        before = s->fresh[i] = s->pool->find(s->pool, s->space, before, tokens + i * P);
        if (!before)
            break;
    }
    size_t found = i * P > first ? i * P : first;
    if (found > first && s->pool->admits)
        found = s->pool->admits(s->pool, first, found);
    if (found > first && s->shape.group) // a part of a group cannot be gone on from
        found = size_max(first, kv_group_start(s, found));
    give_back_fresh(s, found / P);
    return found;
}

// Whether rows may be written into page i of this sequence.
static bool is_own(const kv *s, size_t i)
{
    return s->block[i] && !s->block[i]->published && s->block[i]->references == 1;
}

// Takes a block for each page in which rows first..T-1 are going to be written.
static status reserve(kv *s, size_t first, size_t T)
{
    for (size_t i = first / s->shape.P; i < kv_pages_for(s, T); i++)
        if (!is_own(s, i) && !(s->fresh[i] = s->pool->take(s->pool))) {
            give_back_fresh(s, 0);
            return status_fail("no page is left in the pool for %zu tokens: give it more memory, "
                               "or end other sequences, or reset this one",
                               T);
        }
    return NULL;
}

// Gives the found and the reserved blocks their places. The page in which row `first` is going to
// be written is copied where rows before it stay: others may be reading it.
static void install_fresh(kv *s, size_t first)
{
    for (size_t i = s->pages; i-- > 0;)
        if (s->fresh[i]) {
            if (i == first / s->shape.P && first > i * s->shape.P)
                memcpy(s->fresh[i]->pages, s->block[i]->pages, s->layers * s->shape.bytes);
            kv_remove_page(s, i);
            s->block[i] = s->fresh[i];
            s->fresh[i] = NULL;
        }
}

// Pages that a window has left behind stay the sequence's, so that others find them: in a pool a
// window saves time, not memory.
status kv_share(kv *s, const int *tokens, size_t T, size_t most, size_t *first)
{
    const size_t found = find_pages(s, tokens, *first, most);
    status failed = reserve(s, found, T);
    if (failed)
        return failed;
    if (found > *first && s->pool->used)
        s->pool->used(s->pool, *first, found);
    install_fresh(s, found);
    for (size_t i = found / s->shape.P; i-- > 0;)
        for (size_t l = 0; l < s->layers; l++)
            kv_place_page(s, l, i);
    *first = found;
    return NULL;
}

// A page can only be found behind one that can be found itself: where another sequence has
// published the same tokens first, what follows in this one stays its own.
void kv_publish(kv *s, const int *tokens, size_t T)
{
    const size_t P = s->shape.P;
    const kv_block *before = NULL;
    for (size_t i = 0; i < kv_group_start(s, T) / P; i++) {
        if (!s->block[i]->published)
            s->pool->publish(s->pool, s->space, before, s->block[i], tokens + i * P);
        before = s->block[i];
        if (!before->published)
            return;
    }
}
