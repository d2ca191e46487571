// A hash table of chains of pages, and the list of those that nobody uses.
#include "kvcache/prefix/prefix_index.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"

status prefix_index_create(const prefix_policy *policy, size_t P, size_t expected,
                           prefix_index *out)
{
    *out = (prefix_index){.policy = *policy, .P = P, .buckets = 16};
    if (!out->policy.hash)
        out->policy.hash = prefix_hash_tokens;
    while (out->buckets < expected)
        out->buckets *= 2;
    out->bucket = memory_array(out->buckets, sizeof *out->bucket);
    return out->bucket ? NULL : memory_failed("the index of the prompt cache");
}

void prefix_index_free(prefix_index *x)
{
    memory_free(x->bucket);
    *x = (prefix_index){0};
}

uint64_t prefix_hash_tokens(uint64_t before, const int *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        before = random_splitmix64(before ^ (uint64_t)(unsigned)tokens[i]);
    return before;
}

static uint64_t hash_of(const prefix_index *x, const unsigned char root[PREFIX_ROOT],
                        const prefix_entry *parent, const int *tokens)
{
    uint64_t before;
    memcpy(&before, root, sizeof before);
    return x->policy.hash(parent ? parent->hash : before, tokens, x->P);
}

static prefix_entry **bucket_of(const prefix_index *x, uint64_t hash)
{
    return &x->bucket[hash & (x->buckets - 1)];
}

static bool is_over(const prefix_index *x, const prefix_entry *e, uint64_t now)
{
    const prefix_policy *p = &x->policy;
    return (p->idle > 0 && e->users == 0 && now - e->touched > p->idle) ||
           (p->absolute > 0 && now - e->made > p->absolute);
}

// The parent stands for all tokens before these, for it was found by comparing them.
static bool is_equal(const prefix_index *x, const prefix_entry *e, const unsigned char *root,
                     const prefix_entry *parent, const int *tokens)
{
    return e->parent == parent && memcmp(e->root, root, PREFIX_ROOT) == 0 &&
           memcmp(e->tokens, tokens, x->P * sizeof *tokens) == 0;
}

prefix_entry *prefix_index_find(const prefix_index *x, const unsigned char root[PREFIX_ROOT],
                                const prefix_entry *parent, const int *tokens, uint64_t now)
{
    const uint64_t hash = hash_of(x, root, parent, tokens);
    for (prefix_entry *e = *bucket_of(x, hash); e; e = e->next)
        if (e->hash == hash && is_equal(x, e, root, parent, tokens))
            return is_over(x, e, now) ? NULL : e;
    return NULL;
}

void prefix_index_insert(prefix_index *x, prefix_entry *e, uint64_t now)
{
    e->hash = hash_of(x, e->root, e->parent, e->tokens);
    e->depth = e->parent ? e->parent->depth + 1 : 1;
    e->children = 0;
    e->users = e->uses = 1;
    e->made = e->touched = now;
    e->older = e->newer = NULL;
    e->next = *bucket_of(x, e->hash);
    *bucket_of(x, e->hash) = e;
    if (e->parent)
        e->parent->children++;
    x->entries++;
}

// ---- the list ----

static void append(prefix_index *x, prefix_entry *e)
{
    e->older = x->newest;
    e->newer = NULL;
    *(x->newest ? &x->newest->newer : &x->oldest) = e;
    x->newest = e;
}

static void take_out(prefix_index *x, prefix_entry *e)
{
    *(e->older ? &e->older->newer : &x->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &x->newest) = e->older;
}

void prefix_index_hold(prefix_index *x, prefix_entry *e)
{
    if (e->users++ == 0)
        take_out(x, e);
}

void prefix_index_use(prefix_index *x, prefix_entry *e)
{
    prefix_index_hold(x, e);
    e->uses++;
}

void prefix_index_end(prefix_index *x, prefix_entry *e, uint64_t now)
{
    e->touched = now;
    if (--e->users == 0)
        append(x, e);
}

prefix_entry *prefix_index_victim(const prefix_index *x)
{
    prefix_entry *least = NULL;
    for (prefix_entry *e = x->oldest; e; e = e->newer) {
        if (e->children > 0)
            continue;
        if (x->policy.order == PREFIX_LRU)
            return e;
        if (!least || e->uses < least->uses)
            least = e;
    }
    return least;
}

// Nothing can be found behind a page whose absolute lifetime has ended.
static bool is_lost(const prefix_index *x, const prefix_entry *e, uint64_t now)
{
    bool lost = is_over(x, e, now);
    while (!lost && x->policy.absolute > 0 && (e = e->parent))
        lost = now - e->made > x->policy.absolute;
    return lost;
}

prefix_entry *prefix_index_expired(const prefix_index *x, uint64_t now)
{
    if (x->policy.idle == 0 && x->policy.absolute == 0)
        return NULL;
    for (prefix_entry *e = x->oldest; e; e = e->newer) {
        if (e->children == 0 && is_lost(x, e, now))
            return e;
        if (x->policy.absolute == 0 && now - e->touched <= x->policy.idle)
            return NULL; // the others were touched later
    }
    return NULL;
}

void prefix_index_remove(prefix_index *x, prefix_entry *e)
{
    prefix_entry **at = bucket_of(x, e->hash);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    take_out(x, e);
    if (e->parent)
        e->parent->children--;
    x->entries--;
}
