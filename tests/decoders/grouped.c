// Grouped heads: a model whose K/V heads are shared equals its twin in which they are duplicated,
// in every bit and under every spec; the model of one K/V head equals a forward pass in double
// precision; and G heads take G / H of the bytes.
#include <criterion/criterion.h>
#include <math.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/verify/verification.h"
#include "common/base/random.h"
#include "common/kv/kv.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/support.h"

TestSuite(grouped, .init = support_enter_folder, .fini = support_leave_folder, .timeout = 120);

enum { N = 40, VOCABULARY = 30, HEADS = 3, WIDE = 12, HEAD = WIDE / HEADS };
static const config TWIN = {
    .L = 2, .C = WIDE, .H = HEADS, .F = 20, .V = VOCABULARY, .T = N, .eps = 1e-5f};
static const char BIGCODE[] =
    "{\"model_type\": \"gpt_bigcode\", \"multi_query\": %s, \"n_layer\": 2, \"n_embd\": 12, "
    "\"n_head\": 3, \"n_inner\": 20, \"vocab_size\": 30, \"n_positions\": 40}";

static void write_bigcode_config(const char *multi_query)
{
    char text[sizeof BIGCODE + 8];
    const int n = snprintf(text, sizeof text, BIGCODE, multi_query);
    support_write(support_folder, "config.json", text, (size_t)n);
}

static bool is_attention(const support_tensor *t)
{
    return strstr(t->name, "attn.c_attn") != NULL;
}

// Every number between -1 and 1; the columns of K heads 1 and 2 are those of head 0, as of V.
static void fill(support_tensor *t)
{
    float *x = (float *)(void *)t->data;
    for (size_t i = 0; i < t->bytes / sizeof *x; i++) {
        const size_t column = i % (3 * WIDE), from = column / WIDE * WIDE + column % HEAD;
        const size_t same = is_attention(t) && column >= WIDE ? i - column + from : i;
        x[i] = (float)(random_splitmix64(same + t->bytes) >> 40) * 0x1p-23f - 1;
    }
}

// The same numbers as gpt_bigcode stores them: (out, in), the duplicates left out.
static void share(support_tensor *t)
{
    const float *from = (const float *)(const void *)t->data;
    const bool matrix = t->rank == 2 && strstr(t->name, "h.") == t->name;
    const size_t in = matrix ? t->shape[0] : 1, all = t->shape[t->rank - 1];
    if (!matrix && !is_attention(t))
        return;
    float *to = malloc(t->bytes);
    size_t out = 0;
    for (size_t j = 0; j < all; j++) {
        if (is_attention(t) && j >= WIDE && j % WIDE >= HEAD)
            continue;
        for (size_t i = 0; i < in; i++)
            to[out * in + i] = from[i * all + j];
        out++;
    }
    t->shape[0] = out;
    t->shape[1] = in;
    t->bytes = out * in * sizeof *to;
    memcpy(t->data, to, t->bytes);
    free(to);
}

// All logits of N tokens, in two calls.
static void run(const decoder_api *api, const model *m, const char *spec, const int *ids,
                float *logits)
{
    decoder *d;
    const float *y;
    const size_t V = m->config.V, first = N - 7;
    decoder_options o = {.T_max = N};
    cr_assert_null(kv_parse(spec, &o.kv));
    cr_assert_null(api->create(m, &o, &d));
    cr_assert_null(api->step(d, ids, first, first, &y));
    memcpy(logits, y, first * V * sizeof *y);
    cr_assert_null(api->step(d, ids, N, N - first, &y));
    memcpy(logits + first * V, y, (N - first) * V * sizeof *y);
    api->destroy(d);
}

// Under heavy a K/V head has one set of rows, which its twins would not have.
static const char *const SPECS[] = {"all",          "f16",
                                    "bf16",         "fp8",
                                    "q8",           "q4",
                                    "kivi4:16",     "kivi2:16",
                                    "window:5+3",   "window:7",
                                    "heavy:4+3",    "window:20+4,q8",
                                    "window:9,f16", "window:5+2,kivi4:16",
                                    "heavy:4+3,q4"};
enum { SPEC_COUNT = sizeof SPECS / sizeof *SPECS };

Test(grouped, duplicated_heads_equal_the_shared_one_in_every_bit)
{
    static float twin[SPEC_COUNT][N * VOCABULARY], shared[N * VOCABULARY];
    model *m;
    int ids[N];
    for (int t = 0; t < N; t++)
        ids[t] = (t * t + 3 * t) % VOCABULARY;
    support_model *file = support_model_make(TWIN, "F32", "");
    for (size_t i = 0; i < file->count; i++)
        fill(&file->tensors[i]);
    support_model_write(file, support_folder);
    cr_assert_null(model_load(support_folder, &m));
    for (size_t s = 0; s < SPEC_COUNT; s++)
        run(&naive_decoder, m, SPECS[s], ids, twin[s]);
    model_free(m);
    for (size_t i = 0; i < file->count; i++)
        share(&file->tensors[i]);
    support_model_write(file, support_folder);
    write_bigcode_config("true");
    status failed = model_load(support_folder, &m);
    cr_assert_null(failed, "%s", failed ? failed : "");
    cr_assert(config_kv_heads(&m->config) == 1 && isfinite(twin[0][N * VOCABULARY - 1]));
    for (size_t s = 0; s < SPEC_COUNT; s++) {
        if (strstr(SPECS[s], "heavy"))
            continue;
        cr_assert(s == 0 || memcmp(twin[s], twin[0], sizeof shared) != 0, "%s is plain", SPECS[s]);
        run(&naive_decoder, m, SPECS[s], ids, shared);
        cr_assert_eq(memcmp(shared, twin[s], sizeof shared), 0, "naive under %s", SPECS[s]);
        run(&kvcache_decoder, m, SPECS[s], ids, shared);
        cr_assert_eq(memcmp(shared, twin[s], sizeof shared), 0, "kvcache under %s", SPECS[s]);
    }
    model_free(m);
    support_model_free(file);
}

Test(grouped, what_is_not_shared_by_all_is_refused)
{
    config c;
    uint64_t seed;
    write_bigcode_config("false");
    cr_assert_not_null(strstr(config_read(support_folder, &c),
                              "\"multi_query\" is not true, and no other gpt_bigcode is read"));
    cr_assert_not_null(strstr(config_parse_synthetic("synthetic:H=6,G=4", &c, &seed),
                              "4 K/V heads do not divide 6 heads"));
    cr_assert_null(config_parse_synthetic("synthetic:H=6,G=3", &c, &seed));
    cr_assert(c.G == 3 && config_kv_width(&c) == 3 * 128);
}

// Head 0 of `one` has the mean of the three K heads, or V heads, of `three`, rounded to binary16.
static void check_pooled(const linear *three, const linear *one, size_t C, bool values)
{
    const size_t D = C / 3, from = C + values * C, to = C + values * D;
    for (size_t d = 0; d < D; d++)
        for (size_t k = 0; k <= C; k++) { // the last is the bias
            double mean = 0;
            for (size_t h = 0; h < 3; h++) {
                const size_t column = from + h * D + d;
                mean += (double)(k < C ? linear_weight(three, k, column) : three->bias[column]) / 3;
            }
            const double got = (double)(k < C ? linear_weight(one, k, to + d) : one->bias[to + d]);
            cr_assert_leq(fabs(got - mean), fabs(mean) * 0x1.001p-11 + 0x1p-25, "%zu, %zu", k, d);
        }
}

Test(grouped, the_tool_averages_heads_and_gives_the_model_that_was_trained_on)
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    model *three, *one;
    if (system("command -v python3 >/dev/null") != 0)
        cr_skip_test("there is no python3");
    cr_assert_eq(system("python3 '" SOURCE_DIR "/common/models/mqa/pool.py' '" SOURCE_DIR
                        "/common/models/shakespeare' ."),
                 0);
    cr_assert_not_null(SHA256File("model.safetensors", hex));
    cr_assert_str_eq(hex, "89e63737f3672fc90a77d7a8cf2eeea272adcec58b59ecc68e135e53b845daa5");
    cr_assert_null(model_load(SOURCE_DIR "/common/models/shakespeare", &three));
    cr_assert_null(model_load(support_folder, &one));
    cr_assert(one->config.G == 1 && one->config.L == three->config.L);
    for (size_t l = 0; l < one->config.L; l++)
        for (int values = 0; values < 2; values++)
            check_pooled(&three->layers[l].qkv, &one->layers[l].qkv, one->config.C, values);
    model_free(one), model_free(three);
}

// What a store of six query heads takes with so many K/V heads: while it holds N tokens, and by its
// own estimate.
static size_t bytes_held(const char *spec, size_t G, size_t *estimate)
{
    char name[64];
    static float logits[N * VOCABULARY];
    model *m;
    decoder *d;
    const float *y;
    int ids[N] = {0};
    decoder_options o = {.T_max = N};
    snprintf(name, sizeof name, "synthetic:L=2,C=96,H=6,G=%zu,T=40,V=30", G);
    cr_assert_null(model_load(name, &m));
    run(&naive_decoder, m, spec, ids, logits);
    cr_assert_null(kv_parse(spec, &o.kv));
    *estimate = kv_memory(&m->config, 2, &o.kv, N);
    cr_assert_null(kvcache_decoder.create(m, &o, &d));
    cr_assert_null(kvcache_decoder.step(d, ids, N, 1, &y));
    cr_assert_eq(memcmp(y, logits + (N - 1) * VOCABULARY, VOCABULARY * sizeof *y), 0, "%s", name);
    const size_t bytes = kvcache_decoder.bytes(d);
    kvcache_decoder.destroy(d);
    model_free(m);
    return bytes;
}

Test(grouped, g_heads_take_g_of_h_parts_of_the_bytes)
{
    for (size_t s = 0; s < SPEC_COUNT; s++) {
        size_t of_6, of_2, of_1;
        const size_t six = bytes_held(SPECS[s], 6, &of_6), two = bytes_held(SPECS[s], 2, &of_2),
                     one = bytes_held(SPECS[s], 1, &of_1);
        cr_assert(one > 0 && two == 2 * one && six == 6 * one, "%s: %zu, %zu and %zu bytes",
                  SPECS[s], six, two, one);
        cr_assert_eq(5 * (of_6 - of_2), 4 * (of_6 - of_1), "%s: %zu, %zu and %zu bytes estimated",
                     SPECS[s], of_6, of_2, of_1);
        cr_assert(of_1 >= one && of_1 < of_6 / 3, "%s: %zu bytes estimated", SPECS[s], of_1);
    }
}

// A cache that does not say of its last row that it is there.
static bool all_but_the_last(const decoder *d, size_t l, size_t g, size_t t)
{
    return kvcache_decoder.holds(d, l, g, t + 1);
}

// Verify looks at G heads: of one that is not there it would say that it holds no row.
Test(grouped, a_wrong_length_is_that_of_all_kv_heads)
{
    model *m;
    cr_assert_null(model_load("synthetic:L=2,C=24,H=4,G=2,T=40,V=30", &m));
    decoder_api short_of_one = kvcache_decoder;
    short_of_one.holds = all_but_the_last;
    const subject judge = {.api = &naive_decoder}, tested = {.api = &short_of_one};
    const size_t contexts[] = {1, 2, 3, 20};
    verification v = {0};
    cr_assert_null(verification_run(m, &judge, &tested, contexts, 4, &v));
    cr_assert_not_null(strstr(v.lengths, "is missing"), "%s", v.lengths);
    cr_assert_str_eq(v.lengths_like, "a length that is one too few, in all layers");
    verification_free(&v);
    model_free(m);
}

// y = x W + b.
static void product(const linear *w, const double *x, double *y)
{
    for (size_t n = 0; n < w->N; n++) {
        y[n] = w->bias ? (double)w->bias[n] : 0;
        for (size_t k = 0; k < w->K; k++)
            y[n] += x[k] * (double)linear_weight(w, k, n);
    }
}

static void normalize(const norm *w, const double *x, double *y, size_t C)
{
    double mean = 0, variance = 0;
    for (size_t c = 0; c < C; c++)
        mean += x[c] / (double)C;
    for (size_t c = 0; c < C; c++)
        variance += (x[c] - mean) * (x[c] - mean) / (double)C;
    for (size_t c = 0; c < C; c++)
        y[c] = (x[c] - mean) / sqrt(variance + 1e-5) * (double)w->gain[c] + (double)w->bias[c];
}

// One head of row t, whose one key and value per position all heads read: q, y (D); k, v strided.
static void attend_one(const double *q, const double *k, const double *v, size_t stride, size_t t,
                       size_t D, double *y)
{
    double p[N], sum = 0;
    for (size_t s = 0; s <= t; s++) {
        p[s] = 0;
        for (size_t d = 0; d < D; d++)
            p[s] += q[d] * k[s * stride + d];
        sum += p[s] = exp(p[s] / sqrt((double)D));
    }
    for (size_t d = 0; d < D; d++) {
        y[d] = 0;
        for (size_t s = 0; s <= t; s++)
            y[d] += p[s] / sum * v[s * stride + d];
    }
}

static void block(const config *c, const layer *w, double *x)
{
    const size_t C = c->C, D = C / c->H, width = C + 2 * D;
    double *qkv = calloc(N * width, sizeof *qkv), *a = calloc(C, sizeof *a),
           *b = calloc(C, sizeof *b), *h = calloc(c->F, sizeof *h);
    for (size_t t = 0; t < N; t++) {
        normalize(&w->ln1, x + t * C, a, C);
        product(&w->qkv, a, qkv + t * width);
        for (size_t i = 0; i < c->H; i++)
            attend_one(qkv + t * width + i * D, qkv + C, qkv + C + D, width, t, D, a + i * D);
        product(&w->proj, a, b);
        for (size_t i = 0; i < C; i++)
            x[t * C + i] += b[i];
        normalize(&w->ln2, x + t * C, a, C);
        product(&w->fc, a, h);
        for (size_t i = 0; i < c->F; i++)
            h[i] *= 0.5 * (1 + tanh(sqrt(2 / acos(-1)) * (h[i] + 0.044715 * h[i] * h[i] * h[i])));
        product(&w->fcproj, h, b);
        for (size_t i = 0; i < C; i++)
            x[t * C + i] += b[i];
    }
    free(qkv), free(a), free(b), free(h);
}

Test(grouped, one_head_equals_a_forward_pass_in_double_precision)
{
    model *m;
    int ids[N];
    cr_assert_null(model_load(SOURCE_DIR "/common/models/mqa", &m));
    const size_t C = m->config.C, V = m->config.V;
    double *x = calloc(N * C, sizeof *x), *y = calloc(V, sizeof *y);
    float *logits = calloc(N * V, sizeof *logits);
    for (size_t t = 0; t < N; t++) {
        ids[t] = (int)((7919 * t + 13) % V);
        for (size_t i = 0; i < C; i++)
            x[t * C + i] = (double)linear_weight(&m->wte, i, (size_t)ids[t]) +
                           (double)m->wpe[t * padded(C) + i];
    }
    for (size_t l = 0; l < m->config.L; l++)
        block(&m->config, &m->layers[l], x);
    run(&kvcache_decoder, m, "all", ids, logits);
    for (size_t t = 0; t < N; t++) {
        normalize(&m->lnf, x + t * C, x + t * C, C);
        product(&m->head, x + t * C, y);
        for (size_t v = 0; v < V; v++)
            cr_assert(fabs(y[v] - (double)logits[t * V + v]) < 1e-4, "row %zu, logit %zu", t, v);
    }
    free(x), free(y), free(logits);
    model_free(m);
}
