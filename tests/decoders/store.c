// What a store lives through: chunks, rollbacks, steps that fail in any layer, texts that come
// back. After each step all wanted rows are held against naive's under the same spec.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

// After a failed step with T tokens: no row of its last token or behind it is held, and whatever it
// still says it holds, it can read.
static void check_readable(life *x, size_t who, size_t T)
{
    float k[12], v[12];
    for (size_t l = 0; l < 3; l++)
        for (size_t t = 0; t < LIFE_LONGEST; t++)
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
        const size_t who = life_below(x, 2), chunk = chunks[life_below(x, 6)],
                     way = life_below(x, 6);
        T[who] = way == 0   ? 1 + life_below(x, LIFE_LONGEST)
                 : way == 1 ? T[who] - life_below(x, min(T[who], 9))
                            : min(T[who] + chunk, LIFE_LONGEST);
        if (life_below(x, 4) == 0)
            text[who] = life_below(x, LIFE_TEXTS);
        const int *ids = x->texts[text[who]];
        if (x->o.kv.form == KV_F16 && life_below(x, 5) == 0) {
            failed += fail(x, who, ids, T[who], life_below(x, 3));
            continue;
        }
        life_check(x, who, ids, T[who], 1 + life_below(x, min(T[who], 5)));
        life_check_held(x, who, T[who]);
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
            life *x = life_begin(SPECS[s], PAGES[p], false);
            walk(x, 100);
            life_end(x);
        }
}

Test(store, walks_over_the_pages_of_a_pool_equal_naive)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++)
        for (size_t p = 0; p < sizeof PAGES / sizeof *PAGES; p++) {
            life *x = life_begin(SPECS[s], PAGES[p], true);
            walk(x, 100);
            cr_assert(x->pool.found > 0 || PAGES[p] == 128 || x->o.kv.keep != KV_ALL,
                      "%s: nothing was found", x->what);
            life_end(x);
        }
}

// ---- what a step computes ----

// Four drafts a step, of which none to four are right.
Test(store, takes_back_drafts_without_computing_a_window_anew)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++) {
        life *x = life_begin(SPECS[s], 16, false);
        int ids[LIFE_LONGEST];
        memcpy(ids, x->texts[0], sizeof ids);
        life_check(x, 0, ids, 60, 1);
        for (size_t known = 61, step = 0; known + 4 <= LIFE_LONGEST; step++) {
            const size_t count = life_rows_of_step(x, 0, ids, known + 4, 5), right = step % 5;
            cr_assert_eq(count, 5, "%s: %zu rows for 5, %zu known", x->what, count, known);
            for (size_t t = known + right; t < known + 4; t++) // the others are wrong
                ids[t] = (ids[t] + 1) % (int)x->m->config.V;
            known += right + 1;
        }
        life_end(x);
    }
}

// From further back than the slack, a window goes on behind its sinks, and nowhere later.
Test(store, goes_on_behind_the_sinks_where_the_window_is_gone)
{
    life *x = life_begin("window:20+4", 16, false);
    life_check(x, 0, x->texts[0], 200, 1);
    // Positions 4 to 143 are gone, whole pages before 200 + 1 - 20 - 32; row 163 sees from 144 on.
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 164, 1), 1);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 163, 1), 159);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 120, 1), 116);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[3], 160, 1), 40);
    life_end(x);
}

Test(store, bytes_are_those_of_the_pages_that_hold_a_row)
{
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS; s++)
        for (size_t p = 0; p < sizeof PAGES / sizeof *PAGES; p++) {
            const size_t P = PAGES[p];
            life *x = life_begin(SPECS[s], P, false);
            const kv_spec *spec = &x->o.kv;
            cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
            for (size_t T = 1; T <= LIFE_LONGEST; T += 1 + T % 23) {
                size_t pages = 0;
                life_check(x, 0, x->texts[0], T, 1);
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
            life_end(x);
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
    status s = api->step(d, x->texts[0], LIFE_LONGEST, 1, &logits);
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
    life *x = life_begin("f16", 64, false);
    for (size_t l = 0; l < 3; l++) {
        size_t behind_the_first = 0;
        for (size_t k = 0; k < 24; k++) {
            const size_t position = check_beyond(x, &naive_decoder, x->naive, l, k);
            cr_assert_eq(check_beyond(x, &kvcache_decoder, x->cached[0], l, k), position);
            behind_the_first += position > 0;
        }
        cr_assert_gt(behind_the_first, 0);
    }
    life_end(x);
}
