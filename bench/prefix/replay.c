// Reads a trace, and sends its requests through the prompt cache's index, pages of one token: a
// block's id.
#include "bench/prefix/replay.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>

#include "bench/base/jsonl.h"
#include "common/base/memory.h"

// ---- reading ----

static status read_whole(const json_t *object, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return status_fail("%s is no whole number", key);
    *out = (uint64_t)json_integer_value(value);
    return NULL;
}

static status read_ids(const json_t *object, replay_request *r, replay_trace *t)
{
    const json_t *ids = json_object_get(object, "hash_ids");
    if (!json_is_array(ids))
        return status_fail("hash_ids is no list");
    r->first = t->blocks;
    r->blocks = json_array_size(ids);
    if (r->blocks != r->tokens / REPLAY_BLOCK + (r->tokens % REPLAY_BLOCK > 0))
        return status_fail("%zu hash_ids for %zu tokens: one for each %d is wanted", r->blocks,
                           r->tokens, (int)REPLAY_BLOCK);
    int *more = memory_resize(t->ids, t->blocks + r->blocks + 1, sizeof *t->ids);
    if (!more)
        return memory_failed("the ids of a trace");
    t->ids = more;
    for (size_t i = 0; i < r->blocks; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT_MAX)
            return status_fail("hash_ids[%zu] is no whole number below 2^31", i);
        t->ids[t->blocks++] = (int)json_integer_value(id);
    }
    return NULL;
}

static status read_request(void *user, const json_t *object)
{
    replay_trace *t = user;
    uint64_t tokens = 0;
    replay_request *more = memory_resize(t->requests, t->n + 1, sizeof *more);
    if (!more)
        return memory_failed("a trace");
    t->requests = more;
    replay_request *r = &more[t->n];
    status failed = read_whole(object, "timestamp", &r->ms);
    if (!failed)
        failed = read_whole(object, "input_length", &tokens);
    r->tokens = (size_t)tokens;
    if (!failed && t->n > 0 && r->ms < r[-1].ms)
        failed = status_fail("timestamp is before that of the line above");
    if (!failed)
        failed = read_ids(object, r, t);
    t->n += !failed;
    return failed;
}

status replay_read(const char *path, replay_trace *out)
{
    *out = (replay_trace){0};
    return jsonl_read(path, read_request, out);
}

void replay_free(replay_trace *t)
{
    memory_free(t->requests);
    memory_free(t->ids);
    *t = (replay_trace){0};
}

// ---- replaying ----

typedef struct replaying {
    const replay_trace *t;
    const replay_way *way;
    prefix_index index;
    prefix_entry *entries; // (t->blocks)
    prefix_entry *spare;   // linked by next
    prefix_entry **used;   // (t->blocks): by the request at hand
    replay_counts count;
} replaying;

static void leave(replaying *r, prefix_entry *e)
{
    prefix_index_remove(&r->index, e);
    e->next = r->spare;
    r->spare = e;
    r->count.evictions++;
}

static prefix_entry *enter(replaying *r, prefix_entry *parent, const int *id, uint64_t now)
{
    prefix_entry *e = r->spare;
    r->spare = e->next;
    *e = (prefix_entry){.parent = parent, .tokens = id};
    prefix_index_insert(&r->index, e, now);
    return e;
}

static void send_request(replaying *r, const replay_request *q)
{
    static const unsigned char root[PREFIX_ROOT];
    const size_t n = r->way->full_only ? q->tokens / REPLAY_BLOCK : q->blocks;
    size_t hits = 0;
    for (prefix_entry *e; (e = prefix_index_expired(&r->index, q->ms));)
        leave(r, e);
    for (size_t i = 0; i < n; i++) {
        prefix_entry *parent = i > 0 && !r->way->first_to_last ? r->used[i - 1] : NULL;
        const int *id = &r->t->ids[q->first + i];
        prefix_entry *e = prefix_index_find(&r->index, root, parent, id, q->ms);
        hits += e && hits == i;
        if (e)
            prefix_index_use(&r->index, e);
        r->used[i] = e ? e : enter(r, parent, id, q->ms);
    }
    for (size_t i = 0; i < n; i++)
        prefix_index_end(&r->index, r->used[r->way->first_to_last ? i : n - 1 - i], q->ms);
    while (r->way->capacity > 0 && r->index.entries > r->way->capacity)
        leave(r, prefix_index_victim(&r->index));
    r->count.hits += hits;
    r->count.misses += n - hits;
}

static status prepare(replaying *r)
{
    status failed = prefix_index_create(&r->way->policy, 1, r->t->blocks, &r->index);
    r->entries = memory_array(r->t->blocks + 1, sizeof *r->entries);
    r->used = memory_array(r->t->blocks + 1, sizeof *r->used);
    if (!failed && (!r->entries || !r->used))
        failed = memory_failed("the replay of a trace");
    for (size_t i = 0; !failed && i < r->t->blocks; i++)
        r->entries[i].next = &r->entries[i + 1];
    r->spare = r->entries;
    return failed;
}

status replay_run(const replay_trace *t, const replay_way *way, replay_counts *out)
{
    replaying r = {.t = t, .way = way};
    status failed = prepare(&r);
    for (size_t i = 0; !failed && i < t->n; i++)
        send_request(&r, &t->requests[i]);
    *out = r.count;
    prefix_index_free(&r.index);
    memory_free(r.entries);
    memory_free(r.used);
    return failed;
}
