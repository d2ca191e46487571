// Speculation: the same bits as plain decoding whatever a draft says, and the counts that show a
// mistake which leaves the text right.
#include "kvcache/speculate.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=2,C=48,H=3,T=64,V=100"
#define DRAFT SOURCE_DIR "/common/models/draft"
enum { PROMPT = 5, LONGEST = 300, POISON = 77, HELD_OUT = 1024 };

// A model, a decoder on it for T_max tokens, and what plain decoding gives.
typedef struct scene {
    model *m;
    tokenizer *t;
    decoder *d;
    speculation_target target;
    int plain[LONGEST], ids[LONGEST];
    float *logits;    // (T, V): row t - 1 chose token t of plain
    size_t T, beyond; // tokens; asked for behind them, which the context forbids
} scene;

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void expect(status s)
{
    cr_assert_null(s, "%s", s);
}

static void plain_decoding(scene *x)
{
    const size_t V = x->m->config.V;
    sampler *s;
    expect(sampler_create(&x->target.how, x->target.n, &s));
    for (size_t t = PROMPT; t < x->T; t++) {
        const float *logits;
        expect(kvcache_decoder.step(x->d, x->plain, t, 1, &logits));
        memcpy(x->logits + (t - 1) * V, logits, V * sizeof *logits);
        x->plain[t] = sampler_choose(s, logits, t);
    }
    sampler_free(s);
    kvcache_decoder.reset(x->d);
}

// T tokens in all, of which PROMPT are given.
static scene *scene_begin(const char *name, const char *spec, sampling how, size_t T)
{
    scene *x = memory_array(1, sizeof *x);
    *x = (scene){.T = T};
    expect(model_load(name, &x->m));
    expect(tokenizer_load_for(x->m, &x->t));
    decoder_options o = {.T_max = size_min(T, x->m->config.T)};
    expect(kv_parse(spec, &o.kv));
    expect(kvcache_decoder.create(x->m, &o, &x->d));
    x->target =
        (speculation_target){&kvcache_decoder, x->d, o.T_max, x->m, x->t, how, x->m->config.V};
    x->logits = memory_array(T * x->m->config.V, sizeof(float));
    for (size_t i = 0; i < PROMPT; i++)
        x->plain[i] = (int)(17 * i + 3);
    plain_decoding(x);
    return x;
}

static void scene_end(scene *x)
{
    kvcache_decoder.destroy(x->d);
    tokenizer_free(x->t);
    model_free(x->m);
    memory_free(x->logits);
    memory_free(x);
}

// Speculates over the whole scene: tokens and logits are those of plain decoding.
static speculation_counts follow(scene *x, speculation *s)
{
    const size_t V = x->m->config.V;
    memcpy(x->ids, x->plain, PROMPT * sizeof *x->ids);
    for (size_t T = PROMPT, n; T < x->T; T += n) {
        const float *logits;
        expect(speculate.pass(s, x->ids, T, x->T - T + x->beyond, &n, &logits));
        cr_assert(n >= 1 && n <= x->T - T);
        cr_assert_arr_eq(x->ids + T, x->plain + T, n * sizeof *x->ids, "tokens %zu on", T);
        cr_assert_eq(memcmp(logits, x->logits + (T - 1) * V, n * V * sizeof *logits), 0,
                     "logits after %zu tokens", T);
    }
    const speculation_counts counts = *speculate.counts(s);
    cr_assert_eq(speculation_tokens(&counts), x->T - PROMPT);
    return counts;
}

static speculation_counts follow_named(scene *x, const char *name)
{
    speculation *s;
    expect(speculate.open(name, &x->target, &s));
    const speculation_counts counts = follow(x, s);
    speculate.close(s);
    return counts;
}

// A draft that knows the text, and goes wrong at the token `wrong` of each proposal.
typedef struct script {
    const scene *of;
    size_t wrong, longest; // the most tokens that ever stood before and in a proposal
    uint64_t random;       // not 0: wrong or not by chance, half and half
} script;

static size_t propose_script(void *state, int *ids, size_t T, size_t k)
{
    script *x = state;
    const int V = (int)x->of->m->config.V;
    for (size_t i = 0; i < k; i++) {
        const int right = T + i < x->of->T ? x->of->plain[T + i] : 0;
        bool wrong = i == x->wrong;
        if (x->random)
            wrong = random_splitmix64(x->random++) & 1;
        ids[T + i] = wrong ? (right + 1) % V : right;
    }
    x->longest = larger(x->longest, T + k);
    return k;
}

static speculation_counts follow_script(scene *x, script *by, size_t k)
{
    const draft d = {.k = k, .propose = propose_script, .state = by};
    speculation *s;
    by->of = x;
    expect(speculate_with(&(draft){d.k, d.propose, d.state, NULL}, &x->target, &s));
    const speculation_counts counts = follow(x, s);
    speculate.close(s);
    return counts;
}

Test(speculate, every_draft_and_setting_gives_plain_decoding)
{
    static const sampling how[] = {{.top_p = 1},
                                   {.temperature = 1, .top_p = 1, .seed = 1},
                                   {.temperature = 0.8f, .top_k = 20, .top_p = 1, .seed = 2},
                                   {.temperature = 1.3f, .top_k = 50, .top_p = 0.9f, .seed = 3}};
    static const char *const specs[] = {"all", "window:16+2", "f16"},
                             *const drafts[] = {DRAFT,    DRAFT ":1",    DRAFT ":9",
                                                "lookup", "lookup:1,31", "lookup:2,3"};
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        scene *x = scene_begin(model_default(), specs[i % 3], how[i], 120);
        for (size_t j = 0; j < sizeof drafts / sizeof *drafts; j++)
            follow_named(x, drafts[j]);
        for (size_t k = 1; k <= SPECULATION_MOST; k += 6) {
            follow_script(x, &(script){.wrong = k / 2}, k);
            follow_script(x, &(script){.random = k}, k);
        }
        scene_end(x);
    }
}

// After the next step K and V are those of a decoder that never saw a draft.
Test(speculate, keys_and_values_are_those_of_plain_decoding)
{
    scene *x = scene_begin(model_default(), "all", (sampling){.temperature = 1, .top_p = 1}, 80);
    const float *logits;
    float k[2][64], v[2][64];
    decoder *d;
    follow_script(x, &(script){.random = 5}, 6);
    expect(kvcache_decoder.create(x->m, &(decoder_options){.T_max = 80}, &d));
    expect(kvcache_decoder.step(d, x->plain, 80, 1, &logits));
    expect(kvcache_decoder.step(x->d, x->ids, 80, 1, &logits));
    cr_assert_eq(kvcache_decoder.bytes(d), kvcache_decoder.bytes(x->d));
    for (size_t i = 0; i < x->m->config.L * 3 * 80; i++) {
        const size_t l = i / 240, head = i / 80 % 3, t = i % 80;
        expect(kvcache_decoder.read_kv(d, l, head, t, k[0], v[0]));
        expect(kvcache_decoder.read_kv(x->d, l, head, t, k[1], v[1]));
        cr_assert_arr_eq(k[0], k[1], sizeof k[0], "layer %zu head %zu position %zu", l, head, t);
        cr_assert_arr_eq(v[0], v[1], sizeof v[0], "layer %zu head %zu position %zu", l, head, t);
    }
    kvcache_decoder.destroy(d);
    scene_end(x);
}

// Wrong at its token j, a draft gives j + 1 tokens each pass, and never is one judged behind it.
Test(speculate, the_tokens_before_the_first_wrong_one_and_one_more_are_kept)
{
    enum { K = 4, PASSES = 12 };
    for (size_t wrong = 0; wrong <= K; wrong++) {
        scene *x = scene_begin(TINY, "all", (sampling){.temperature = 1, .top_p = 1},
                               PROMPT + PASSES * (wrong + 1) < 60 ? PROMPT + PASSES * (wrong + 1)
                                                                  : PROMPT + 11 * (wrong + 1));
        if (x->T > 64)
            x->T = 60;
        const speculation_counts c = follow_script(x, &(script){.wrong = wrong}, K);
        const size_t N = x->T - PROMPT;
        cr_assert_eq(speculation_passes(&c), (N + wrong) / (wrong + 1), "wrong at %zu: %zu passes",
                     wrong, speculation_passes(&c));
        for (size_t i = wrong; i < K; i++)
            cr_assert_eq(c.accepted[i], 0);
        for (size_t i = wrong + 1; i < K; i++)
            cr_assert_eq(c.judged[i], 0);
        scene_end(x);
    }
}

// A draft that is the target: all is accepted, so every pass gives k + 1 tokens. One that took back
// a token too many, or drew for another position, would still leave the text right.
Test(speculate, a_model_drafts_for_itself_without_a_miss)
{
    scene *x =
        scene_begin(model_default(), "all", (sampling){.temperature = 1, .top_p = 1}, PROMPT + 100);
    char itself[4096];
    snprintf(itself, sizeof itself, "%s:4", model_default());
    const speculation_counts c = follow_named(x, itself);
    cr_assert_eq(speculation_passes(&c), 20);
    cr_assert_eq(c.passes[4], 20);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(c.judged[i], 20);
        cr_assert_eq(c.accepted[i], 20, "position %zu: %zu of 20", i, c.accepted[i]);
    }
    cr_assert_float_eq(speculation_predicted(&c), 5, 1e-12);
    scene_end(x);
}

static size_t most_tokens;

static status counting_step(decoder *d, const int *tokens, size_t T, size_t wanted,
                            const float **logits)
{
    most_tokens = larger(most_tokens, T);
    return kvcache_decoder.step(d, tokens, T, wanted, logits);
}

// TINY has 64 positions: the last token may be drafted, no other behind it, and no step is refused.
Test(speculate, nothing_is_drafted_beyond_the_context_or_the_end)
{
    scene *x = scene_begin(TINY, "all", (sampling){.temperature = 1, .top_p = 1}, 65);
    decoder_api api = kvcache_decoder;
    api.step = counting_step;
    x->target.api = &api;
    x->beyond = 10;
    for (size_t k = 1; k <= SPECULATION_MOST; k++) {
        script by = {.wrong = k};
        most_tokens = 0;
        follow_script(x, &by, k);
        cr_assert_eq(most_tokens, by.longest, "k = %zu: a step with %zu tokens", k, most_tokens);
        cr_assert_leq(by.longest, 64);
    }
    x->beyond = 0;
    x->T = 30; // and no more than 30 are asked for
    script by = {.wrong = 31};
    follow_script(x, &by, 31);
    cr_assert_eq(by.longest, 29); // the last is drawn from the row of token 29
    scene_end(x);
}

static status poisoned_step(decoder *d, const int *tokens, size_t T, size_t wanted,
                            const float **logits)
{
    for (size_t t = PROMPT; t < T; t++)
        if (tokens[t] == POISON)
            return status_fail("a row that has no form");
    return kvcache_decoder.step(d, tokens, T, wanted, logits);
}

static size_t propose_poison(void *state, int *ids, size_t T, size_t k)
{
    (void)state;
    for (size_t i = 0; i < k; i++)
        ids[T + i] = POISON;
    return k;
}

Test(speculate, an_error_in_a_drafted_row_is_none)
{
    scene *x = scene_begin(TINY, "all", (sampling){.top_p = 1}, 40);
    for (size_t t = 0; t < 39; t++) // the last is not fed back
        cr_assert_neq(x->plain[t], POISON, "choose another");
    decoder_api api = kvcache_decoder;
    api.step = poisoned_step;
    x->target.api = &api;
    speculation *s;
    expect(speculate_with(&(draft){.k = 3, .propose = propose_poison}, &x->target, &s));
    const speculation_counts c = follow(x, s);
    cr_assert_eq(c.passes[0], 35);
    // An error that plain decoding has is reported.
    size_t n;
    const float *logits;
    x->ids[PROMPT] = POISON;
    support_assert_refused(speculate.pass(s, x->ids, PROMPT + 1, 3, &n, &logits), "has no form");
    speculate.close(s);
    scene_end(x);
}

Test(speculate, lookup_takes_the_latest_place_of_the_longest_match)
{
    int ids[16] = {1, 2, 3, 9, 2, 3, 8, 5, 2, 3};
    cr_assert_eq(draft_lookup(3, ids, 10, 4), 4); // "2 3" at 4, not at 1
    cr_assert_arr_eq(ids + 10, ((int[]){8, 5, 2, 3}), 4 * sizeof *ids);
    int longer[16] = {7, 1, 2, 6, 3, 1, 2, 4, 7, 1, 2};
    cr_assert_eq(draft_lookup(3, longer, 11, 2), 2); // "7 1 2" at 0 before "1 2" at 5
    cr_assert_arr_eq(longer + 11, ((int[]){6, 3}), 2 * sizeof *longer);
    cr_assert_eq(draft_lookup(2, longer, 11, 1), 1);
    cr_assert_eq(longer[11], 4);
    int same[16] = {5, 5, 5};
    cr_assert_eq(draft_lookup(3, same, 3, 4), 1); // no more than there is
    cr_assert_eq(draft_lookup(3, (int[]){1, 2, 3, 0}, 3, 1), 0);
    cr_assert_eq(draft_lookup(3, (int[]){1, 0}, 1, 1), 0);
}

// The first 1024 ids of the validation text, which neither model was trained on.
static void read_held_out(int ids[HELD_OUT])
{
    size_t n;
    char *file = support_read(SOURCE_DIR "/tests/reference", "shakespeare.safetensors", &n);
    uint64_t header;
    memcpy(&header, file, sizeof header);
    json_t *tensors = json_loadb(file + sizeof header, header, 0, NULL);
    const json_t *offsets = json_object_get(json_object_get(tensors, "long.ids"), "data_offsets");
    const size_t from = (size_t)json_integer_value(json_array_get(offsets, 0));
    memcpy(ids, file + sizeof header + header + from, HELD_OUT * sizeof *ids);
    json_decref(tensors);
    free(file);
}

// The logits of all rows, (HELD_OUT, V), to be freed; and V.
static float *held_out_logits(const char *name, const int *ids, size_t *V)
{
    model *m;
    decoder *d;
    const float *rows;
    expect(model_load(name, &m));
    expect(kvcache_decoder.create(m, &(decoder_options){.T_max = HELD_OUT}, &d));
    expect(kvcache_decoder.step(d, ids, HELD_OUT, HELD_OUT, &rows));
    *V = m->config.V;
    float *copy = memory_array(HELD_OUT * *V, sizeof *copy);
    memcpy(copy, rows, HELD_OUT * *V * sizeof *copy);
    kvcache_decoder.destroy(d);
    model_free(m);
    return copy;
}

// The share of positions at which both choose the same token.
static double share_equal(const float *a, const float *b, size_t V, sampling how)
{
    size_t equal = 0;
    sampler *s;
    expect(sampler_create(&how, V, &s));
    for (size_t t = 1; t <= HELD_OUT; t++)
        equal += sampler_choose(s, a + (t - 1) * V, t) == sampler_choose(s, b + (t - 1) * V, t);
    sampler_free(s);
    return (double)equal / HELD_OUT;
}

// Found on other held-out text when the draft was made: 0.755 at temperature 1, 0.70 greedy.
Test(speculate, the_draft_chooses_the_embedded_models_token_as_often_as_was_measured)
{
    enum { SEEDS = 8 };
    int ids[HELD_OUT];
    size_t V;
    double drawn = 0;
    read_held_out(ids);
    float *target = held_out_logits(model_default(), ids, &V),
          *drafted = held_out_logits(DRAFT, ids, &V);
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        drawn += share_equal(target, drafted, V,
                             (sampling){.temperature = 1, .top_p = 1, .seed = seed}) /
                 SEEDS;
    const double greedy = share_equal(target, drafted, V, (sampling){.top_p = 1});
    memory_free(target);
    memory_free(drafted);
    printf("equal tokens: %.3f at temperature 1, %.3f greedy\n", drawn, greedy);
    cr_assert_float_eq(drawn, 0.755, 0.02, "temperature 1: %.3f", drawn);
    cr_assert(greedy > 0.68 && greedy < 0.76, "greedy: %.3f", greedy);
}

Test(speculate, what_cannot_draft_is_refused_by_name)
{
    scene *x = scene_begin(model_default(), "all", (sampling){.top_p = 1}, 20);
    static const char *const wrong[][2] = {
        {"lookup:4,4", "lookup:4,4|N from 1 to 3|K from 1 to 31"},
        {"lookup:0,4", "N from 1 to 3"},
        {"lookup:3,0", "K from 1 to 31"},
        {"lookup:3,32", "K from 1 to 31"},
        {"lookup:3", "give lookup:N,K"},
        {"lookup:", "give lookup:N,K"},
        {DRAFT ":0", "K from 1 to 31"},
        {DRAFT ":99", "K from 1 to 31"},
        {"/nowhere", "/nowhere"},
        {"synthetic:L=1,C=32,H=1,T=64,V=64", "vocabulary of 64|2048|same tokenizer"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        speculation *s;
        support_assert_refused(speculate.open(wrong[i][0], &x->target, &s), wrong[i][1]);
        cr_assert_null(s);
    }
    for (size_t n = 1; n < 6; n++) {
        speculation *s;
        memory_fail_at(n);
        status failed = speculate.open(n < 4 ? "lookup" : DRAFT, &x->target, &s);
        memory_fail_at(0);
        cr_assert(failed, "allocation %zu", n);
        cr_assert_null(s);
    }
    const draft without_close = {.k = 1, .state = x};
    speculation *s;
    memory_fail_at(1);
    support_assert_refused(speculate_with(&without_close, &x->target, &s), "out of memory");
    memory_fail_at(0);
    scene_end(x);
}
