// The pool's memory: blocks are made until the budget is used up, then taken from those that can be
// found and that nobody uses.
#include "kvcache/prefix/prefix.h"

#include <sha2.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/base/version.h"
#include "kvcache/prefix/prefix_disk.h"

// A block, and what it is found by.
typedef struct held {
    kv_block block; // first, so that a pointer to it is one to this
    prefix_entry entry;
    int *tokens;       // (P)
    prefix_slot *slot; // where it lies on disk as well, or NULL
} held;

typedef struct prefix_pool {
    kv_pool api; // first, as above
    prefix_options o;
    page_shape shape;
    size_t layers, block_bytes;
    unsigned char base[PREFIX_ROOT]; // the root, without a namespace
    prefix_index index;
    prefix_disk *disk; // or NULL
    held **all;        // (most)
    size_t most;       // blocks that the budget pays for
    size_t made;       // of which there are so many
    held *spare;       // neither used nor found: linked by entry.next
    size_t breakpoint[PREFIX_BREAKPOINTS], breakpoints;
    prefix_counters count;
} prefix_pool;

static prefix_pool *pool_of(kv_pool *api)
{
    return (prefix_pool *)api;
}

static uint64_t now(const prefix_pool *p)
{
    return p->o.clock ? p->o.clock() : clock_ns();
}

// ---- roots ----

static status base_root(const model *m, const kv_spec *spec, unsigned char root[PREFIX_ROOT])
{
    char digest[65], name[KV_NAME], numbers[CONFIG_TEXT], text[1024];
    status failed = model_digest(m, digest);
    if (failed)
        return failed;
    const int n = snprintf(text, sizeof text, "lockstep %d %s %s kv=%s page=%zu",
                           (int)CONTRACT_VERSION, config_text(&m->config, numbers), digest,
                           kv_name_in_memory(spec, name), page_shape_of(spec, &m->config).P);
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)text, (size_t)n);
    SHA256Final(root, &sha);
    return NULL;
}

// No namespace is another one than the empty name.
static void add_space(const unsigned char base[PREFIX_ROOT], const char *space,
                      unsigned char root[PREFIX_ROOT])
{
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, base, PREFIX_ROOT);
    if (space)
        SHA256Update(&sha, (const uint8_t *)space, strlen(space) + 1);
    SHA256Final(root, &sha);
}

status prefix_root(const model *m, const kv_spec *spec, const char *space,
                   unsigned char root[PREFIX_ROOT])
{
    unsigned char base[PREFIX_ROOT];
    status failed = base_root(m, spec, base);
    if (!failed)
        add_space(base, space, root);
    return failed;
}

// ---- memory ----

static void put_aside(prefix_pool *p, held *h)
{
    h->entry.next = p->spare ? &p->spare->entry : NULL;
    p->spare = h;
}

static held *held_of(prefix_entry *e)
{
    return e ? (held *)((char *)e - offsetof(held, entry)) : NULL;
}

static void leave_slot(held *h)
{
    if (h->slot)
        h->slot->use = NULL;
    h->slot = NULL;
}

// A page that has to make room goes to disk, behind those that it stands on; where one of these
// finds no room there, it does not.
static void spill(prefix_pool *p, held *h)
{
    held *before = held_of(h->entry.parent);
    if (h->slot) {
        prefix_disk_touch(p->disk, h->slot, &h->entry);
        return;
    }
    if (before && !before->slot)
        spill(p, before);
    if (!before || before->slot)
        prefix_disk_write(p->disk, before ? before->slot : NULL, &h->entry, h->block.pages, now(p),
                          &h->slot);
}

// What can be found is found no more in memory.
static void evict(prefix_pool *p, prefix_entry *e)
{
    held *h = held_of(e);
    leave_slot(h);
    prefix_index_remove(&p->index, e);
    h->block.published = false;
    put_aside(p, h);
    p->count.evictions++;
}

static void evict_expired(prefix_pool *p)
{
    for (prefix_entry *e; (e = prefix_index_expired(&p->index, now(p)));)
        evict(p, e);
}

// NULL: no memory.
static held *make_block(prefix_pool *p)
{
    held *h = memory_array(1, sizeof *h);
    if (!h)
        return NULL;
    h->block.pages = memory_array(p->layers, p->shape.bytes);
    h->tokens = memory_array(p->shape.P, sizeof *h->tokens);
    if (!h->block.pages || !h->tokens) {
        memory_free(h->block.pages);
        memory_free(h->tokens);
        memory_free(h);
        return NULL;
    }
    p->all[p->made++] = h;
    p->count.bytes += p->block_bytes;
    return h;
}

static held *take_spare(prefix_pool *p)
{
    held *h = p->spare;
    if (h)
        p->spare = held_of(h->entry.next);
    return h;
}

static kv_block *take(kv_pool *api)
{
    prefix_pool *p = pool_of(api);
    held *h = take_spare(p);
    if (!h && p->made < p->most)
        h = make_block(p);
    prefix_entry *victim = h ? NULL : prefix_index_victim(&p->index);
    if (victim) {
        if (p->disk)
            spill(p, held_of(victim));
        evict(p, victim);
        h = take_spare(p);
    }
    if (!h)
        return NULL;
    h->block.references = 1;
    return &h->block;
}

static void release(kv_pool *api, kv_block *block)
{
    prefix_pool *p = pool_of(api);
    held *h = (held *)block;
    block->references--;
    if (block->published)
        prefix_index_end(&p->index, &h->entry, now(p));
    else if (block->references == 0)
        put_aside(p, h);
}

// ---- sharing ----

static void copy_root(const prefix_pool *p, const char *space, const kv_block *before,
                      unsigned char root[PREFIX_ROOT])
{
    if (before)
        memcpy(root, ((const held *)before)->entry.root, PREFIX_ROOT);
    else
        add_space(p->base, space, root);
}

static held *look_up(const prefix_pool *p, const unsigned char root[PREFIX_ROOT],
                     const kv_block *before, const int *tokens)
{
    const prefix_entry *parent = before ? &((const held *)before)->entry : NULL;
    if (before && !before->published)
        return NULL;
    return held_of(prefix_index_find(&p->index, root, parent, tokens, now(p)));
}

// From now on others can find it behind `before`.
static void insert(prefix_pool *p, held *h, const kv_block *before, const int *tokens)
{
    memcpy(h->tokens, tokens, p->shape.P * sizeof *tokens);
    h->entry.parent = before ? &((held *)before)->entry : NULL;
    h->entry.tokens = h->tokens;
    h->block.published = true;
    prefix_index_insert(&p->index, &h->entry, now(p));
}

// The slot of this page, if it is on disk.
static prefix_slot *find_slot(const prefix_pool *p, const unsigned char root[PREFIX_ROOT],
                              const kv_block *before, const int *tokens)
{
    const prefix_slot *behind = before ? ((const held *)before)->slot : NULL;
    if (!p->disk || (before && (!behind || !before->published)))
        return NULL;
    return prefix_disk_find(p->disk, root, behind, tokens, now(p));
}

// A page on disk comes back into memory. The slot is in use meanwhile, so that it is not given to a
// page that has to make room for it.
static held *read_back(prefix_pool *p, const unsigned char root[PREFIX_ROOT],
                       const kv_block *before, const int *tokens)
{
    prefix_slot *s = find_slot(p, root, before, tokens);
    if (!s)
        return NULL;
    prefix_index_use(&p->disk->index, &s->entry);
    held *h = (held *)take(&p->api);
    const bool whole = h && prefix_disk_read(p->disk, s, h->block.pages);
    prefix_index_end(&p->disk->index, &s->entry, now(p));
    if (!whole) {
        p->count.lost += h ? 1 : 0;
        if (h)
            release(&p->api, &h->block);
        return NULL;
    }
    memcpy(h->entry.root, root, PREFIX_ROOT);
    insert(p, h, before, tokens);
    h->entry.made = s->entry.made;
    h->entry.uses = s->entry.uses;
    prefix_disk_use(s, &h->slot);
    p->count.read_back++;
    return h;
}

static kv_block *find(kv_pool *api, const char *space, const kv_block *before, const int *tokens)
{
    prefix_pool *p = pool_of(api);
    unsigned char root[PREFIX_ROOT];
    if (!before)
        evict_expired(p);
    copy_root(p, space, before, root);
    held *h = look_up(p, root, before, tokens);
    if (h) {
        prefix_index_use(&p->index, &h->entry);
        h->block.references++;
    } else
        h = read_back(p, root, before, tokens);
    if (!h) {
        p->count.misses++;
        return NULL;
    }
    return &h->block;
}

static size_t admits(kv_pool *api, size_t first, size_t found)
{
    prefix_pool *p = pool_of(api);
    const size_t used = prefix_preset_admits(&p->o.preset, found, p->breakpoint, p->breakpoints);
    return used > first ? used - used % p->shape.P : first;
}

static void used(kv_pool *api, size_t first, size_t found)
{
    prefix_pool *p = pool_of(api);
    p->count.hits += found / p->shape.P - first / p->shape.P;
    p->count.tokens_reused += found - first;
}

static void publish(kv_pool *api, const char *space, const kv_block *before, kv_block *block,
                    const int *tokens)
{
    prefix_pool *p = pool_of(api);
    held *h = (held *)block;
    prefix_entry *e = &h->entry;
    const size_t end = (before ? ((const held *)before)->entry.depth + 1 : 1) * p->shape.P;
    copy_root(p, space, before, e->root);
    if (end > prefix_preset_stores(&p->o.preset, end, p->breakpoint, p->breakpoints) ||
        look_up(p, e->root, before, tokens))
        return;
    prefix_slot *s = find_slot(p, e->root, before, tokens);
    insert(p, h, before, tokens);
    if (s)
        prefix_disk_use(s, &h->slot);
}

// ---- a pool ----

// The preset's, where none are given.
static void set_lifetimes(prefix_options *o)
{
    if (o->policy.idle == 0)
        o->policy.idle = (uint64_t)(o->preset.idle_s * 1e9);
    if (o->policy.absolute == 0)
        o->policy.absolute = (uint64_t)(o->preset.absolute_s * 1e9);
}

// A page of every layer, and what is known of them.
static size_t block_bytes(size_t layers, const page_shape *shape)
{
    return size_plus(size_times(layers, shape->bytes),
                     sizeof(held) + sizeof(held *) + shape->P * sizeof(int));
}

size_t prefix_budget(const config *c, const kv_spec *spec, size_t T)
{
    const page_shape shape = page_shape_of(spec, c);
    return size_times((T + shape.P - 1) / shape.P, block_bytes(c->L, &shape));
}

static status create(const model *m, const kv_spec *spec, const prefix_options *o, prefix_pool *p)
{
    char text[FORMAT_ROOM];
    status failed = kv_check(spec);
    *p = (prefix_pool){.api = {take, release, find, publish, admits, used},
                       .o = *o,
                       .shape = page_shape_of(spec, &m->config),
                       .layers = m->config.L};
    set_lifetimes(&p->o);
    p->block_bytes = block_bytes(m->config.L, &p->shape);
    p->most = o->budget / p->block_bytes;
    if (!failed && p->most == 0)
        failed = status_fail("a prompt cache of %zu bytes holds no page: give it %s at least",
                             o->budget, format_bytes((double)p->block_bytes, text));
    if (!failed)
        failed = base_root(m, spec, p->base);
    if (!failed)
        failed =
            prefix_index_create(&p->o.policy, p->shape.P, size_min(p->most, 1 << 20), &p->index);
    if (!failed && o->dir)
        failed = prefix_disk_create(o->dir, o->disk, &p->o.policy, p->shape.P,
                                    size_times(p->layers, p->shape.bytes), &p->disk);
    if (failed)
        return failed;
    p->all = memory_array(p->most, sizeof *p->all);
    return p->all ? NULL : memory_failed("the prompt cache");
}

status prefix_create(const model *m, const kv_spec *spec, const prefix_options *o, kv_pool **out)
{
    prefix_pool *p = memory_array(1, sizeof *p);
    status failed = p ? create(m, spec, o, p) : memory_failed("the prompt cache");
    *out = failed ? NULL : &p->api;
    if (failed && p)
        prefix_destroy(&p->api);
    return failed;
}

void prefix_destroy(kv_pool *api)
{
    prefix_pool *p = pool_of(api);
    if (!p)
        return;
    for (size_t i = 0; i < p->made; i++) {
        memory_free(p->all[i]->block.pages);
        memory_free(p->all[i]->tokens);
        memory_free(p->all[i]);
    }
    memory_free(p->all);
    prefix_index_free(&p->index);
    prefix_disk_destroy(p->disk);
    memory_free(p);
}

void prefix_mark(kv_pool *api, const size_t *breakpoints, size_t n)
{
    prefix_pool *p = pool_of(api);
    p->breakpoints = size_min(n, PREFIX_BREAKPOINTS);
    for (size_t i = 0; i < p->breakpoints; i++)
        p->breakpoint[i] = breakpoints[i] - breakpoints[i] % p->shape.P;
}

prefix_counters prefix_count(const kv_pool *api)
{
    return ((const prefix_pool *)api)->count;
}
