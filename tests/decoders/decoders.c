// oracle = naive = cached, bit for bit, at every context of chosen shapes
// (tests/decoders/properties.c draws others); what the decoders show and refuse; and right, against
// float64.
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/decoder.h"
#include "common/kv/kv.h"
#include "common/model/safetensors.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/oracle.h"
#include "tests/support/support.h"

static model *load(const char *name)
{
    model *m = NULL;
    status s = model_load(name, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

static decoder *make(const decoder_api *api, const model *m, size_t T_max)
{
    decoder *d = NULL;
    status s = api->create(m, &(decoder_options){.T_max = T_max}, &d);
    cr_assert_null(s, "%s", s);
    return d;
}

// Whatever T_max says: there is no embedding for a position behind the last.
Test(decoders, refuse_more_tokens_than_the_model_has_positions)
{
    static const int ids[9];
    const decoder_api *const apis[] = {&naive_decoder, &kvcache_decoder};
    model *m = load("synthetic:L=1,C=16,H=1,T=8,V=8");
    for (size_t i = 0; i < 2; i++) {
        const float *logits;
        decoder *d = make(apis[i], m, 16);
        cr_assert_null(apis[i]->step(d, ids, 8, 1, &logits));
        support_assert_refused(apis[i]->step(d, ids, 9, 1, &logits),
                               "9 tokens are more than the 8 positions of this model");
        apis[i]->destroy(d);
    }
    model_free(m);
}

static const float *step(const decoder_api *api, decoder *d, const int *ids, size_t T)
{
    const float *logits = NULL;
    status s = api->step(d, ids, T, 1, &logits);
    cr_assert_null(s, "%s", s);
    return logits;
}

static void assert_same(const float *a, const float *b, size_t n, const char *what, size_t T)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(a + i, b + i, sizeof *a), 0,
                     "%s at %zu tokens: element %zu is %a, not %a", what, T, i, (double)a[i],
                     (double)b[i]);
}

// xorshift64* (Vigna 2016), for tests only.
static uint64_t random_state = 88172645463325252u;
static size_t random_below(size_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * 2685821657736338717u) >> 33) % n;
}

static int *random_ids(const model *m, size_t n)
{
    int *ids = memory_array(n, sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int)random_below(m->config.V);
    return ids;
}

static const char *const SHAPES[] = {
    "synthetic:L=2,C=64,H=2,T=40,V=50",
    "synthetic:L=1,C=20,H=1,T=40,V=33,F=44",
    "synthetic:L=3,C=40,H=2,T=40,V=17,F=24",
    "synthetic:L=2,C=160,H=2,T=40,V=100,seed=3",
    "synthetic:L=2,C=96,H=3,T=40,V=64,F=80,seed=9",
    "synthetic:L=1,C=1,H=1,T=40,V=3,F=1",
    "synthetic:L=2,C=36,H=6,T=40,V=16",
    "synthetic:L=2,C=36,H=6,G=2,T=40,V=16",
    "synthetic:L=2,C=80,H=4,G=1,T=40,V=20",
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };

Test(decoders, agree_with_the_oracle_at_every_context_of_every_shape)
{
    for (size_t shape = 0; shape < SHAPE_COUNT; shape++) {
        model *m = load(SHAPES[shape]);
        const size_t T = m->config.T, V = m->config.V;
        int *ids = random_ids(m, T);
        float *expected = memory_array(V, sizeof *expected);
        decoder *n = make(&naive_decoder, m, T), *c = make(&kvcache_decoder, m, T);
        for (size_t t = 1; t <= T; t++) {
            oracle_logits(m, &(kv_spec){0}, ids, t, 1, expected);
            assert_same(step(&naive_decoder, n, ids, t), expected, V, SHAPES[shape], t);
            assert_same(step(&kvcache_decoder, c, ids, t), expected, V, SHAPES[shape], t);
        }
        naive_decoder.destroy(n), kvcache_decoder.destroy(c);
        memory_free(ids), memory_free(expected), model_free(m);
    }
}

Test(decoders, refuse_what_they_cannot_take_and_stay_as_they_were)
{
    model *m = load(SHAPES[0]);
    const decoder_api *apis[] = {&naive_decoder, &kvcache_decoder};
    for (size_t i = 0; i < 2; i++) {
        decoder *d = make(apis[i], m, 8);
        int ids[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, bad[3] = {1, 50, 3};
        const float *logits = NULL;
        float before[50];
        memcpy(before, step(apis[i], d, ids, 3), sizeof before);
        status s = apis[i]->step(d, ids, 9, 1, &logits);
        cr_assert(s && strstr(s, "9 tokens") && strstr(s, "8"), "%s", s);
        s = apis[i]->step(d, bad, 3, 1, &logits);
        cr_assert(s && strstr(s, "50") && strstr(s, "position 1") && strstr(s, "0..49"), "%s", s);
        bad[1] = -1;
        s = apis[i]->step(d, bad, 3, 1, &logits);
        cr_assert(s && strstr(s, "-1"), "%s", s);
        s = apis[i]->step(d, ids, 0, 1, &logits);
        cr_assert(s && strstr(s, "at least one"), "%s", s);
        cr_assert_eq(apis[i]->holds(d, 1, 0, 2), i == 1);
        cr_assert_not(apis[i]->holds(d, 1, 0, 3));
        assert_same(step(apis[i], d, ids, 3), before, 50, apis[i]->name, 3);
        apis[i]->destroy(d);
    }
    model_free(m);
}

// What the cache holds is what a recompute shows its observer.
typedef struct {
    float *k, *v; // (L, T, C)
    size_t T, C;
} recomputed;

static void keep_kv(void *user, stage s, int l, int head, size_t t, const float *values, size_t n)
{
    recomputed *r = user;
    if (s == STAGE_K || s == STAGE_V)
        memcpy((s == STAGE_K ? r->k : r->v) + ((size_t)l * r->T + t) * r->C, values,
               n * sizeof *values);
    cr_assert_eq(head >= 0, s >= STAGE_STORED_K && s <= STAGE_ATTEND);
}

Test(decoders, cache_holds_what_a_recompute_computes)
{
    model *m = load("synthetic:L=3,C=40,H=4,G=2,T=37,V=17");
    const config c = m->config;
    const size_t D = config_head_size(&c), W = config_kv_width(&c), T = c.T;
    recomputed r = {memory_array(c.L * T * W, 4), memory_array(c.L * T * W, 4), T, W};
    int *ids = random_ids(m, T);
    decoder *n = make(&naive_decoder, m, T), *k = make(&kvcache_decoder, m, T);
    naive_decoder.observe(n, keep_kv, &r);
    step(&naive_decoder, n, ids, T);
    for (size_t t = 5; t <= T; t += 8) // chunks; the last ends at T
        step(&kvcache_decoder, k, ids, t);
    float key[20], value[20];
    for (size_t l = 0; l < c.L; l++)
        for (size_t h = 0; h < c.G; h++)
            for (size_t t = 0; t < T; t++) {
                cr_assert_null(kvcache_decoder.read_kv(k, l, h, t, key, value));
                assert_same(key, r.k + (l * T + t) * W + h * D, D, "key", t);
                assert_same(value, r.v + (l * T + t) * W + h * D, D, "value", t);
            }
    cr_assert_not_null(kvcache_decoder.read_kv(k, c.L, 0, 0, key, value));
    cr_assert_not_null(kvcache_decoder.read_kv(k, 0, c.G, 0, key, value));
    cr_assert_not_null(kvcache_decoder.read_kv(k, 0, 0, T, key, value));
    cr_assert_not_null(naive_decoder.read_kv(n, 0, 0, 0, key, value));
    naive_decoder.destroy(n), kvcache_decoder.destroy(k);
    memory_free(r.k), memory_free(r.v), memory_free(ids), model_free(m);
}

// What was seen goes on behind the sequence: its ids end at a page that cannot be read.
Test(decoders, read_no_id_behind_the_sequence)
{
    model *m = load(SHAPES[4]);
    int *all = random_ids(m, 30), *some = support_guarded(12, sizeof *some);
    memcpy(some, all, 12 * sizeof *some);
    for (size_t i = 0; i < 2; i++) {
        const decoder_api *api = i ? &kvcache_decoder : &naive_decoder;
        decoder *d = make(api, m, 30);
        step(api, d, all, 30), step(api, d, some, 12);
        api->destroy(d);
    }
    support_guarded_free(some, 12, sizeof *some);
    memory_free(all), model_free(m);
}

// The observer's calls: every stage, layer, head and position once, in the order of computation.
typedef struct {
    size_t calls[STAGES], least[STAGES], most[STAGES]; // positions, from 1 on
    int last_layer;
    stage last_stage;
} census;

static void count_calls(void *user, stage s, int l, int head, size_t t, const float *values,
                        size_t n)
{
    census *c = user;
    (void)head;
    c->calls[s]++;
    c->least[s] = c->calls[s] > 1 && c->least[s] <= t + 1 ? c->least[s] : t + 1;
    c->most[s] = c->most[s] > t + 1 ? c->most[s] : t + 1;
    cr_assert(n > 0 && values);
    bool per_head = s >= STAGE_SEES && s <= STAGE_ATTEND && c->last_stage == STAGE_ATTEND;
    cr_assert(l != c->last_layer || s >= c->last_stage || per_head, "%s came after %s",
              stage_name(s), stage_name(c->last_stage));
    c->last_layer = l, c->last_stage = s;
}

Test(decoders, observer_sees_every_row_once_in_order)
{
    model *m = load(SHAPES[4]); // L=2, H=3
    int *ids = random_ids(m, 30);
    decoder *n = make(&naive_decoder, m, 30), *c = make(&kvcache_decoder, m, 30);
    census whole = {.last_layer = -2}, rest = {.last_layer = -2};
    step(&kvcache_decoder, c, ids, 11);
    naive_decoder.observe(n, count_calls, &whole);
    kvcache_decoder.observe(c, count_calls, &rest);
    step(&naive_decoder, n, ids, 30), step(&kvcache_decoder, c, ids, 30);
    for (stage s = 0; s < STAGES; s++) {
        size_t per_row = s == STAGE_EMBED                           ? 1
                         : s >= STAGE_STORED_K && s <= STAGE_ATTEND ? 2 * 3
                                                                    : 2;
        cr_assert_eq(whole.calls[s], s >= STAGE_LNF ? 1 : 30 * per_row, "naive, %s: %zu calls",
                     stage_name(s), whole.calls[s]);
        cr_assert_eq(rest.calls[s], s >= STAGE_LNF ? 1 : 19 * per_row, "cached, %s: %zu calls",
                     stage_name(s), rest.calls[s]);
        const size_t from = s >= STAGE_LNF ? 30 : 1, from_rest = s >= STAGE_LNF ? 30 : 12;
        cr_assert(whole.least[s] == from && whole.most[s] == 30 && rest.least[s] == from_rest &&
                      rest.most[s] == 30,
                  "%s is shown of positions %zu to %zu, and %zu to %zu", stage_name(s),
                  whole.least[s] - 1, whole.most[s] - 1, rest.least[s] - 1, rest.most[s] - 1);
    }
    naive_decoder.observe(n, NULL, NULL);
    step(&naive_decoder, n, ids, 30);
    cr_assert_eq(whole.calls[STAGE_LOGITS], 1, "the observer was told to stop");
    naive_decoder.destroy(n), kvcache_decoder.destroy(c);
    memory_free(ids), model_free(m);
}

// Against PyTorch in float64 (tests/reference/README.md). The largest error measured is 2e-6 in the
// logits (notes/03-arithmetic.md); the tolerance is about five times that.
static const double TOLERANCE = 6e-5;

typedef struct {
    FILE *file;
    safetensors *header;
} reference;

static reference open_reference(void)
{
    const char *path = SOURCE_DIR "/tests/reference/shakespeare.safetensors";
    reference r = {.file = fopen(path, "rb")};
    status s = safetensors_open(path, &r.header);
    cr_assert_null(s, "%s", s);
    cr_assert_not_null(r.file, "%s", path);
    return r;
}

static void close_reference(reference *r)
{
    safetensors_close(r->header);
    fclose(r->file);
}

// A tensor's raw bytes, whatever its dtype.
static void *read_tensor(reference *r, const char *name, size_t bytes)
{
    const safetensor *t = safetensors_find(r->header, name);
    cr_assert(t && t->bytes == bytes, "%s has %zu bytes", name, t ? (size_t)t->bytes : 0);
    void *data = memory_array(bytes, 1);
    cr_assert_eq(fseek(r->file, (long)t->offset, SEEK_SET), 0);
    cr_assert_eq(fread(data, 1, bytes, r->file), bytes);
    return data;
}

static double largest_error(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)a[i] - (double)b[i]);
        worst = error <= worst ? worst : error; // a NaN is not <=
    }
    return worst;
}

// The residual stream, rebuilt from what is added to it: (L + 1, P, C).
typedef struct {
    float *states;
    size_t P, C;
} stream;

static void add_to_stream(void *user, stage s, int l, int head, size_t t, const float *values,
                          size_t n)
{
    stream *st = user;
    float *at = st->states + ((size_t)(l + 1) * st->P + t) * st->C;
    (void)head;
    for (size_t c = 0; c < n; c++)
        if (s == STAGE_EMBED)
            at[c] = values[c];
        else if (s == STAGE_PROJ)
            at[c] = (at - st->P * st->C)[c] + values[c];
        else if (s == STAGE_FCPROJ)
            at[c] += values[c];
}

Test(reference, logits_and_states_of_the_prompt_match_float64)
{
    enum { P = 41 };
    model *m = load(model_default());
    const config c = m->config;
    reference r = open_reference();
    int *ids = read_tensor(&r, "prompt.ids", P * sizeof *ids);
    float *logits = read_tensor(&r, "prompt.logits", P * c.V * sizeof *logits);
    float *states = read_tensor(&r, "prompt.states", (c.L + 1) * P * c.C * sizeof *states);
    stream st = {memory_array((c.L + 1) * P * c.C, sizeof(float)), P, c.C};
    decoder *n = make(&naive_decoder, m, P), *k = make(&kvcache_decoder, m, P);
    naive_decoder.observe(n, add_to_stream, &st);
    double worst = 0;
    for (size_t t = 1; t <= P; t++) {
        const float *expected = logits + (t - 1) * c.V, *got = step(&kvcache_decoder, k, ids, t);
        assert_same(step(&naive_decoder, n, ids, t), got, c.V, "cached", t);
        worst = fmax(worst, largest_error(got, expected, c.V));
    }
    double worst_state = largest_error(st.states, states, (c.L + 1) * P * c.C);
    cr_log_info("largest error: logits %.2g, residual stream %.2g", worst, worst_state);
    cr_assert_leq(worst, TOLERANCE);
    cr_assert_leq(worst_state, TOLERANCE);
    naive_decoder.destroy(n), kvcache_decoder.destroy(k), close_reference(&r);
    memory_free(ids), memory_free(logits), memory_free(states), memory_free(st.states),
        model_free(m);
}

Test(reference, greedy_continuation_is_the_same)
{
    enum { P = 41, N = 96 };
    model *m = load(model_default());
    reference r = open_reference();
    int *prompt = read_tensor(&r, "prompt.ids", P * sizeof(int)),
        *greedy = read_tensor(&r, "prompt.greedy", N * sizeof(int));
    int ids[P + N];
    memcpy(ids, prompt, P * sizeof *ids);
    decoder *k = make(&kvcache_decoder, m, P + N);
    for (size_t t = P; t < P + N; t++) {
        const float *logits = step(&kvcache_decoder, k, ids, t);
        size_t best = 0;
        for (size_t v = 1; v < m->config.V; v++)
            best = logits[v] > logits[best] ? v : best;
        ids[t] = (int)best;
        cr_assert_eq(ids[t], greedy[t - P], "token %zu is %d, not %d", t - P, ids[t],
                     greedy[t - P]);
    }
    kvcache_decoder.destroy(k), close_reference(&r);
    memory_free(prompt), memory_free(greedy), model_free(m);
}

// -log of the probability that the logits give to `id`, nats.
static double surprise(const float *logits, size_t V, int id)
{
    double max = -INFINITY, others = 0; // the largest one's own share of the sum is 1
    size_t best = 0;
    for (size_t v = 0; v < V; v++)
        if ((double)logits[v] > max)
            max = (double)logits[best = v];
    for (size_t v = 0; v < V; v++)
        others += v == best ? 0 : exp((double)logits[v] - max);
    return max + log1p(others) - (double)logits[id];
}

Test(reference, long_text_matches_float64)
{
    enum { T = 1024, LENGTHS = 16 };
    model *m = load(model_default());
    const size_t V = m->config.V;
    reference r = open_reference();
    int *ids = read_tensor(&r, "long.ids", T * sizeof *ids),
        *lengths = read_tensor(&r, "long.lengths", LENGTHS * sizeof *lengths);
    float *logits = read_tensor(&r, "long.logits", LENGTHS * V * sizeof *logits);
    double *nll = read_tensor(&r, "long.nll", sizeof *nll), total = 0, worst = 0;
    decoder *n = make(&naive_decoder, m, T), *k = make(&kvcache_decoder, m, T);
    size_t next = 0;
    for (size_t t = 1; t <= T; t++) {
        const float *got = step(&kvcache_decoder, k, ids, t);
        if (t < T)
            total += surprise(got, V, ids[t]);
        if (t == (size_t)lengths[next]) {
            assert_same(step(&naive_decoder, n, ids, t), got, V, "cached", t);
            worst = fmax(worst, largest_error(got, logits + next++ * V, V));
        }
    }
    cr_log_info("largest error %.2g; nll %.7f, float64 %.7f", worst, total / (T - 1), *nll);
    cr_assert_eq(next, LENGTHS);
    cr_assert_leq(worst, TOLERANCE);
    cr_assert_float_eq(total / (T - 1), *nll, 1e-5);
    naive_decoder.destroy(n), kvcache_decoder.destroy(k), close_reference(&r);
    memory_free(ids), memory_free(lengths), memory_free(logits), memory_free(nll), model_free(m);
}

// The lesson must stay a page (notes/01-one-diff.md).
Test(lesson, diff_of_the_decoders_is_a_page)
{
    FILE *diff =
        popen("diff -U0 " SOURCE_DIR "/naive/decoder.c " SOURCE_DIR "/kvcache/decoder.c", "r");
    cr_assert_not_null(diff);
    char line[512];
    size_t hunks = 0, changed = 0;
    while (fgets(line, sizeof line, diff)) {
        hunks += line[0] == '@';
        changed += (line[0] == '+' && line[1] != '+') || (line[0] == '-' && line[1] != '-');
    }
    pclose(diff);
    cr_assert(hunks > 0 && hunks <= 12, "%zu hunks", hunks);
    cr_assert(changed > 0 && changed <= 40, "%zu changed lines", changed);
}
