// Specs: each equals the oracle's plain loops bit for bit; binary16 number by number; softmax with
// holes; and how a spec is read and written.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/kv/kv.h"
#include "common/math/softmax.h"
#include "common/math/widen.h"
#include "common/number/form.h"
#include "common/number/numeric.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/oracle.h"
#include "tests/support/support.h"

static const char *const SPECS[] = {
    "all",
    "f16",
    "window:1",
    "window:1+1",
    "window:7",
    "window:16+16",
    "window:40",
    "window:200",
    "window:200+4",
    "window:5+200",
    "window:5+3",
    "window:3+70",
    "window:9+16",
    "window:20+64",
    "window:150+1",
    "window:8,f16",
    "f16,window:20+4",
    "heavy:1+0",
    "heavy:1+1",
    "heavy:5+3",
    "heavy:2+21",
    "heavy:16+16",
    "heavy:30+1",
    "heavy:200+4",
    "heavy:8+8,f16",
    "bf16",
    "fp8",
    "q8",
    "q4",
    "window:20+4,bf16",
    "window:7,fp8",
    "window:20+4,q8",
    "window:40,q4",
    "kivi4",
    "kivi2",
    "kivi4:16",
    "kivi2:64",
    "kivi4:128",
    "window:20+4,kivi4",
    "window:9+3,kivi2:16",
    "window:7,kivi4:128",
    "window:70+4,kivi4",
};
enum { SPEC_COUNT = sizeof SPECS / sizeof *SPECS, TOKENS = 150 };

static kv_spec parse(const char *text)
{
    kv_spec spec;
    status s = kv_parse(text, &spec);
    cr_assert_null(s, "%s", s);
    return spec;
}

// A model, and TOKENS ids of its vocabulary.
static model *loaded(const char *name, int ids[TOKENS])
{
    model *m;
    cr_assert_null(model_load(name, &m));
    for (size_t t = 0; t < TOKENS; t++)
        ids[t] = (int)((t * t * 7 + t * 3 + 1) % m->config.V);
    return m;
}

// A decoder's last `wanted` rows of T tokens against the oracle's, which has all rows of them.
static void check_rows(const decoder_api *api, decoder *d, const char *what, const int *ids,
                       size_t T, size_t wanted, size_t V, const float *oracle)
{
    const float *logits;
    status s = api->step(d, ids, T, wanted, &logits);
    cr_assert_null(s, "%s", s);
    for (size_t i = 0; i < wanted * V; i++)
        cr_assert_eq(memcmp(logits + i, oracle + (T - wanted) * V + i, sizeof *logits), 0,
                     "%s, %s, %zu tokens, row %zu, logit %zu: %a, not %a", api->name, what, T,
                     T - wanted + i / V, i % V, (double)logits[i],
                     (double)oracle[(T - wanted) * V + i]);
}

// What a decoder shows of the positions that it sees, held against the oracle's.
typedef struct sight {
    const model *m;
    const char *what;
    const bool *sees; // (L, H, TOKENS, TOKENS)
    size_t rows;
} sight;

static void check_sees(void *user, stage s, int l, int head, size_t t, const float *values,
                       size_t n)
{
    sight *of = user;
    if (s != STAGE_SEES)
        return;
    const size_t at = (size_t)l * config_kv_heads(&of->m->config) + (size_t)head;
    const bool *sees = of->sees + (at * TOKENS + t) * TOKENS;
    size_t count = 0;
    for (size_t j = 0; j < TOKENS; j++)
        if (sees[j]) {
            cr_assert(count < n && values[count] == (float)j,
                      "%s: layer %d, head %d, row %zu does not see %zu", of->what, l, head, t, j);
            count++;
        }
    cr_assert_eq(count, n, "%s: layer %d, head %d, row %zu sees %zu rows, not %zu", of->what, l,
                 head, t, n, count);
    of->rows++;
}

static void check_spec(const model *m, const char *text, size_t page, const int *ids)
{
    static const decoder_api *const apis[] = {&naive_decoder, &kvcache_decoder};
    const size_t V = m->config.V;
    decoder_options o = {.T_max = TOKENS, .kv = parse(text)};
    o.kv.page = page;
    float *oracle = memory_array(TOKENS * V, sizeof *oracle);
    const size_t heads = m->config.L * config_kv_heads(&m->config);
    bool *sees = memory_array(heads * TOKENS * TOKENS, sizeof *sees);
    oracle_run(m, &o.kv, ids, TOKENS, TOKENS, oracle, sees);
    for (size_t i = 0; i < 2; i++) {
        decoder *d;
        sight of = {m, text, sees, 0};
        cr_assert_null(apis[i]->create(m, &o, &d));
        apis[i]->observe(d, check_sees, &of);
        // naive computes all of it again each time: beyond a page's first rows, some lengths
        // stand for all.
        for (size_t T = 1; T <= TOKENS; T += i == 0 && T > 20 ? 7 : 1)
            check_rows(apis[i], d, text, ids, T, 1, V, oracle);
        check_rows(apis[i], d, text, ids, TOKENS, TOKENS, V, oracle);
        apis[i]->destroy(d);
        cr_assert_geq(of.rows, heads * TOKENS, "%s: %zu rows were shown", text, of.rows);
    }
    memory_free(oracle);
    memory_free(sees);
}

static const size_t PAGES[] = {0, 16, 32, 64, 128};

Test(specs, equal_the_oracle_at_every_length_and_in_every_row)
{
    static const char *const shapes[] = {"synthetic:L=2,C=36,H=3,T=150,V=16,F=30",
                                         "synthetic:L=1,C=80,H=2,T=150,V=9,F=12,seed=3",
                                         "synthetic:L=2,C=36,H=6,G=2,T=150,V=16,F=30",
                                         "synthetic:L=3,C=20,H=1,T=150,V=11,F=8,seed=5"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int ids[TOKENS];
        model *m = loaded(shapes[i], ids);
        for (size_t s = 0; s < SPEC_COUNT; s++)
            for (size_t p = 0; p < 5; p++) // kivi's groups lie across pages, or side by side
                if (p == (i + s) % 5 || strstr(SPECS[s], "kivi"))
                    check_spec(m, SPECS[s], PAGES[p], ids);
        model_free(m);
    }
}

// The keys and values last shown of each position.
typedef struct shown {
    size_t L, heads, D;
    float *at; // (2, L, heads, TOKENS, D): keys, then values
} shown;

static float *shown_at(const shown *x, bool values, size_t l, size_t g, size_t t)
{
    return x->at + ((((values ? x->L : 0) + l) * x->heads + g) * TOKENS + t) * x->D;
}

static void take_shown(void *user, stage s, int l, int head, size_t t, const float *values,
                       size_t n)
{
    const shown *x = user;
    if (s != STAGE_STORED_K && s != STAGE_STORED_V)
        return;
    cr_assert_eq(n, x->D);
    memcpy(shown_at(x, s == STAGE_STORED_V, (size_t)l, (size_t)head, t), values,
           n * sizeof *values);
}

static void check_shown(const model *m, const char *text, size_t page, const int *ids)
{
    static const size_t lengths[] = {1, 2, 5, 15, 16, 33, 40, 41, 70, 100, 129, TOKENS};
    const config *c = &m->config;
    shown x = {.L = c->L, .heads = config_kv_heads(c), .D = config_head_size(c)};
    x.at = memory_array(2 * c->L * x.heads * TOKENS * x.D, sizeof *x.at);
    float *k = memory_array(x.D, sizeof *k), *v = memory_array(x.D, sizeof *v);
    decoder_options o = {.T_max = TOKENS, .kv = parse(text)};
    o.kv.page = page;
    decoder *d;
    const float *logits;
    cr_assert_null(kvcache_decoder.create(m, &o, &d));
    kvcache_decoder.observe(d, take_shown, &x);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        cr_assert_null(kvcache_decoder.step(d, ids, lengths[i], 1, &logits));
        for (size_t l = 0; l < c->L; l++)
            for (size_t g = 0; g < x.heads; g++)
                for (size_t t = 0; t < lengths[i]; t++) {
                    if (!kvcache_decoder.holds(d, l, g, t))
                        continue;
                    cr_assert_null(kvcache_decoder.read_kv(d, l, g, t, k, v));
                    cr_assert_arr_eq(k, shown_at(&x, false, l, g, t), x.D * sizeof *k,
                                     "%s, page %zu: key %zu of %zu", text, page, t, lengths[i]);
                    cr_assert_arr_eq(v, shown_at(&x, true, l, g, t), x.D * sizeof *v,
                                     "%s, page %zu: value %zu of %zu", text, page, t, lengths[i]);
                }
    }
    kvcache_decoder.destroy(d);
    memory_free(x.at);
    memory_free(k);
    memory_free(v);
}

// Heads of one block of channels, and of two.
Test(specs, show_what_is_held)
{
    static const char *const shapes[] = {"synthetic:L=2,C=36,H=6,G=2,T=150,V=16,F=30",
                                         "synthetic:L=2,C=80,H=2,T=150,V=16,F=30"};
    for (size_t i = 0; i < 2; i++) {
        int ids[TOKENS];
        model *m = loaded(shapes[i], ids);
        for (size_t s = 0; s < SPEC_COUNT; s++)
            for (size_t p = 0; p < 5; p++)
                check_shown(m, SPECS[s], PAGES[p], ids);
        model_free(m);
    }
}

// One number that the form cannot hold, in any place, in one call with rows before and behind it.
static void check_misfits(const char *text, size_t D, float beyond)
{
    enum { N = 21, FIRST = 3 };
    const size_t C = 2 * D;
    const config c = {.L = 3, .C = C, .H = 2, .F = 4, .V = 1, .T = 64};
    const decoder_options o = {.T_max = c.T, .kv = parse(text)};
    kv *kept;
    float *numbers = memory_array(2 * N * C, sizeof *numbers);
    const rows k = {numbers, C, C}, v = {numbers + N * C, C, C};
    cr_assert_null(kv_create(&c, 3, &o, &kept));
    for (size_t i = 0; i < 2 * N * C; i++) {
        const size_t r = i % (N * C) / C, column = i % C;
        char expected[128];
        numbers[i] = beyond + beyond / 1024 * (float)(i % 64);
        snprintf(expected, sizeof expected,
                 "layer 1, head %zu, position %zu: a %s of %g cannot be kept as %s", column / D,
                 r + FIRST, i < N * C ? "key" : "value", (double)numbers[i], text);
        support_assert_refused(kv_store(kept, 1, FIRST, &k, &v, N), expected);
        numbers[i] = 0;
    }
    cr_assert_null(kv_store(kept, 1, FIRST, &k, &v, N));
    kv_destroy(kept);
    memory_free(numbers);
}

Test(specs, name_the_number_that_cannot_be_kept)
{
    check_misfits("f16", 5, 65536);
    check_misfits("q8", 40, 65536 * 127);
}

// Where rows come in several calls, what is held is the same as from one.
Test(specs, are_stored_in_parts_as_at_once)
{
    enum { T = 100, C = 80 };
    static const size_t ends[] = {5, 16, 21, 53, 54, 70, T};
    const config c = {.L = 1, .C = C, .H = 2, .F = 4, .V = 1, .T = T};
    float numbers[2][T * C], a[2][C / 2], b[2][C / 2];
    int ids[T] = {0};
    for (size_t i = 0; i < T * C; i++) {
        numbers[0][i] = (float)(i * 7919 % 1013) / 64 - 7;
        numbers[1][i] = (float)(i * 104729 % 1019) / 128 - 3;
    }
    for (size_t s = 0; s < SPEC_COUNT; s++) {
        const decoder_options o = {.T_max = T, .kv = parse(SPECS[s])};
        if (o.kv.keep != KV_ALL)
            continue;
        kv *whole, *parts;
        cr_assert_null(kv_create(&c, 1, &o, &whole));
        cr_assert_null(kv_create(&c, 1, &o, &parts));
        for (size_t i = 0, from = 0; i < sizeof ends / sizeof *ends; from = ends[i++]) {
            const rows k = {numbers[0] + from * C, C, C}, v = {numbers[1] + from * C, C, C};
            if (i == 0)
                cr_assert_null(kv_store(whole, 0, 0, &k, &v, T));
            cr_assert_null(kv_store(parts, 0, from, &k, &v, ends[i] - from));
        }
        kv_commit(whole, ids, T);
        kv_commit(parts, ids, T);
        for (size_t i = 0; i < 2 * T; i++) {
            cr_assert_null(kv_read(whole, 0, i % 2, i / 2, a[0], a[1]));
            cr_assert_null(kv_read(parts, 0, i % 2, i / 2, b[0], b[1]));
            cr_assert_arr_eq(a[0], b[0], sizeof a, "%s: position %zu", SPECS[s], i / 2);
        }
        kv_destroy(whole);
        kv_destroy(parts);
    }
}

// Where queries and keys are large, most weights are +0, and scores are equal: the lower position
// leaves.
Test(specs, heavy_lets_the_lower_of_equal_scores_go)
{
    int ids[TOKENS];
    model *m = loaded("synthetic:L=2,C=36,H=3,T=150,V=16,F=30", ids);
    for (size_t l = 0; l < 2; l++) {
        const linear *w = &m->layers[l].qkv;
        for (size_t i = 0; i < panels_for(2 * 36) * LANES * w->K; i++)
            ((float *)w->panels)[i] *= 64;
    }
    check_spec(m, "heavy:4+8", 0, ids);
    check_spec(m, "heavy:1+20", 0, ids);
    model_free(m);
}

// Two ways to the same rows: of heavy with no others the last R stay, and each row sees its own
// besides.
Test(specs, heavy_without_others_is_a_window_of_one_more)
{
    decoder *d[2];
    int ids[TOKENS];
    const float *logits[2];
    static const char *const same[2] = {"heavy:9+0", "window:10"};
    model *m = loaded("synthetic:L=3,C=20,H=2,T=150,V=11,F=8", ids);
    for (size_t i = 0; i < 2; i++) {
        decoder_options o = {.T_max = TOKENS, .kv = parse(same[i])};
        cr_assert_null(kvcache_decoder.create(m, &o, &d[i]));
        cr_assert_null(kvcache_decoder.step(d[i], ids, TOKENS, TOKENS, &logits[i]));
    }
    cr_assert_eq(memcmp(logits[0], logits[1], TOKENS * m->config.V * sizeof(float)), 0);
    for (size_t i = 0; i < 2; i++)
        kvcache_decoder.destroy(d[i]);
    model_free(m);
}

// ---- the forms, number by number ----

// A form whose numbers stand alone, and its statement in the oracle.
typedef struct alone {
    const char *name;
    const form *of;
    uint32_t codes; // how many there are,
    uint16_t top;   // the greatest finite one
    double (*value)(uint16_t bits);
    float (*rounded)(float x);
    float beyond; // the least magnitude that it refuses; fp8: Inf
} alone;

static const alone ALONE[] = {
    {"f16", &form_f16, 65536, 0x7bff, oracle_half, oracle_as_half, 65520},
    {"bf16", &form_bf16, 65536, 0x7f7f, oracle_bfloat, oracle_as_bfloat, 0x1.ffp127f},
    {"fp8", &form_fp8, 256, 0x7e, oracle_fp8, oracle_as_fp8, INFINITY},
};
enum { ALONE_COUNT = sizeof ALONE / sizeof *ALONE };

static void assert_becomes(const alone *a, float x, float expected)
{
    uint16_t code;
    float got;
    cr_assert_eq(a->of->write(&x, 1, &code, NULL), 1, "%s: %a is refused", a->name, (double)x);
    a->of->read(&code, NULL, 1, &got);
    cr_assert_eq(memcmp(&got, &expected, sizeof got), 0, "%s: %a becomes %a, not %a", a->name,
                 (double)x, (double)got, (double)expected);
}

// Sixteen codes from `first` on, read alone and as lanes of a panel.
static void check_codes(const alone *a, uint32_t first)
{
    uint16_t halves[LANES];
    uint8_t bytes[LANES];
    float scalar[LANES], wide[WIDEN_DEPTH][LANES];
    for (size_t j = 0; j < LANES; j++)
        bytes[j] = (uint8_t)(halves[j] = (uint16_t)(first + j));
    const void *codes = a->of->width == 1 ? (void *)bytes : (void *)halves;
    a->of->read(codes, NULL, LANES, scalar);
    const size_t bits = a->of->bits, n = 32 / bits, row = first / LANES % n;
    uint32_t words[LANES];
    for (size_t j = 0; j < LANES; j++) // other rows share the words
        words[j] = (uint32_t)halves[j] << row * bits |
                   (n > 1 ? 0x5a5a5a5a & ~(UINT32_MAX >> (32 - bits) << row * bits) : 0);
    const panels panel = {
        .at = words, .stride = n * LANES, .count = 1, .first = row, .of = a->of->of};
    widen_panels(&panel, 0, 1, 0, 1, wide[0], WIDEN_DEPTH * LANES);
    const float(*lanes)[LANES] = (const float(*)[LANES])wide;
    for (size_t j = 0; j < LANES; j++) {
        const float expected = (float)a->value(halves[j]);
        if ((halves[j] & (a->codes / 2 - 1)) > a->top)
            continue;
        cr_assert_eq(memcmp(scalar + j, &expected, sizeof expected), 0, "%s: 0x%04x is %a, not %a",
                     a->name, halves[j], (double)scalar[j], (double)expected);
        cr_assert_eq(memcmp(lanes[0] + j, &expected, sizeof expected), 0,
                     "%s: 0x%04x in a lane is %a, not %a", a->name, halves[j], (double)lanes[0][j],
                     (double)expected);
    }
}

Test(specs, f16_bf16_and_fp8_read_each_of_their_codes_exactly)
{
    for (size_t i = 0; i < ALONE_COUNT; i++)
        for (uint32_t first = 0; first < ALONE[i].codes; first += LANES)
            check_codes(&ALONE[i], first);
}

Test(specs, f16_bf16_and_fp8_round_to_nearest_even)
{
    for (size_t i = 0; i < ALONE_COUNT; i++) {
        const alone *a = &ALONE[i];
        for (uint64_t u = 0; u <= UINT32_MAX; u += 4099) {
            const numeric_bits32 x = {.u = (uint32_t)u};
            if (fabsf(x.f) < a->beyond)
                assert_becomes(a, x.f, a->rounded(x.f));
        }
        for (uint16_t code = 0; code < a->top; code++) { // ties, and the numbers beside them
            const uint16_t next = (uint16_t)(code + 1);
            const float tie = (float)((a->value(code) + a->value(next)) / 2);
            assert_becomes(a, tie, (float)a->value((uint16_t)(code + code % 2)));
            assert_becomes(a, -tie, -(float)a->value((uint16_t)(code + code % 2)));
            assert_becomes(a, nextafterf(tie, 0), (float)a->value(code));
            assert_becomes(a, nextafterf(tie, INFINITY), (float)a->value(next));
        }
    }
}

Test(specs, f16_bf16_and_fp8_refuse_what_they_cannot_hold)
{
    for (size_t i = 0; i < ALONE_COUNT; i++) {
        const alone *a = &ALONE[i];
        const float beyond[] = {a->beyond, -a->beyond, INFINITY, -INFINITY, NAN},
                    top = nextafterf(a->beyond, 0);
        for (size_t j = 0; j < sizeof beyond / sizeof *beyond; j++) {
            const float three[] = {1, beyond[j], beyond[j]};
            uint16_t codes[3];
            cr_assert_eq(a->of->write(three, 3, codes, NULL), 1, "%s: %a", a->name,
                         (double)beyond[j]);
        }
        assert_becomes(a, top, (float)a->value(a->top));
        assert_becomes(a, -top, -(float)a->value(a->top));
    }
}

// What a block of four becomes, by hand.
static void assert_block(const form *of, const float x[4], const float expected[4])
{
    uint8_t codes[4];
    uint16_t scale;
    float got[4];
    cr_assert_eq(of->write(x, 4, codes, &scale), 4);
    of->read(codes, &scale, 4, got);
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(memcmp(got + i, expected + i, sizeof *got), 0, "%a becomes %a, not %a",
                     (double)x[i], (double)got[i], (double)expected[i]);
}

Test(specs, blocks_are_what_a_hand_makes_of_them)
{
    assert_block(&form_q8, (float[]){127, -126.5f, 0.5f, -1.5f}, (float[]){127, -126, 0, -2});
    assert_block(&form_q8, (float[]){0, -0.0f, 0, 0}, (float[]){0, 0, 0, 0});
    assert_block(&form_q8, (float[]){0x1p-30f, 0, 0, 0}, (float[]){0, 0, 0, 0}); // d is 0
    assert_block(&form_q4, (float[]){-8, 8, 0.5f, -0.75f}, (float[]){-8, 7, 1, -1});
    assert_block(&form_q4, (float[]){8, -8, 0.5f, 0.75f}, (float[]){8, -7, -0.0f, 1});
    assert_block(&form_q4, (float[]){0, 0, -0.0f, 0}, (float[]){0, 0, 0, 0});
    assert_block(&form_q4, (float[]){0x1p-30f, 0, 0, 0}, (float[]){0, 0, 0, 0});
}

Test(specs, blocks_refuse_what_gives_no_scale)
{
    static const form *const forms[] = {&form_q8, &form_q4};
    const float beyond[][2] = {{65520.0f * 127, 65520.0f * 8}, {INFINITY, INFINITY}, {NAN, NAN}};
    for (size_t f = 0; f < 2; f++)
        for (size_t i = 0; i < 3; i++) {
            const float three[] = {1, -2, beyond[i][f]};
            uint8_t codes[3];
            uint16_t scale;
            cr_assert_eq(forms[f]->write(three, 3, codes, &scale), 2, "%a", (double)three[2]);
        }
}

// ---- softmax with holes ----

// The same by position, one at a time; `x` holds NaN where nothing is seen.
static void expect_softmax(const float *x, visible see, float scale, float *p)
{
    float max = -INFINITY, partial[LANES] = {0};
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            max = fmaxf(max, x[s] * scale);
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            partial[s % LANES] += p[s] = numeric_exp(x[s] * scale - max);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            partial[j] += partial[j + half];
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            p[s] *= 1 / partial[0];
}

static void check_softmax(visible see)
{
    enum { ROOM = 128 };
    float x[ROOM], p[ROOM], expected[ROOM];
    for (size_t s = 0; s < ROOM; s++) {
        const bool seen = s < see.to && (s < see.sinks || s >= see.from);
        x[s] = seen ? (float)(s * 37 % 101) * 0.37f - 9 : NAN;
        p[s] = x[s];
    }
    expect_softmax(x, see, 0.3f, expected);
    softmax_row(p, see, softmax_scale(p, see, 0.3f));
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            cr_assert_eq(memcmp(p + s, expected + s, sizeof *p), 0,
                         "%zu sinks, %zu to %zu, position %zu: %a, not %a", see.sinks, see.from,
                         see.to, s, (double)p[s], (double)expected[s]);
}

Test(specs, softmax_with_holes_sums_by_position_and_never_reads_what_is_unseen)
{
    for (size_t to = 1; to <= 100; to++)
        for (size_t from = 0; from < to; from++) {
            check_softmax((visible){0, from, to});
            for (size_t sinks = 1; sinks < from; sinks += sinks < 18 ? 1 : 7)
                check_softmax((visible){sinks, from, to});
        }
}

// ---- as text ----

Test(specs, are_written_as_they_are_read)
{
    static const char *const names[][2] = {
        {"all", "all"},
        {"f32", "all"},
        {"f32,all", "all"},
        {"f16", "f16"},
        {"all,f16", "f16"},
        {"window:256", "window:256"},
        {"window:256+0", "window:256"},
        {"f16,window:256+4", "window:256+4,f16"},
        {"bf16", "bf16"},
        {"fp8,all", "fp8"},
        {"q4,window:9+1", "window:9+1,q4"},
        {"q8", "q8"},
        {"kivi4", "kivi4"},
        {"kivi4:32", "kivi4"},
        {"window:9,kivi2:128", "window:9,kivi2:128"},
        {"window:1+1,f32", "window:1+1"},
        {"heavy:16+0", "heavy:16+0"},
        {"f16,heavy:128+64", "heavy:128+64,f16"},
        {"file:/tmp", "file:/tmp"},
        {"file:/tmp:7", "file:/tmp:7"},
        {"file:a:b", "file:a:b"},
        {"file:a:3:4", "file:a:3:4"},
        {"file:a:", "file:a:"},
        {"file:run:2024-05", "file:run:2024-05"},
        {"file:a:12x", "file:a:12x"},
        {"file:7", "file:7"},
        {"file:.:1,f16,window:2+1", "window:2+1,f16,file:.:1"},
    };
    char text[KV_NAME];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        kv_spec spec, again;
        cr_assert_null(kv_parse(names[i][0], &spec));
        cr_assert_str_eq(kv_name(&spec, text), names[i][1]);
        cr_assert_null(kv_parse(text, &again));
        cr_assert(spec.keep == again.keep && spec.form == again.form &&
                      spec.recent == again.recent && spec.sinks == again.sinks &&
                      spec.group == again.group && spec.heavy == again.heavy &&
                      spec.resident == again.resident && strcmp(spec.dir, again.dir) == 0,
                  "%s", names[i][0]);
    }
}

Test(specs, a_name_with_digits_sets_no_limit)
{
    kv_spec with, without;
    cr_assert_null(kv_parse("file:run:2024-05", &with));
    cr_assert_null(kv_parse("file:run", &without));
    cr_assert_eq(with.resident, without.resident);
}

Test(specs, pages_and_groups_that_cut_each_other_are_refused)
{
    support_assert_refused(
        kv_check(&(kv_spec){.form = KV_KIVI4, .group = 32, .page = 48}),
        "pages of 48 positions and groups of 32: let one be a multiple of the other");
    cr_assert_null(kv_check(&(kv_spec){.form = KV_KIVI4, .group = 32, .page = 64}));
    cr_assert_null(kv_check(&(kv_spec){.form = KV_KIVI4, .group = 32, .page = 16}));
}

Test(specs, that_make_no_sense_are_refused_with_what_can_stand_there)
{
    static const char *const window = "give the rows that are seen, at least 1|window:256+4";
    static const char *const heavy = "give the last rows that are kept, at least 1|heavy:128+128";
    const struct {
        const char *text, *parts;
    } cases[] = {
        {"", "--kv : ''|is no way to keep keys and values|window:W[+S] or heavy:R+H"},
        {"q5", "'q5' is no way to keep keys and values|f32, f16, bf16, fp8, q8"},
        {"heavy:4+4,kivi4", "heavy drops single rows, and kivi4 stores keys by groups"},
        {"kivi2:64,heavy:4+4", "heavy drops single rows, and kivi2 stores keys by groups"},
        {"kivi4,kivi2", "'kivi2' is a second word for the form of a row: give one"},
        {"kivi4:0", "'kivi4:0': a group has 16, 32, 64 or 128 positions"},
        {"kivi4:32:32", "'kivi4:32:32'"},
        {"f16,", "--kv f16,: ''|is no way"},
        {"F16", "'F16' is no way"},
        {"kivi4:", "'kivi4:': a group has 16, 32, 64 or 128 positions"},
        {"kivi4:33", "'kivi4:33': a group has"},
        {"kivi2:256", "'kivi2:256': a group has"},
        {"kivi3", "'kivi3' is no way"},
        {"kivi44", "'kivi44' is no way"},
        {"q8:32", "'q8:32' is no way"},
        {"window", "'window' is no way"},
        {"window:", window},
        {"window:0", window},
        {"window:0+4", window},
        {"window:4+", window},
        {"window:+4", window},
        {"window:4+4+4", window},
        {"window:-4", window},
        {"window:99999999999999999999", window},
        {"heavy", "'heavy' is no way"},
        {"heavy:", heavy},
        {"heavy:4", heavy},
        {"heavy:0+4", heavy},
        {"heavy:4+", heavy},
        {"heavy:+4", heavy},
        {"heavy:4+4+4", heavy},
        {"heavy:4+99999999999999999999", heavy},
        {"heavy:4+4,window:4", "'window:4' is a second word for the rows that are kept: give one"},
        {"f16,f16", "'f16' is a second word for the form of a row: give one"},
        {"f16,f32", "'f32' is a second word for the form of a row"},
        {"file:a,file:b", "'file:b' is a second word for the place of pages: give one"},
        {"heavy:4+4,file:/tmp", "heavy keeps single rows, not pages|leave out file:/tmp"},
        {"file:", "'file:': give a directory|without a comma|in file:/var/tmp:64"},
        {"file::3", "'file::3': give a directory"},
        {"file:/x:99999999999999999999", "'file:/x:99999999999999999999': give a directory"},
        {"file:/tmp:0", "'file:/tmp:0': give a directory|at least 1"},
        {"all,window:4", "'window:4' is a second word for the rows that are kept: give one"},
    };
    kv_spec spec;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        support_assert_refused(kv_parse(cases[i].text, &spec), cases[i].parts);
    char endless[1000];
    memset(endless, 'w', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    support_assert_refused(kv_parse(endless, &spec), "999 characters are more than any spec");
    support_assert_refused(kv_check(&(kv_spec){.page = 24}), "page of 24|multiple of 16");
    support_assert_refused(kv_check(&(kv_spec){.form = KV_KIVI2}), "group of 0");
    support_assert_refused(kv_check(&(kv_spec){.form = KV_Q8, .group = 32}),
                           "group of 32|other forms none");
    support_assert_refused(kv_check(&(kv_spec){.keep = KV_WINDOW}), "window of no rows");
    support_assert_refused(kv_check(&(kv_spec){.keep = KV_HEAVY}), "heavy with no recent row");
}
