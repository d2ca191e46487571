// The index against a model of it: a list of whole texts, searched from end to end.
#include <criterion/criterion.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "kvcache/prefix/prefix_index.h"

enum { P = 2, DEPTH = 6, MOST = 60, OPERATIONS = 100000 };

// What the model knows of an entry: all of its tokens, and when.
typedef struct known {
    prefix_entry e; // the index's
    int own[P];
    bool there;
    size_t pages;
    unsigned char root;
    int text[DEPTH * P];
    uint64_t made, touched, turn, uses;
    size_t users;
} known;

typedef struct world {
    prefix_index index;
    prefix_policy policy;
    known k[MOST];
    uint64_t state, now, turns;
    size_t found, evicted, expired;
} world;

static size_t below(world *w, size_t n)
{
    w->state += RANDOM_GAMMA;
    return (size_t)(random_splitmix64(w->state) >> 33) % n;
}

static uint64_t hash_to_three(uint64_t before, const int *tokens, size_t n)
{
    return prefix_hash_tokens(before, tokens, n) % 3;
}

static bool is_over(const world *w, const known *k)
{
    return (w->policy.idle > 0 && k->users == 0 && w->now - k->touched > w->policy.idle) ||
           (w->policy.absolute > 0 && w->now - k->made > w->policy.absolute);
}

static bool begins_as(const known *a, const known *b)
{
    return a->there && b->there && a->root == b->root && a->pages < b->pages &&
           memcmp(a->text, b->text, a->pages * P * sizeof(int)) == 0;
}

static bool is_leaf(const world *w, const known *k)
{
    for (size_t i = 0; i < MOST; i++)
        if (begins_as(k, &w->k[i]))
            return false;
    return true;
}

static known *model_find(world *w, unsigned char root, const int *text, size_t pages)
{
    for (size_t i = 0; i < MOST; i++) {
        known *k = &w->k[i];
        if (k->there && k->root == root && k->pages == pages &&
            memcmp(k->text, text, pages * P * sizeof *text) == 0)
            return k;
    }
    return NULL;
}

static known *model_victim(world *w)
{
    known *least = NULL;
    for (size_t i = 0; i < MOST; i++) {
        known *k = &w->k[i];
        if (!k->there || k->users > 0 || !is_leaf(w, k))
            continue;
        const bool rarer = least && k->uses < least->uses,
                   as_rare = least && k->uses == least->uses,
                   older = least && k->turn < least->turn;
        if (!least || (w->policy.order == PREFIX_LFU ? rarer || (as_rare && older) : older))
            least = k;
    }
    return least;
}

static void remove_known(world *w, prefix_entry *e)
{
    known *k = (known *)e;
    cr_assert(k->there && k->users == 0 && is_leaf(w, k), "a page goes that is needed");
    prefix_index_remove(&w->index, e);
    k->there = false;
}

// All that are over go, and none but these and what stands behind one.
static void expire(world *w)
{
    for (prefix_entry *e; (e = prefix_index_expired(&w->index, w->now)); w->expired++) {
        bool over = is_over(w, (known *)e);
        for (size_t i = 0; i < MOST; i++)
            over = over || (begins_as(&w->k[i], (known *)e) && is_over(w, &w->k[i]));
        cr_assert(over);
        remove_known(w, e);
    }
    for (size_t i = 0; i < MOST; i++)
        cr_assert(!w->k[i].there || w->k[i].users > 0 || !is_leaf(w, &w->k[i]) ||
                  !is_over(w, &w->k[i]));
}

static known *room(world *w)
{
    for (size_t i = 0; i < MOST; i++)
        if (!w->k[i].there)
            return &w->k[i];
    known *expected = model_victim(w);
    prefix_entry *e = prefix_index_victim(&w->index);
    cr_assert_eq((void *)e, (void *)expected, "another victim than the model's");
    if (!e)
        return NULL;
    remove_known(w, e);
    w->evicted++;
    return expected;
}

static known *insert(world *w, unsigned char root, known *parent, const int *text, size_t pages)
{
    known *k = room(w);
    if (!k)
        return NULL;
    *k = (known){.there = true, .pages = pages, .root = root, .users = 1, .uses = 1};
    memcpy(k->text, text, pages * P * sizeof *text);
    memcpy(k->own, text + (pages - 1) * P, sizeof k->own);
    k->made = k->touched = w->now;
    k->e.parent = parent ? &parent->e : NULL;
    k->e.tokens = k->own;
    k->e.root[0] = root;
    prefix_index_insert(&w->index, &k->e, w->now);
    return k;
}

// A request: finds what there is, adds the rest, and ends from the last page to the first.
static void request(world *w)
{
    int text[DEPTH * P];
    known *used[DEPTH];
    unsigned char root[PREFIX_ROOT] = {(unsigned char)below(w, 2)};
    const size_t pages = 1 + below(w, DEPTH);
    size_t n = 0;
    for (size_t i = 0; i < DEPTH * P; i++)
        text[i] = (int)below(w, 2) * (int)below(w, 2);
    for (known *parent = NULL; n < pages; parent = used[n++]) {
        prefix_entry *e =
            prefix_index_find(&w->index, root, parent ? &parent->e : NULL, text + n * P, w->now);
        known *expected = model_find(w, root[0], text, n + 1);
        if (expected && is_over(w, expected))
            break; // one that is in use still, or stands before one
        cr_assert_eq((void *)e, (void *)expected, "found another page than the model");
        if (e) {
            prefix_index_use(&w->index, e);
            expected->users++;
            expected->uses++;
            w->found++;
        }
        used[n] = e ? expected : insert(w, root[0], parent, text, n + 1);
        if (!used[n])
            break;
    }
    while (n-- > 0) {
        if (below(w, 60) == 0)
            continue; // never ends: see end_all
        prefix_index_end(&w->index, &used[n]->e, w->now);
        used[n]->users--;
        used[n]->touched = w->now;
        used[n]->turn = ++w->turns;
    }
}

// What requests have left in use.
static void end_all(world *w)
{
    for (size_t pages = DEPTH; pages > 0; pages--)
        for (size_t i = 0; i < MOST; i++)
            while (w->k[i].there && w->k[i].pages == pages && w->k[i].users > 0) {
                prefix_index_end(&w->index, &w->k[i].e, w->now);
                w->k[i].users--;
                w->k[i].touched = w->now;
                w->k[i].turn = ++w->turns;
            }
}

Test(prefix, the_index_is_a_list_of_texts_under_a_hundred_thousand_requests)
{
    const prefix_policy policies[] = {{0},
                                      {.hash = hash_to_three},
                                      {.order = PREFIX_LFU},
                                      {.order = PREFIX_LFU, .idle = 6, .hash = hash_to_three},
                                      {.absolute = 20, .idle = 6}};
    enum { POLICIES = sizeof policies / sizeof *policies };
    for (size_t i = 0; i < POLICIES; i++) {
        world *w = memory_array(1, sizeof *w);
        w->policy = policies[i];
        cr_assert_null(prefix_index_create(&w->policy, P, MOST, &w->index));
        for (size_t n = 0; n < OPERATIONS / POLICIES; n++) {
            w->now += below(w, 2);
            expire(w);
            request(w);
            if (below(w, 20) == 0)
                end_all(w);
        }
        cr_assert_gt(w->found, 1000);
        cr_assert(w->evicted + w->expired > 1000, "%zu, %zu", w->evicted, w->expired);
        prefix_index_free(&w->index);
        memory_free(w);
    }
}
