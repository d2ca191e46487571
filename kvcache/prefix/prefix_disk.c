// Slots of a file, given away and found as the pages in memory are: by an index of their own.
#include "kvcache/prefix/prefix_disk.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"

status prefix_disk_create(const char *dir, size_t budget, const prefix_policy *policy, size_t P,
                          size_t bytes, prefix_disk **out)
{
    prefix_disk *d = *out = memory_array(1, sizeof *d);
    if (!d)
        return memory_failed("the prompt cache");
    *d = (prefix_disk){.file.fd = -1, .P = P, .bytes = bytes, .most = budget / bytes};
    status failed = d->most > 0 ? NULL
                                : status_fail("%zu bytes on disk hold no page of a prompt cache: "
                                              "give it %zu at least",
                                              budget, bytes);
    if (!failed)
        failed = scratch_open(dir, &d->file);
    if (!failed)
        failed = prefix_index_create(policy, P, size_min(d->most, 1 << 20), &d->index);
    d->slot = failed ? NULL : memory_array(d->most, sizeof *d->slot);
    d->free = failed ? NULL : memory_array(d->most, sizeof *d->free);
    if (!failed && (!d->slot || !d->free))
        failed = memory_failed("the prompt cache");
    if (!failed)
        return NULL;
    prefix_disk_destroy(d);
    *out = NULL;
    return failed;
}

void prefix_disk_destroy(prefix_disk *d)
{
    if (!d)
        return;
    scratch_close(&d->file);
    for (size_t i = 0; i < d->made; i++)
        memory_free(d->slot[i].tokens);
    memory_free(d->slot);
    memory_free(d->free);
    prefix_index_free(&d->index);
    memory_free(d);
}

// ---- slots ----

static prefix_slot *slot_of(prefix_entry *e)
{
    return (prefix_slot *)e;
}

static void give_up(prefix_disk *d, prefix_slot *s)
{
    prefix_index_remove(&d->index, &s->entry);
    if (s->use)
        *s->use = NULL;
    s->use = NULL;
    d->free[d->frees++] = (size_t)(s - d->slot);
}

// A slot that is in no index, or NULL.
static prefix_slot *take_slot(prefix_disk *d, uint64_t now)
{
    for (prefix_entry *e; (e = prefix_index_expired(&d->index, now));)
        give_up(d, slot_of(e));
    prefix_entry *victim =
        d->frees == 0 && d->made == d->most ? prefix_index_victim(&d->index) : NULL;
    if (victim)
        give_up(d, slot_of(victim));
    if (d->frees > 0)
        return &d->slot[d->free[--d->frees]];
    if (d->made == d->most)
        return NULL;
    prefix_slot *s = &d->slot[d->made];
    s->tokens = memory_array(d->P, sizeof *s->tokens);
    d->made += s->tokens ? 1 : 0;
    return s->tokens ? s : NULL;
}

static off_t offset_of(const prefix_disk *d, const prefix_slot *s)
{
    return (off_t)((size_t)(s - d->slot) * d->bytes);
}

// ---- pages ----

prefix_slot *prefix_disk_find(const prefix_disk *d, const unsigned char root[PREFIX_ROOT],
                              const prefix_slot *before, const int *tokens, uint64_t now)
{
    prefix_entry *e =
        prefix_index_find(&d->index, root, before ? &before->entry : NULL, tokens, now);
    return e && !slot_of(e)->lost ? slot_of(e) : NULL;
}

void prefix_disk_use(prefix_slot *s, prefix_slot **use)
{
    if (s->use)
        *s->use = NULL;
    s->use = use;
    *use = s;
}

void prefix_disk_touch(prefix_disk *d, prefix_slot *s, const prefix_entry *e)
{
    prefix_index_hold(&d->index, &s->entry);
    prefix_index_end(&d->index, &s->entry, e->touched);
    s->entry.uses = e->uses;
}

// A new slot behind `before`, which stays meanwhile.
static prefix_slot *take_behind(prefix_disk *d, prefix_slot *before, uint64_t now)
{
    if (before)
        prefix_index_hold(&d->index, &before->entry);
    prefix_slot *s = take_slot(d, now);
    if (before)
        prefix_index_end(&d->index, &before->entry, before->entry.touched);
    return s;
}

void prefix_disk_write(prefix_disk *d, prefix_slot *before, const prefix_entry *e,
                       const page *pages, uint64_t now, prefix_slot **use)
{
    prefix_slot *s = take_behind(d, before, now);
    if (!s)
        return;
    if (scratch_write(&d->file, pages, d->bytes, offset_of(d, s)) < d->bytes) {
        d->free[d->frees++] = (size_t)(s - d->slot);
        return;
    }
    memcpy(s->tokens, e->tokens, d->P * sizeof *s->tokens);
    memcpy(s->entry.root, e->root, PREFIX_ROOT);
    s->entry.parent = before ? &before->entry : NULL;
    s->entry.tokens = s->tokens;
    s->hash = XXH3_128bits(pages, d->bytes);
    s->lost = false;
    prefix_index_insert(&d->index, &s->entry, now);
    s->entry.made = e->made;
    s->entry.uses = e->uses;
    prefix_index_end(&d->index, &s->entry, e->users > 0 ? now : e->touched);
    prefix_disk_use(s, use);
}

bool prefix_disk_read(prefix_disk *d, prefix_slot *s, page *to)
{
    const bool whole = scratch_read(&d->file, to, d->bytes, offset_of(d, s)) == d->bytes &&
                       XXH128_isEqual(XXH3_128bits(to, d->bytes), s->hash);
    s->lost = !whole;
    return whole;
}
