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
    for (size_t i = 0; i < TEXTS; i++)
        for (size_t t = 0; t < LONGEST; t++)
            x->texts[i][t] = t < common[i] ? x->texts[0][t] : (int)below(x, x->m->config.V);
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

// After a failure: whatever it still says it holds, it can read.
static void check_readable(life *x, size_t who)
{
    float k[12], v[12];
    for (size_t l = 0; l < 3; l++)
        for (size_t t = 0; t < LONGEST; t++)
            if (kvcache_decoder.holds(x->cached[who], l, 0, t))
                cr_assert_null(kvcache_decoder.read_kv(x->cached[who], l, 0, t, k, v));
}

// A step that fails in layer l: one channel of its keys is made so steep that some rows of
// binary16 overflow. Whatever rows were stored until then are wrong, and must not be used later.
static void fail(life *x, size_t who, const int *ids, size_t T, size_t l)
{
    const linear *w = &x->m->layers[l].qkv;
    float *steep = (float *)w->panels + (24 / LANES * w->K + 5) * LANES + 24 % LANES, old = *steep;
    const float *logits;
    char place[40];
    *steep = 65520 / 1.7f;
    status s = kvcache_decoder.step(x->cached[who], ids, T, 1, &logits);
    *steep = old;
    if (x->o.kv.form == KV_F16 && s) {
        snprintf(place, sizeof place, "layer %zu, head 0, position", l);
        support_assert_refused(s, place);
    }
    if (s)
        check_readable(x, who);
    else
        kvcache_decoder.reset(x->cached[who]);
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
            fail(x, who, ids, T[who], below(x, 3));
            failed++;
            continue;
        }
        check(x, who, ids, T[who], 1 + below(x, min(T[who], 5)));
        check_held(x, who, T[who]);
    }
    cr_assert(x->o.kv.form != KV_F16 || failed > 0);
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
