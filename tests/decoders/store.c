// What a store lives through: chunks, rollbacks, steps that fail in any layer, texts that come
// back, pages of a pool. After each step all wanted rows are held against naive's under the same
// spec.
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/pool.h"
#include "tests/support/support.h"

enum { TEXTS = 4, LONGEST = 230 };

// A model, four texts on it that part from one another at different places, naive, two cached
// decoders, and perhaps a pool that these share.
typedef struct life {
    char what[128];
    uint64_t state; // xorshift64* (Vigna 2016)
    model *m;
    decoder_options o;
    pool pool;
    decoder *naive, *cached[2];
    int texts[TEXTS][LONGEST];
} life;

static size_t below(life *x, size_t n)
{
    x->state ^= x->state >> 12;
    x->state ^= x->state << 25;
    x->state ^= x->state >> 27;
    return (size_t)((x->state * 2685821657736338717u) >> 33) % n;
}

static void write_texts(life *x)
{
    static const size_t common[TEXTS] = {0, 20, 70, 140};
    const int V = (int)x->m->config.V;
    for (size_t i = 0; i < TEXTS; i++) {
        for (size_t t = 0; t < LONGEST; t++)
            x->texts[i][t] = t < common[i] ? x->texts[0][t] : (int)below(x, x->m->config.V);
        if (i > 0)
            x->texts[i][common[i]] = (x->texts[0][common[i]] + 1) % V;
    }
}

static decoder *make(const decoder_api *api, const life *x)
{
    decoder *d;
    status s = api->create(x->m, &x->o, &d);
    cr_assert_null(s, "%s: %s", x->what, s);
    return d;
}

static life *begin(const char *spec, size_t positions, bool pooled)
{
    life *x = memory_array(1, sizeof *x);
    snprintf(x->what, sizeof x->what, "%s, pages of %zu%s", spec, positions,
             pooled ? ", a pool" : "");
    x->state = 88172645463325252u;
    cr_assert_null(model_load("synthetic:L=3,C=24,H=2,T=230,V=13,F=20", &x->m));
    x->o = (decoder_options){.T_max = LONGEST};
    cr_assert_null(kv_parse(spec, &x->m->config, &x->o.kv));
    x->o.kv.page = positions;
    write_texts(x);
    x->naive = make(&naive_decoder, x);
    pool_create(&x->pool, &x->o.kv, &x->m->config);
    x->o.pool = pooled ? &x->pool.api : NULL;
    x->o.space = "";
    for (size_t i = 0; i < 2; i++)
        x->cached[i] = make(&kvcache_decoder, x);
    return x;
}

static void end(life *x)
{
    naive_decoder.destroy(x->naive);
    for (size_t i = 0; i < 2; i++)
        kvcache_decoder.destroy(x->cached[i]);
    cr_assert_eq(pool_references(&x->pool), 0, "%s: %zu references are left", x->what,
                 pool_references(&x->pool));
    pool_destroy(&x->pool);
    model_free(x->m);
    memory_free(x);
}

static void check(life *x, size_t who, const int *ids, size_t T, size_t wanted)
{
    const float *expected, *got;
    status s = naive_decoder.step(x->naive, ids, T, wanted, &expected);
    cr_assert_null(s, "%s: %s", x->what, s);
    s = kvcache_decoder.step(x->cached[who], ids, T, wanted, &got);
    cr_assert_null(s, "%s: %s", x->what, s);
    const size_t V = x->m->config.V;
    for (size_t i = 0; i < wanted * V; i++)
        cr_assert_eq(memcmp(got + i, expected + i, sizeof *got), 0,
                     "%s: %zu tokens, row %zu, logit %zu: %a, not %a", x->what, T,
                     T - wanted + i / V, i % V, (double)got[i], (double)expected[i]);
}

// What the decoder says it holds is what row T sees, and it reads; what it does not hold, it
// refuses.
static void check_held(life *x, size_t who, size_t T)
{
    const decoder *d = x->cached[who];
    const kv_spec *spec = &x->o.kv;
    float k[12], v[12];
    for (size_t l = 0; l < 3; l++)
        for (size_t t = 0; t < LONGEST; t++) {
            const bool seen =
                t < T && (spec->keep == KV_ALL || t + spec->recent > T || t < spec->sinks);
            cr_assert_eq(kvcache_decoder.holds(d, l, 1, t), seen, "%s: %zu tokens, %zu held: %d",
                         x->what, T, t, !seen);
            status s = kvcache_decoder.read_kv(d, l, 1, t, k, v);
            cr_assert_eq(s == NULL, seen, "%s", s);
            for (size_t i = 0; seen && i < 12; i++)
                cr_assert(k[i] == k[i] && v[i] == v[i], "%s: position %zu is NaN", x->what, t);
            if (s)
                support_assert_refused(s, "is not held");
        }
}

// After a failed step with T tokens: no row of its last token or behind it is held, and whatever it
// still says it holds, it can read.
static void check_readable(life *x, size_t who, size_t T)
{
    float k[12], v[12];
    for (size_t l = 0; l < 3; l++)
        for (size_t t = 0; t < LONGEST; t++)
            if (kvcache_decoder.holds(x->cached[who], l, 0, t)) {
                cr_assert_lt(t + 1, T, "%s: %zu tokens, row %zu held", x->what, T, t);
                cr_assert_null(kvcache_decoder.read_kv(x->cached[who], l, 0, t, k, v));
            }
}

// A step that fails in layer l: one channel of its keys is made so steep that some rows of
// binary16 overflow. Whatever rows were stored until then are wrong, and must not be used later.
static bool fail(life *x, size_t who, const int *ids, size_t T, size_t l)
{
    const linear *w = &x->m->layers[l].qkv;
    float *steep = (float *)w->panels + (24 / LANES * w->K + 5) * LANES + 24 % LANES, old = *steep;
    const float *logits;
    char place[40];
    *steep = 65520 / 1.2f;
    status s = kvcache_decoder.step(x->cached[who], ids, T, 1, &logits);
    *steep = old;
    snprintf(place, sizeof place, "layer %zu, head 0, position", l);
    if (s)
        support_assert_refused(s, place);
    if (s)
        check_readable(x, who, T);
    else // what it holds now are another model's rows
        kvcache_decoder.reset(x->cached[who]);
    return s != NULL;
}

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

// On by a chunk, back by some rows, or to anywhere, on this text or an older one.
static void walk(life *x, size_t moves)
{
    static const size_t chunks[] = {1, 2, 6, 7, 16, 100};
    size_t T[2] = {1, 1}, text[2] = {0, 0}, failed = 0;
    for (size_t i = 0; i < moves; i++) {
        const size_t who = below(x, 2), chunk = chunks[below(x, 6)], way = below(x, 6);
        T[who] = way == 0   ? 1 + below(x, LONGEST)
                 : way == 1 ? T[who] - below(x, min(T[who], 9))
                            : min(T[who] + chunk, LONGEST);
        if (below(x, 4) == 0)
            text[who] = below(x, TEXTS);
        const int *ids = x->texts[text[who]];
        if (x->o.kv.form == KV_F16 && below(x, 5) == 0) {
            failed += fail(x, who, ids, T[who], below(x, 3));
            continue;
        }
        check(x, who, ids, T[who], 1 + below(x, min(T[who], 5)));
        check_held(x, who, T[who]);
    }
    cr_assert(x->o.kv.form != KV_F16 || failed > 5, "%zu steps failed", failed);
}

static const char *const SPECS[] = {
    "all", "window:8", "window:5+3", "f16", "window:20+4,f16", "window:40+20", "window:8,f16"};
static const size_t PAGES[] = {16, 32, 64, 128};

Test(store, walks_on_back_and_to_older_texts_equal_naive)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++)
        for (size_t p = 0; p < sizeof PAGES / sizeof *PAGES; p++) {
            life *x = begin(SPECS[s], PAGES[p], false);
            walk(x, 100);
            end(x);
        }
}

Test(store, walks_over_the_pages_of_a_pool_equal_naive)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++)
        for (size_t p = 0; p < sizeof PAGES / sizeof *PAGES; p++) {
            life *x = begin(SPECS[s], PAGES[p], true);
            walk(x, 100);
            cr_assert(x->pool.found > 0 || PAGES[p] == 128 || x->o.kv.keep != KV_ALL,
                      "%s: nothing was found", x->what);
            end(x);
        }
}

// ---- what a step computes ----

static void count_rows(void *user, stage s, int l, int head, size_t t, const float *values,
                       size_t n)
{
    (void)l, (void)head, (void)t, (void)values, (void)n;
    *(size_t *)user += s == STAGE_EMBED;
}

// A checked step, and how many rows it computed.
static size_t rows_of_step(life *x, size_t who, const int *ids, size_t T, size_t wanted)
{
    size_t count = 0;
    kvcache_decoder.observe(x->cached[who], count_rows, &count);
    check(x, who, ids, T, wanted);
    kvcache_decoder.observe(x->cached[who], NULL, NULL);
    return count;
}

// Four drafts a step, of which none to four are right.
Test(store, takes_back_drafts_without_computing_a_window_anew)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++) {
        life *x = begin(SPECS[s], 16, false);
        int ids[LONGEST];
        memcpy(ids, x->texts[0], sizeof ids);
        check(x, 0, ids, 60, 1);
        for (size_t known = 61, step = 0; known + 4 <= LONGEST; step++) {
            const size_t count = rows_of_step(x, 0, ids, known + 4, 5), right = step % 5;
            cr_assert_eq(count, 5, "%s: %zu rows for 5, %zu known", x->what, count, known);
            for (size_t t = known + right; t < known + 4; t++) // the others are wrong
                ids[t] = (ids[t] + 1) % (int)x->m->config.V;
            known += right + 1;
        }
        end(x);
    }
}

// From further back than the slack, a window goes on behind its sinks, and nowhere later.
Test(store, goes_on_behind_the_sinks_where_the_window_is_gone)
{
    life *x = begin("window:20+4", 16, false);
    check(x, 0, x->texts[0], 200, 1);
    // Positions 4 to 143 are gone, whole pages before 200 + 1 - 20 - 32; row 163 sees from 144 on.
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 164, 1), 1);
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 163, 1), 159);
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 120, 1), 116);
    cr_assert_eq(rows_of_step(x, 0, x->texts[3], 160, 1), 40);
    end(x);
}

Test(store, bytes_are_those_of_the_pages_that_hold_a_row)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++)
        for (size_t p = 0; p < sizeof PAGES / sizeof *PAGES; p++) {
            const size_t P = PAGES[p];
            life *x = begin(SPECS[s], P, false);
            const kv_spec *spec = &x->o.kv;
            cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
            for (size_t T = 1; T <= LONGEST; T += 1 + T % 23) {
                size_t pages = 0;
                check(x, 0, x->texts[0], T, 1);
                for (size_t i = 0; i * P < T; i++)
                    pages += spec->keep == KV_ALL || i * P < spec->sinks ||
                             (i + 1) * P + spec->recent + 32 > T + 1;
                const size_t width = spec->form == KV_F16 ? 2 : 4,
                             expected = 3 * pages * 2 * P * (12 + 16) * width,
                             got = kvcache_decoder.bytes(x->cached[0]);
                cr_assert_eq(got, expected, "%s: %zu tokens, %zu bytes, not %zu", x->what, T, got,
                             expected);
            }
            kvcache_decoder.reset(x->cached[0]);
            cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
            end(x);
        }
}

// Where the first number lies that binary16 cannot hold: rows come in order, heads within a row.
typedef struct first_beyond {
    int layer;
    size_t position;
    bool found;
} first_beyond;

static void look_beyond(void *user, stage s, int l, int head, size_t t, const float *values,
                        size_t n)
{
    first_beyond *f = user;
    (void)head;
    for (size_t c = 0; s == STAGE_K && c < n && l == f->layer && !f->found; c++)
        if (!(values[c] < 65520 && values[c] > -65520))
            *f = (first_beyond){l, t, true};
}

// One weight of layer l from channel k to head 1's keys is made steep. Returns the position at
// which the step has to fail, and does; 0 also if no row is beyond.
static size_t check_beyond(life *x, const decoder_api *api, decoder *d, size_t l, size_t k)
{
    const linear *w = &x->m->layers[l].qkv;
    const size_t column = 24 + 12 + 3;
    float *steep = (float *)w->panels + (column / LANES * w->K + k) * LANES + column % LANES,
          old = *steep;
    const float *logits;
    char place[80];
    first_beyond f = {.layer = (int)l};
    *steep = 65520 / 1.4f;
    api->reset(d);
    api->observe(d, look_beyond, &f);
    status s = api->step(d, x->texts[0], LONGEST, 1, &logits);
    api->observe(d, NULL, NULL);
    *steep = old;
    snprintf(place, sizeof place, "layer %zu, head 1, position %zu: a key of|as f16: use --kv f32",
             l, f.position);
    if (f.found)
        support_assert_refused(s, place);
    else
        cr_assert_null(s, "%s", s);
    return f.position;
}

Test(store, names_layer_head_and_position_of_what_f16_cannot_hold)
{
    life *x = begin("f16", 64, false);
    for (size_t l = 0; l < 3; l++) {
        size_t behind_the_first = 0;
        for (size_t k = 0; k < 24; k++) {
            const size_t position = check_beyond(x, &naive_decoder, x->naive, l, k);
            cr_assert_eq(check_beyond(x, &kvcache_decoder, x->cached[0], l, k), position);
            behind_the_first += position > 0;
        }
        cr_assert_gt(behind_the_first, 0);
    }
    end(x);
}

// ---- pages of a pool ----

Test(store, decoders_share_the_pages_of_what_they_have_in_common)
{
    life *x = begin("all", 16, true);
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 200, 1), 200);
    cr_assert_eq(rows_of_step(x, 1, x->texts[0], 200, 1), 200 - 12 * 16); // 12 pages are full
    cr_assert_eq(x->pool.found, 12);
    cr_assert_eq(pool_references(&x->pool), 2 * 13);
    for (size_t i = 0; i < 12; i++)
        cr_assert_eq(x->pool.blocks[i].references, 2);
    // Rows whose logits are wanted are computed, shared or not.
    kvcache_decoder.reset(x->cached[1]);
    cr_assert_eq(rows_of_step(x, 1, x->texts[0], 200, 200), 200);
    // Text 2 parts from it after 70 tokens, 4 pages; another namespace shares nothing.
    kvcache_decoder.reset(x->cached[1]);
    cr_assert_eq(rows_of_step(x, 1, x->texts[2], 100, 2), 100 - 4 * 16);
    x->o.space = "another";
    kvcache_decoder.destroy(x->cached[1]);
    x->cached[1] = make(&kvcache_decoder, x);
    cr_assert_eq(rows_of_step(x, 1, x->texts[0], 200, 1), 200);
    end(x);
}

Test(store, a_shared_page_is_copied_before_it_is_written)
{
    life *x = begin("all", 64, true);
    check(x, 0, x->texts[0], 140, 1);
    check(x, 1, x->texts[0], 140, 1);
    // Rows 64 to 69 of the second page stay; the others become text 2's, in a copy.
    cr_assert_eq(rows_of_step(x, 1, x->texts[2], 100, 1), 30);
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 141, 1), 1);
    kvcache_decoder.reset(x->cached[1]);
    cr_assert_eq(rows_of_step(x, 1, x->texts[0], 141, 1), 13);
    end(x);
}

Test(store, a_pool_that_runs_out_changes_nothing)
{
    life *x = begin("all", 16, true);
    const float *logits;
    check(x, 0, x->texts[0], 100, 1);
    check(x, 1, x->texts[1], 96, 1);
    const size_t references = pool_references(&x->pool),
                 bytes = kvcache_decoder.bytes(x->cached[0]);
    x->pool.left = 1;
    // Pages of text 1 are found behind the common prefix before one is missing.
    status s = kvcache_decoder.step(x->cached[0], x->texts[1], 150, 1, &logits);
    support_assert_refused(s, "no page is left in the pool for 150 tokens|more memory, or end");
    cr_assert_eq(x->pool.left, 1);
    cr_assert_eq(pool_references(&x->pool), references);
    cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), bytes);
    check_held(x, 0, 100);
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 105, 1), 5);
    x->pool.left = 40;
    check(x, 0, x->texts[1], 150, 1);
    end(x);
}

// The one that published first goes, and its blocks are taken for other texts.
Test(store, a_page_computed_twice_is_found_once)
{
    life *x = begin("all", 16, true);
    check(x, 0, x->texts[0], 20, 20);
    check(x, 1, x->texts[0], 40, 40); // computes page 0 as well
    kvcache_decoder.reset(x->cached[0]);
    cr_assert_eq(rows_of_step(x, 0, x->texts[0], 60, 1), 60 - 16);
    check(x, 1, x->texts[1], 60, 1);
    check(x, 1, x->texts[0], 60, 1);
    end(x);
}
