// Weights at their own width: what is computed with them is, in every bit, what an F32 model of the
// same numbers computes; and how numbers become those that --weights q8 keeps.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/math/kernel.h"
#include "common/number/form.h"
#include "common/number/numeric.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/oracle.h"
#include "tests/support/shell.h"
#include "tests/support/support.h"

TestSuite(width, .init = shell_make_folder, .fini = shell_remove_folder);

enum { N = 37 }; // tokens

// Odd depths, panels that are not full, one panel, nine and more, several pieces, few K/V heads.
static const char *const SHAPES[] = {
    "synthetic:L=2,C=48,H=3,T=40,V=300,F=290", "synthetic:L=3,C=7,H=7,F=5,V=17,T=40,seed=2",
    "synthetic:L=1,C=1,H=1,T=40,V=3,F=1",      "synthetic:L=2,C=36,H=6,G=2,T=40,V=129,F=65",
    "synthetic:L=1,C=80,H=4,G=1,T=40,V=20",
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };

static model *load(const char *name, model_weights weights)
{
    model *m = NULL;
    status s = model_load_as(name, weights, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

// ---- The F32 model of the rounded numbers ----

static void round_all(model *m, float rounded(float))
{
    float *x = (float *)m->block;
    for (size_t i = 0; i < m->block_bytes / sizeof *x; i++)
        x[i] = rounded(x[i]);
}

// Each output, in blocks of 32 along K.
static void round_matrix(linear *w)
{
    float *x = (float *)w->panels, block[32];
    cr_assert_eq(w->of, ELEMENT_F32);
    for (size_t n = 0; n < w->N; n++)
        for (size_t k = 0; k < w->K; k += 32) {
            const size_t size = size_min(32, w->K - k);
            float *at = x + (n / 16 * w->K + k) * 16 + n % 16;
            for (size_t i = 0; i < size; i++)
                block[i] = at[i * 16];
            oracle_as_q8(block, size);
            for (size_t i = 0; i < size; i++)
                at[i * 16] = block[i];
        }
}

// Each matrix once; a head that is wte is again.
static void for_each_matrix(model *m, void visit(linear *w))
{
    const bool tied = m->head.panels == m->wte.panels;
    visit(&m->wte);
    if (tied)
        m->head = m->wte;
    else
        visit(&m->head);
    for (size_t l = 0; l < m->config.L; l++) {
        layer *w = &m->layers[l];
        visit(&w->qkv);
        visit(&w->proj);
        visit(&w->fc);
        visit(&w->fcproj);
    }
}

// A matrix as F32, in memory of its own.
static void widen_matrix(linear *w)
{
    float *x = memory_array(padded(w->N) * w->K, sizeof *x);
    for (size_t n = 0; n < w->N; n++)
        for (size_t k = 0; k < w->K; k++)
            x[(n / 16 * w->K + k) * 16 + n % 16] = linear_weight(w, k, n);
    w->panels = x;
    w->of = ELEMENT_F32;
}

static void free_matrix(linear *w)
{
    memory_free((void *)w->panels);
}

// ---- Every bit ----

// All logits of N tokens, `once` of them in a call.
static float *run(const decoder_api *api, const model *m, size_t once)
{
    decoder *d = NULL;
    const float *y;
    int ids[N];
    const size_t V = m->config.V;
    float *all = memory_array(N * V, sizeof *all);
    for (size_t i = 0; i < N; i++)
        ids[i] = (int)((i * i + 5 * i) % V);
    cr_assert_null(api->create(m, &(decoder_options){.T_max = N}, &d));
    for (size_t t = 0, n; t < N; t += n) {
        n = size_min(once, N - t);
        cr_assert_null(api->step(d, ids, t + n, n, &y));
        memcpy(all + t * V, y, n * V * sizeof *y);
    }
    api->destroy(d);
    return all;
}

static void expect_logits(float *got, const float *expected, size_t V, const char *what)
{
    for (size_t i = 0; i < N * V; i++)
        cr_assert_eq(memcmp(got + i, expected + i, sizeof *got), 0,
                     "%s: row %zu, logit %zu is %a, not %a", what, i / V, i % V, (double)got[i],
                     (double)expected[i]);
    memory_free(got);
}

// Both decoders, in chunks of several sizes, and the oracle.
static void expect_equal(const model *m, const model *wide, const char *what)
{
    static const size_t once[] = {1, 2, 5, 16, N};
    const size_t V = m->config.V;
    int ids[N];
    float *expected = run(&naive_decoder, wide, N), *oracle = memory_array(N * V, sizeof *oracle);
    cr_assert_eq(wide->wte.of, ELEMENT_F32);
    cr_assert(isfinite(expected[N * V - 1]) && expected[0] != expected[N * V - 1]);
    for (size_t i = 0; i < sizeof once / sizeof *once; i++) {
        expect_logits(run(&kvcache_decoder, m, once[i]), expected, V, what);
        expect_logits(run(&naive_decoder, m, once[i]), expected, V, what);
    }
    for (size_t i = 0; i < N; i++)
        ids[i] = (int)((i * i + 5 * i) % V);
    oracle_logits(m, &(kv_spec){0}, ids, N, N, oracle);
    expect_logits(oracle, expected, V, what);
    memory_free(expected);
}

static void expect_equal_dtype(const char *shape, const char *dtype, element of,
                               float rounded(float))
{
    char name[128];
    snprintf(name, sizeof name, "%s,dtype=%s", shape, dtype);
    model *m = load(name, MODEL_AS_STORED), *wide = load(shape, MODEL_AS_STORED);
    round_all(wide, rounded);
    cr_assert(m->wte.of == of && m->head.of == of && m->layers[0].fcproj.of == of, "%s", name);
    expect_equal(m, wide, name);
    model_free(m), model_free(wide);
}

Test(width, sixteen_bits_give_what_an_f32_model_of_them_gives)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        expect_equal_dtype(SHAPES[i], "f16", ELEMENT_F16, oracle_as_half);
        expect_equal_dtype(SHAPES[i], "bf16", ELEMENT_BF16, oracle_as_bfloat);
    }
}

Test(width, rounded_weights_give_what_a_wide_model_of_them_gives)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        model *m = load(SHAPES[i], MODEL_Q8), *wide = load(SHAPES[i], MODEL_AS_STORED);
        for_each_matrix(wide, round_matrix);
        cr_assert(m->wte.of == ELEMENT_Q8 && m->head.panels == m->wte.panels);
        expect_equal(m, wide, SHAPES[i]);
        model_free(m), model_free(wide);
    }
}

// The linear layers of gpt_bigcode are stored (out, in): blocks lie along the rows of the file.
Test(width, q8_of_a_transposed_file)
{
    model *m = load(SOURCE_DIR "/common/models/mqa", MODEL_Q8),
          *wide = load(SOURCE_DIR "/common/models/mqa", MODEL_AS_STORED);
    cr_assert_eq(wide->layers[0].fc.of, ELEMENT_F16);
    for_each_matrix(wide, widen_matrix);
    for_each_matrix(wide, round_matrix);
    expect_equal(m, wide, "mqa");
    for_each_matrix(wide, free_matrix);
    model_free(m), model_free(wide);
}

// ---- Files ----

// Codes of all kinds: both signs, subnormal ones, the largest below 1/2.
static void fill_codes(support_tensor *t, uint16_t above)
{
    static uint32_t state = 1;
    for (size_t i = 0; i < t->bytes / 2; i++) {
        state = state * 1664525 + 1013904223;
        const uint16_t code = (uint16_t)((state >> 16 & 0x8000) | (state >> 8) % above);
        memcpy(t->data + 2 * i, &code, sizeof code);
    }
}

static void widen_file(support_model *file)
{
    for (size_t t = 0; t < file->count; t++) {
        support_tensor *x = &file->tensors[t];
        const size_t n = x->bytes / 2;
        float *wide = malloc(n * sizeof *wide);
        for (size_t i = 0; i < n; i++)
            wide[i] = support_tensor_value(x, i);
        free(x->data);
        x->data = (unsigned char *)wide;
        x->bytes = n * sizeof *wide;
        strcpy(x->dtype, "F32");
    }
}

static model *load_file(const support_model *file, model_weights weights)
{
    support_model_write(file, support_folder);
    return load(support_folder, weights);
}

static void check_file(config c, const char *dtype, element of, uint16_t above)
{
    support_model *file = support_model_make(c, dtype, "transformer.");
    support_model_add(file, "lm_head.weight", dtype, 2, (size_t[]){c.V, c.C});
    for (size_t t = 0; t < file->count; t++)
        fill_codes(&file->tensors[t], above);
    model *m = load_file(file, MODEL_AS_STORED), *rounded = load_file(file, MODEL_Q8);
    widen_file(file);
    model *wide = load_file(file, MODEL_AS_STORED), *both = load_file(file, MODEL_Q8);
    cr_assert(m->head.of == of && m->head.panels != m->wte.panels && m->layers[0].qkv.of == of);
    expect_equal(m, wide, dtype);
    cr_assert_eq(rounded->block_bytes, both->block_bytes);
    cr_assert_eq(memcmp(rounded->block, both->block, both->block_bytes), 0, "rounded otherwise");
    for_each_matrix(wide, round_matrix);
    expect_equal(rounded, wide, "q8");
    model_free(m), model_free(rounded), model_free(wide), model_free(both);
    support_model_free(file);
}

Test(width, files_of_each_dtype)
{
    const config c = {.L = 2, .C = 24, .H = 3, .F = 43, .V = 150, .T = N, .eps = 1e-5f};
    check_file(c, "F16", ELEMENT_F16, 0x3800);
    check_file(c, "BF16", ELEMENT_BF16, 0x3f00);
}

// Each tensor has a width of its own.
Test(width, dtypes_may_be_mixed)
{
    const config c = {.L = 1, .C = 8, .H = 2, .F = 9, .V = 20, .T = 4, .eps = 1e-5f};
    size_t bytes;
    config seen;
    support_model *file = support_model_make(c, "F16", "");
    support_model_drop(file, "h.0.mlp.c_fc.weight");
    support_model_add(file, "h.0.mlp.c_fc.weight", "F32", 2, (size_t[]){c.C, c.F});
    support_model_drop(file, "h.0.attn.c_proj.weight");
    support_model_add(file, "h.0.attn.c_proj.weight", "BF16", 2, (size_t[]){c.C, c.C});
    model *m = load_file(file, MODEL_AS_STORED);
    const layer *w = &m->layers[0];
    cr_assert(w->qkv.of == ELEMENT_F16 && w->fc.of == ELEMENT_F32 && w->proj.of == ELEMENT_BF16);
    cr_assert_null(model_peek(support_folder, MODEL_AS_STORED, &seen, &bytes));
    cr_assert_eq(bytes, m->block_bytes);
    model_free(m);
    support_model_free(file);
}

// ---- Bytes ----

static size_t bytes_of(const char *name, model_weights weights)
{
    config c;
    size_t bytes;
    cr_assert_null(model_peek(name, weights, &c, &bytes));
    model *m = load(name, weights);
    cr_assert_eq(bytes, m->block_bytes, "%s: %zu bytes foretold, %zu needed", name, bytes,
                 m->block_bytes);
    model_free(m);
    return bytes;
}

Test(width, bytes_are_foretold_and_those_of_the_width)
{
    const char *name = "synthetic:L=1,C=64,H=1,T=16,V=160";
    const size_t matrices = 4 * 64 * 64 + 2 * 64 * 256 + 160 * 64,
                 others = (16 * 64 + 3 * 2 * 64 + 3 * 64 + 64 + 256 + 64) * sizeof(float);
    cr_assert_eq(bytes_of(name, MODEL_AS_STORED), matrices * 4 + others);
    cr_assert_eq(bytes_of("synthetic:L=1,C=64,H=1,T=16,V=160,dtype=bf16", MODEL_AS_STORED),
                 matrices * 2 + others);
    cr_assert_eq(bytes_of("synthetic:L=1,C=64,H=1,T=16,V=160,dtype=f16", MODEL_AS_STORED),
                 matrices * 2 + others);
    cr_assert_eq(bytes_of(name, MODEL_Q8), matrices + matrices / 32 * 2 + others);
    for (size_t i = 0; i < SHAPE_COUNT; i++)
        bytes_of(SHAPES[i], MODEL_Q8);
}

// ---- The kernel ----

static const struct {
    element of;
    const form *as;
    size_t share;
} WIDTHS[] = {
    {ELEMENT_F16, &form_f16, 2}, {ELEMENT_BF16, &form_bf16, 2}, {ELEMENT_Q8, &form_q8, 4}};

// Numbers of all magnitudes from 2^-20 to 2^19, and some zeros.
static float number(size_t i)
{
    const uint32_t h = (uint32_t)(i + 1) * 2654435761u, g = h ^ h >> 15;
    return g % 61 == 0
               ? 0
               : ldexpf((float)((int32_t)(g % 4096) - 2048) / 2048, (int)(g >> 20) % 40 - 20);
}

// b (count panels, K, 16) as words of this width; `wide` gets what they stand for.
static void make_panels(size_t which, size_t K, size_t count, void *words, uint16_t *scales,
                        float *wide)
{
    const size_t share = WIDTHS[which].share, width = 4 / share,
                 depth = (K + share - 1) / share * share, blocks = (K + 31) / 32;
    for (size_t n = 0; n < count * 16; n++)
        for (size_t k = 0; k < K; k += 32) {
            float x[32], back[32];
            char codes[64];
            const size_t size = size_min(32, K - k);
            uint16_t *scale = scales + (n / 16 * blocks + k / 32) * 16 + n % 16;
            for (size_t i = 0; i < size; i++)
                x[i] = number(n * 7919 + k + i) * 0x1p-4f;
            cr_assert_eq(WIDTHS[which].as->write(x, size, codes, scale), size);
            WIDTHS[which].as->read(codes, scale, size, back);
            for (size_t i = 0; i < size; i++) {
                const size_t row = n / 16 * depth + k + i;
                memcpy((char *)words + (row / share * 16 + n % 16) * 4 + row % share * width,
                       codes + i * width, width);
                wide[(n / 16 * K + k + i) * 16 + n % 16] = back[i];
            }
        }
}

// `large`: sums grow beyond what is finite, as they do in F32.
static void check_product(size_t which, size_t n, size_t K, size_t count, bool large)
{
    const size_t columns = count * 16, share = WIDTHS[which].share,
                 word_count = (K + share - 1) / share * columns, blocks = (K + 31) / 32;
    uint32_t *words = support_guarded(word_count, sizeof *words);
    uint16_t *scales = support_guarded(blocks * columns, sizeof *scales);
    float *wide = calloc(K * columns, sizeof *wide), *a = support_guarded(n * K, sizeof *a);
    float *got = support_guarded(n * columns, sizeof *got),
          *expected = calloc(n * columns, sizeof *got);
    float bias[13 * 16];
    for (size_t j = 0; j < columns; j++)
        bias[j] = number(j + 99);
    for (size_t i = 0; i < n * K; i++)
        a[i] = number(i + 12345) * (large ? 1 : 0x1p-4f);
    if (large && K > 2)
        a[K / 2] = 0x1.8p+100f, a[K / 2 + 1] = -65536;
    make_panels(which, K, count, words, scales, wide);
    const panels b = {.at = words,
                      .stride = word_count / count * share,
                      .count = count,
                      .of = WIDTHS[which].of,
                      .scales = {scales, .block = 32, .stride = blocks * 16}};
    kernel_product(n, K, a, K, b, got, columns, bias, false);
    kernel_product(n, K, a, K,
                   (panels){.at = wide, .stride = K * 16, .count = count, .of = ELEMENT_F32},
                   expected, columns, bias, false);
    for (size_t i = 0; i < n * columns; i++)
        cr_assert_eq(memcmp(got + i, expected + i, sizeof *got), 0,
                     "width %zu, %zu rows, K %zu, %zu panels, large %d: y[%zu][%zu] is %a, not %a",
                     which, n, K, count, large, i / columns, i % columns, (double)got[i],
                     (double)expected[i]);
    support_guarded_free(words, word_count, sizeof *words);
    support_guarded_free(scales, blocks * columns, sizeof *scales);
    support_guarded_free(a, n * K, sizeof *a);
    support_guarded_free(got, n * columns, sizeof *got);
    free(wide), free(expected);
}

Test(width, products_equal_those_of_the_wide_panels)
{
    static const size_t Ks[] = {1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 255, 256, 257, 300};
    for (size_t which = 0; which < sizeof WIDTHS / sizeof *WIDTHS; which++)
        for (size_t i = 0; i < sizeof Ks / sizeof *Ks; i++)
            for (size_t n = 1; n <= 13; n += n < 5 ? 1 : 4)
                for (size_t count = 1; count <= 13; count += 3)
                    for (int large = 0; large <= 1; large++)
                        check_product(which, n, Ks[i], count, large);
}

// ---- Names and refusals ----

Test(width, a_digest_names_the_weights_as_they_are_used)
{
    static const char *const names[] = {"synthetic:L=1,C=8,H=2,T=4,V=5",
                                        "synthetic:L=1,C=8,H=2,T=4,V=5,dtype=f16",
                                        "synthetic:L=1,C=8,H=2,T=4,V=5,dtype=bf16"};
    char hex[6][65];
    for (size_t i = 0; i < 6; i++) {
        model *m = load(names[i / 2], i % 2 ? MODEL_Q8 : MODEL_AS_STORED);
        cr_assert_null(model_digest(m, hex[i]));
        cr_assert_eq(strlen(hex[i]), 64);
        cr_assert_eq(strstr(model_label(m), " (q8)") != NULL, i % 2 == 1);
        for (size_t k = 0; k < i; k++)
            cr_assert_str_neq(hex[i], hex[k], "%zu and %zu", i, k);
        model_free(m);
    }
}

Test(width, a_state_belongs_to_weights_as_they_are_used)
{
    const char *line = "%s/kvcache -m synthetic:L=1,C=16,H=2,T=32,V=50 %s --ids 1,2,3 -n 4 %s=$D/s";
    char text[1024];
    snprintf(text, sizeof text, line, BUILD_DIR, "--weights q8", "--save-state");
    cr_assert_eq(shell_run(text), 0);
    snprintf(text, sizeof text, line, BUILD_DIR, "--weights q8", "--load-state");
    cr_assert_eq(shell_run(text), 0);
    snprintf(text, sizeof text, line, BUILD_DIR, "", "--load-state");
    cr_assert_neq(shell_run(text), 0);
    shell_expect_in("err", "its model is '");
    shell_expect_in("err", "load it with the model that it was saved with");
}

Test(width, names_of_what_is_not_there)
{
    config c;
    uint64_t seed;
    model_weights w;
    support_assert_refused(config_parse_synthetic("synthetic:124M,dtype=f32", &c, &seed),
                           "\"dtype=f32\" is neither dtype=f16 nor dtype=bf16");
    support_assert_refused(config_parse_synthetic("synthetic:dtype=bf16,L=2,dtype=f16", &c, &seed),
                           "dtype= is given twice");
    support_assert_refused(config_parse_synthetic("synthetic:124M,L=2", &c, &seed),
                           "124M,L=2|dtype=");
    support_assert_refused(config_parse_synthetic("synthetic:124M,dtype=bf16x", &c, &seed),
                           "dtype=bf16x");
    cr_assert_null(config_parse_synthetic("synthetic:dtype=f16,L=2", &c, &seed));
    cr_assert(c.L == 2 && config_synthetic_element("synthetic:dtype=f16,L=2") == ELEMENT_F16);
    cr_assert_eq(config_synthetic_element("dir/dtype=f16"), ELEMENT_F32);
    support_assert_refused(model_parse_weights("q4", &w), "'q4'|give q8");
    cr_assert_null(model_parse_weights("q8", &w));
    cr_assert_eq(w, MODEL_Q8);
}

Test(width, commands_refuse_other_weights)
{
    cr_assert_eq(shell_run(BUILD_DIR "/kvcache --weights q4 --ids 1"), 2);
    shell_expect_in("err", "--weights 'q4': give q8, or leave it out");
    cr_assert_eq(shell_run(BUILD_DIR "/tested/bench verify --weights f16"), 2);
    shell_expect_in("err", "--weights: 'f16': give q8, or leave it out");
    cr_assert_eq(shell_run(BUILD_DIR "/tested/bench verify -W q8 -m synthetic:L=1,C=8,H=2,T=9,V=5"),
                 0);
    shell_expect_in("out", "synthetic:L=1,C=8,H=2,T=9,V=5 (q8)");
}

Test(width, numbers_too_large_for_a_scale)
{
    const config c = {.L = 1, .C = 4, .H = 1, .F = 70, .V = 6, .T = 2, .eps = 1e-5f};
    support_model *file = support_model_make(c, "F32", "");
    model *m = NULL;
    for (size_t t = 0; t < file->count; t++)
        for (size_t i = 0; i < file->tensors[t].bytes / 4; i++)
            memcpy(file->tensors[t].data + 4 * i, &(float){8e6f}, 4);
    m = load_file(file, MODEL_Q8);
    cr_assert_eq(linear_weight(&m->wte, 0, 0), 63008.0f * 127);
    model_free(m);
    support_tensor *fc = support_model_find(file, "h.0.mlp.c_proj.weight");
    memcpy(fc->data + 4 * (65 * c.C + 2), &(float){-9e6f}, 4);
    support_model_write(file, support_folder);
    support_assert_refused(model_load_as(support_folder, MODEL_Q8, &m),
                           "tensor h.0.mlp.c_proj.weight|-9e+06|--weights q8");
    cr_assert_null(m);
    m = load(support_folder, MODEL_AS_STORED);
    model_free(m);
    support_model_free(file);
}
