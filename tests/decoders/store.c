// What a store lives through: chunks, rollbacks, steps that fail in any layer, texts that come
// back. After each step all wanted rows are held against naive's under the same spec.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/kv/kv.h"
#include "common/kv/page.h"
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

// Whether a step can fail on the way: keys that f16 cannot hold, or that give a group no scale.
static bool can_fail(const life *x)
{
    return x->o.kv.form == KV_F16 || x->o.kv.group > 0;
}

// A step that fails in layer l: one channel of its keys is made so steep that some rows of
// binary16 overflow, or that a group of kivi has no scale when its last row has come. Whatever rows
// were stored until then are wrong, and must not be used later.
static bool fail(life *x, size_t who, const int *ids, size_t T, size_t l)
{
    const linear *w = &x->m->layers[l].qkv;
    float *steep = (float *)w->panels + (48 / LANES * w->K + 5) * LANES + 48 % LANES, old = *steep;
    const float *logits;
    char place[40];
    *steep = x->o.kv.group ? 0x1p30f : 65520 / 1.2f;
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

static void walk(life *x, size_t moves)
{
    life_walk at = {.T = {1, 1}};
    size_t failed = 0;
    for (size_t i = 0; i < moves; i++) {
        const size_t who = life_move(x, &at, 40), T = at.T[who];
        const int *ids = x->texts[at.text[who]];
        if (can_fail(x) && life_below(x, 5) == 0) {
            failed += fail(x, who, ids, T, life_below(x, 3));
            continue;
        }
        life_check(x, who, ids, T, 1 + life_below(x, size_min(T, 5)));
        life_check_held(x, who, T);
    }
    cr_assert(!can_fail(x) || failed > (x->o.kv.group ? 0 : 5), "%s: %zu steps failed", x->what,
              failed);
}

static const char *const SPECS[] = {"all",
                                    "window:8",
                                    "window:5+3",
                                    "f16",
                                    "window:20+4,f16",
                                    "window:40+20",
                                    "window:8,f16",
                                    "bf16",
                                    "fp8",
                                    "window:8,q8",
                                    "q8",
                                    "q4",
                                    "kivi4",
                                    "kivi2:16",
                                    "window:20+4,kivi2:64",
                                    "heavy:5+6",
                                    "heavy:1+30",
                                    "heavy:20+12,f16",
                                    "heavy:9+8,q8",
                                    "heavy:9+8,q4"};
enum { SHARED = 15 }; // of them: heavy cannot share pages
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
    for (size_t s = 0; s < SHARED; s++)
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
    for (size_t s = 0; s < sizeof SPECS / sizeof *SPECS && !strstr(SPECS[s], "kivi"); s++) {
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

// The exact keys of a group that has been finished are gone: where the first wrong draft lies in
// one, its rows are computed again, and no others.
Test(store, kivi_takes_back_drafts_to_the_start_of_their_group)
{
    static const char *const specs[] = {"kivi4", "kivi2:16", "kivi4:64", "window:70+4,kivi4"};
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
        life *x = life_begin(specs[s], 16, false);
        const size_t G = x->o.kv.group;
        int ids[LIFE_LONGEST];
        size_t before = 60, again = 0;
        memcpy(ids, x->texts[0], sizeof ids);
        life_check(x, 0, ids, before, 1);
        for (size_t known = 61, step = 0; known + 4 <= LIFE_LONGEST; step++) {
            const size_t T = known + 4, right = step % 5, finished = before / G * G,
                         first = known - 1 < finished ? (known - 1) / G * G : known - 1,
                         count = life_rows_of_step(x, 0, ids, T, 5);
            cr_assert_eq(count, T - first, "%s: %zu rows, not %zu, %zu known", x->what, count,
                         T - first, known);
            again += count > 5;
            for (size_t t = known + right; t < T; t++) // the others are wrong
                ids[t] = (ids[t] + 1) % (int)x->m->config.V;
            known += right + 1;
            before = T;
        }
        cr_assert_gt(again, 0, "%s: no draft lay in a finished group", x->what);
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

// Back by 1 to 40 rows: as far as the journal goes no row is computed that was not asked for, and
// further back all are.
Test(store, heavy_goes_back_by_32_rows_and_else_begins_anew)
{
    life *x = life_begin("heavy:6+10", 16, false);
    for (size_t back = 1; back <= 40; back++) {
        life_check(x, 0, x->texts[0], 200, 1);
        const size_t first = 200 - back, count = life_rows_of_step(x, 0, x->texts[0], first + 1, 1);
        cr_assert_eq(count, back <= 32 ? 1 : first + 1, "back by %zu: %zu rows", back, count);
        life_check_held(x, 0, first + 1);
        kvcache_decoder.reset(x->cached[0]);
    }
    // What has been taken back cannot be taken back again: 32 rows in all, until others come.
    life_check(x, 1, x->texts[0], 200, 1);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 181, 1), 1); // 20 back, 1 on: 13 are left
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 169, 1), 1);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 168, 1), 168);
    life_end(x);
}

// What was dropped is forgotten with the rest.
Test(store, a_window_in_a_pool_finds_its_pages_again_after_a_reset)
{
    life *x = life_begin("window:8", 16, true);
    life_check(x, 0, x->texts[0], 100, 1);
    kvcache_decoder.reset(x->cached[0]);
    cr_assert_eq(life_rows_of_step(x, 0, x->texts[0], 100, 1), 100 % 16);
    life_end(x);
}

Test(store, every_allocation_of_a_decoder_may_fail)
{
    for (size_t i = 0; i < sizeof SPECS / sizeof *SPECS; i++) {
        life *x = life_begin(SPECS[i], 16, false);
        decoder *d;
        status s = "first";
        for (size_t n = 1; s; n++) {
            memory_fail_at(n);
            s = kvcache_decoder.create(x->m, &x->o, &d);
            memory_fail_at(0);
            if (s)
                support_assert_refused(s, "out of memory");
            cr_assert_lt(n, 100);
        }
        kvcache_decoder.destroy(d);
        life_end(x);
    }
}

Test(store, heavy_takes_its_memory_whole_and_refuses_a_pool)
{
    life *x = life_begin("heavy:5+6,f16", 16, false);
    const size_t memory = kv_memory(&x->m->config, 3, &x->o.kv, LIFE_LONGEST);
    // 12 slots and 32 of the journal: 48 keys of 12 and values of 16 channels in 2 bytes, 3 layers,
    // 2 heads; and the lists of who is kept.
    cr_assert_gt(memory, 3 * 2 * 48 * 28 * 2);
    cr_assert_lt(memory, 3 * 2 * (48 * 28 * 2 + 3000));
    cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
    for (size_t T = 1; T <= LIFE_LONGEST; T += 50) {
        life_check(x, 0, x->texts[0], T, 1);
        cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), memory);
    }
    kvcache_decoder.reset(x->cached[0]);
    cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
    decoder *d;
    x->o.pool = &x->pool.api;
    support_assert_refused(kvcache_decoder.create(x->m, &x->o, &d),
                           "heavy:5+6 cannot be shared|depends on all that follow|without a pool");
    life_end(x);
}

static const size_t BITS[] = {[KV_F32] = 32, [KV_F16] = 16, [KV_BF16] = 16, [KV_FP8] = 8,
                              [KV_Q8] = 8,   [KV_Q4] = 4,   [KV_KIVI4] = 4, [KV_KIVI2] = 2};

// In whole cache lines.
static size_t line(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

// A head of 12 channels in a page: keys, whose channels fill whole words of 32 bits, values, which
// are padded to 16, and the scales of each.
static size_t head_bytes(const kv_spec *spec, size_t P)
{
    const size_t G = spec->group, bits = BITS[spec->form], n = 32 / bits,
                 numbers = P * ((12 + n - 1) / n) * 4 + P * 16 * bits / 8;
    if (G) // two fp16 numbers for a group of keys in a channel, and for each value
        return numbers + line((P < G ? 1 : P / G) * 16 * 4) + line(P * 4);
    return numbers + (spec->form == KV_Q8 || spec->form == KV_Q4 ? 2 * line(P * 2) : 0);
}

Test(store, bytes_are_those_of_the_pages_that_hold_a_row)
{
    for (size_t s = 0; s < SHARED; s++)
        for (size_t p = 0; p < sizeof PAGES / sizeof *PAGES; p++) {
            const size_t P = PAGES[p];
            life *x = life_begin(SPECS[s], P, false);
            const kv_spec *spec = &x->o.kv;
            const size_t G = spec->group;
            cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
            for (size_t T = 1; T <= LIFE_LONGEST; T += 1 + T % 23) {
                size_t pages = 0;
                life_check(x, 0, x->texts[0], T, 1);
                for (size_t i = 0; i * P < T; i++)
                    pages += spec->keep == KV_ALL || i * P < spec->sinks ||
                             (i + 1) * P + spec->recent + 32 > T + 1 ||
                             (G && (i + 1) * P > T / G * G);
                const size_t expected = 3 * 2 * (pages * head_bytes(spec, P) + G * 12 * 4),
                             got = kvcache_decoder.bytes(x->cached[0]);
                cr_assert_eq(got, expected, "%s: %zu tokens, %zu bytes, not %zu", x->what, T, got,
                             expected);
            }
            kvcache_decoder.reset(x->cached[0]);
            cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
            life_end(x);
        }
}

// A window that has to begin anew knows the rows of its new text as if there had been no other.
Test(store, a_window_goes_on_from_rows_that_were_computed_anew)
{
    static const struct {
        size_t changed, T, computed;
    } steps[] = {{0, 150, 150}, {50, 100, 100}, {95, 100, 5}, {99, 100, 1}, {97, 120, 23}};
    life *x = life_begin("window:8", 16, false);
    decoder *d = x->cached[0];
    const config *c = &x->m->config;
    int *ids = x->texts[0];
    size_t expected = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const size_t T = steps[i].T, heads = config_kv_heads(c);
        ids[steps[i].changed] = (ids[steps[i].changed] + 1) % (int)c->V;
        const size_t computed = life_rows_of_step(x, 0, ids, T, 1);
        cr_assert_eq(computed, steps[i].computed, "step %zu: %zu rows", i, computed);
        expected += computed;
        cr_assert_eq(kv_computed(kvcache_state_of(d).kept), expected, "step %zu", i);
        cr_assert(kvcache_decoder.holds(d, c->L - 1, heads - 1, T - 1));
        cr_assert(!kvcache_decoder.holds(d, c->L, 0, T - 1));
        cr_assert(!kvcache_decoder.holds(d, 0, heads, T - 1));
        cr_assert(!kvcache_decoder.holds(d, 0, 0, T));
    }
    life_end(x);
}

// GPT-2's heads are two blocks of 32 channels, no more.
Test(store, a_page_of_heads_of_64_channels_has_two_scales_a_row)
{
    const config c = {.L = 1, .C = 128, .H = 2, .F = 4, .V = 1, .T = 64};
    const page_shape eight = page_shape_of(&(kv_spec){.form = KV_Q8}, &c),
                     four = page_shape_of(&(kv_spec){.form = KV_Q4}, &c);
    cr_assert_eq(eight.P, 64);
    cr_assert_eq(eight.head_bytes, 2 * 64 * (64 + 2 * 2));
    cr_assert_eq(four.bytes, 2 * 2 * 64 * (32 + 2 * 2));
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
    const size_t column = 48 + 12 + 3;
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
        for (size_t k = 0; k < 48; k++) {
            const size_t position = check_beyond(x, &naive_decoder, x->naive, l, k);
            cr_assert_eq(check_beyond(x, &kvcache_decoder, x->cached[0], l, k), position);
            behind_the_first += position > 0;
        }
        cr_assert_gt(behind_the_first, 0);
    }
    life_end(x);
}
