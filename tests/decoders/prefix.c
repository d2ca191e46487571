// The prompt cache: what is found is what was computed, in every bit, and nobody else's.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "kvcache/kvcache.h"
#include "kvcache/prefix/prefix.h"
#include "kvcache/snapshot/snapshot.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

static uint64_t time_now;

static uint64_t clock_told(void)
{
    return time_now;
}

static uint64_t hash_all_alike(uint64_t before, const int *tokens, size_t n)
{
    (void)before, (void)tokens, (void)n;
    return 7;
}

// A page that is taken holds NaN, whatever its form: all bits are set.
static size_t taken_bytes;
static kv_block *(*take_unspoilt)(kv_pool *shared);

static kv_block *take_spoilt(kv_pool *shared)
{
    kv_block *b = take_unspoilt(shared);
    if (b)
        memset(b->pages, 0xff, taken_bytes);
    return b;
}

static size_t block_bytes(const life *x)
{
    return x->m->config.L * page_shape_of(&x->o.kv, &x->m->config).bytes + 512;
}

// A life whose cached decoders share a prompt cache of about so many blocks.
static life *begin(const char *spec, size_t P, size_t blocks, const prefix_policy *policy)
{
    life *x = life_begin(spec, P, false);
    prefix_options o = {.budget = blocks * block_bytes(x), .clock = clock_told};
    if (policy)
        o.policy = *policy;
    time_now = 0;
    status s = prefix_create(x->m, &x->o.kv, &o, &x->o.pool);
    cr_assert_null(s, "%s", s);
    taken_bytes = x->m->config.L * page_shape_of(&x->o.kv, &x->m->config).bytes;
    take_unspoilt = x->o.pool->take;
    x->o.pool->take = take_spoilt;
    for (size_t i = 0; i < 2; i++) {
        kvcache_decoder.destroy(x->cached[i]);
        x->cached[i] = life_make(&kvcache_decoder, x);
    }
    return x;
}

static void end(life *x)
{
    kv_pool *shared = x->o.pool;
    life_end(x);
    prefix_destroy(shared);
}

static void change_space(life *x, const char *space)
{
    x->o.space = space;
    kvcache_decoder.destroy(x->cached[1]);
    x->cached[1] = life_make(&kvcache_decoder, x);
}

static const char *const SPECS[] = {"all",
                                    "f16",
                                    "bf16",
                                    "fp8",
                                    "q8",
                                    "q4",
                                    "kivi4:16",
                                    "kivi2:16",
                                    "window:200",
                                    "window:200+4,f16",
                                    "window:20+4",
                                    "window:20+4,q8",
                                    "window:20+4,kivi2:16"};
enum { SPEC_COUNT = sizeof SPECS / sizeof *SPECS, LENGTH = 150 };

// A text that has m tokens in common with text 0, after which it differs.
static void part_at(const life *x, size_t m, int ids[LIFE_LONGEST])
{
    memcpy(ids, x->texts[0], sizeof x->texts[0]);
    ids[m] = (ids[m] + 1) % (int)x->m->config.V;
}

Test(prefix, after_a_hit_of_any_length_every_bit_is_that_of_a_cold_run)
{
    for (size_t s = 0; s < SPEC_COUNT; s++) {
        life *x = begin(SPECS[s], 16, 1000, NULL);
        int ids[LIFE_LONGEST];
        life_check(x, 0, x->texts[0], LENGTH, 1);
        for (size_t m = 0; m < LENGTH; m++) {
            part_at(x, m, ids);
            kvcache_decoder.reset(x->cached[1]);
            const size_t computed = life_rows_of_step(x, 1, ids, LENGTH, 1), reused = m / 16 * 16;
            cr_assert_eq(computed, LENGTH - reused, "%s: %zu in common, %zu rows", x->what, m,
                         computed);
        }
        end(x);
    }
}

// Rows whose logits are wanted are computed: of n tokens that are all known, n - wanted are reused.
Test(prefix, never_reuses_a_row_whose_logits_are_wanted)
{
    life *x = begin("all", 16, 1000, NULL);
    life_check(x, 0, x->texts[0], 96, 1);
    for (size_t wanted = 1; wanted <= 96; wanted++) {
        kvcache_decoder.reset(x->cached[1]);
        const size_t computed = life_rows_of_step(x, 1, x->texts[0], 96, wanted);
        cr_assert_eq(computed, 96 - (96 - wanted) / 16 * 16, "%zu wanted, %zu rows", wanted,
                     computed);
    }
    end(x);
}

Test(prefix, a_hash_only_finds)
{
    const prefix_policy alike = {.hash = hash_all_alike};
    life *x = begin("all", 16, 1000, &alike);
    for (size_t i = 0; i < 40; i++) {
        const size_t text = life_below(x, LIFE_TEXTS), T = 1 + life_below(x, LIFE_LONGEST);
        kvcache_decoder.reset(x->cached[i % 2]);
        life_check(x, i % 2, x->texts[text], T, 1);
    }
    cr_assert_gt(prefix_count(x->o.pool).hits, 100);
    // The same tokens behind other ones are other rows.
    int ids[LIFE_LONGEST];
    memcpy(ids, x->texts[1], sizeof ids);
    memcpy(ids + 16, x->texts[0] + 16, 16 * sizeof *ids);
    life_check(x, 0, x->texts[0], 64, 1);
    kvcache_decoder.reset(x->cached[1]);
    life_check(x, 1, ids, 64, 1);
    end(x);
}

Test(prefix, is_not_shared_with_another_namespace)
{
    life *x = begin("all", 16, 1000, NULL);
    static const char *const spaces[] = {"", "a", "b", NULL};
    change_space(x, "user A");
    life_check(x, 1, x->texts[0], 100, 1);
    for (size_t i = 0; i < 4; i++) {
        change_space(x, spaces[i]);
        cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 100, 1), 100, "in %s",
                     spaces[i] ? spaces[i] : "none");
    }
    change_space(x, "user A");
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 100, 1), 4);
    end(x);
}

Test(prefix, roots_differ_with_whatever_changes_a_bit)
{
    static const char *const models[] = {
        "synthetic:L=1,C=16,H=1,T=32,V=8", "synthetic:L=1,C=16,H=1,T=32,V=8,seed=1",
        "synthetic:L=1,C=16,H=2,T=32,V=8", "synthetic:L=1,C=16,H=2,G=1,T=32,V=8"};
    const struct {
        size_t model;
        kv_spec spec;
        const char *space;
    } ways[] = {{0, {0}, NULL},
                {1, {0}, NULL},
                {2, {0}, NULL},
                {3, {0}, NULL},
                {0, {.form = KV_F16}, NULL},
                {0, {.keep = KV_WINDOW, .recent = 8}, NULL},
                {0, {.keep = KV_WINDOW, .recent = 9}, NULL},
                {0, {.page = 16}, NULL},
                {0, {0}, ""},
                {0, {0}, "a"}};
    enum { WAYS = sizeof ways / sizeof *ways };
    unsigned char root[WAYS][PREFIX_ROOT], again[PREFIX_ROOT];
    model *m[4];
    for (size_t i = 0; i < 4; i++)
        cr_assert_null(model_load(models[i], &m[i]));
    for (size_t i = 0; i < WAYS; i++) {
        cr_assert_null(prefix_root(m[ways[i].model], &ways[i].spec, ways[i].space, root[i]));
        for (size_t j = 0; j < i; j++)
            cr_assert_neq(memcmp(root[i], root[j], PREFIX_ROOT), 0, "%zu and %zu", j, i);
    }
    cr_assert_null(
        prefix_root(m[0], &(kv_spec){.page = 64}, "a", again)); // the constant's own name
    cr_assert_eq(memcmp(again, root[9], PREFIX_ROOT), 0);
    cr_assert_null(prefix_root(m[0], &(kv_spec){.dir = "/tmp", .resident = 1 << 20}, "a", again));
    cr_assert_eq(memcmp(again, root[9], PREFIX_ROOT), 0, "where pages lie changes no bit");
    for (size_t i = 0; i < 4; i++)
        model_free(m[i]);
}

// Of a decoder that knew nothing: what it did not compute came from pages, each of them counted.
static void check_counts(const life *x, size_t who, size_t T, size_t before,
                         const prefix_counters *then)
{
    const prefix_counters now = prefix_count(x->o.pool);
    const uint64_t reused = now.tokens_reused - then->tokens_reused;
    cr_assert_eq(reused, (now.hits - then->hits) * x->o.kv.page);
    cr_assert_eq(snapshot.computed(x->cached[who]) - before + reused, T);
}

// No bit differs while pages come and go, and no more bytes than the budget are ever held.
static void walk(const char *spec, size_t P, size_t blocks, const prefix_policy *policy)
{
    life *x = begin(spec, P, blocks, policy);
    size_t T[2] = {1, 1}, refused = 0;
    memory_largest();
    for (size_t i = 0; i < 150; i++) {
        const size_t who = life_below(x, 2), text = life_below(x, LIFE_TEXTS);
        const float *logits;
        time_now += life_below(x, 3);
        const bool knows = life_below(x, 4) == 0;
        if (!knows)
            kvcache_decoder.reset(x->cached[who]);
        const size_t computed = snapshot.computed(x->cached[who]);
        const prefix_counters then = prefix_count(x->o.pool);
        T[who] = 1 + life_below(x, LIFE_LONGEST);
        status s = kvcache_decoder.step(x->cached[who], x->texts[text], T[who], 1, &logits);
        if (s) {
            support_assert_refused(s, "no page is left in the pool");
            refused++;
            for (size_t j = 0; j < 2; j++)
                kvcache_decoder.reset(x->cached[j]);
        } else if (!knows)
            check_counts(x, who, T[who], computed, &then);
        life_check(x, who, x->texts[text], T[who], 1 + life_below(x, T[who] < 4 ? T[who] : 4));
        life_check_held(x, who, T[who]);
        cr_assert_leq(prefix_count(x->o.pool).bytes, blocks * block_bytes(x));
    }
    const prefix_counters n = prefix_count(x->o.pool);
    cr_assert(n.hits > 0 && n.evictions > 0 && n.tokens_reused > 0 &&
                  n.tokens_reused <= n.hits * P && refused < 100,
              "%s: %zu hits, %zu evictions", x->what, (size_t)n.hits, (size_t)n.evictions);
    end(x);
}

Test(prefix, pages_come_and_go_and_no_bit_differs)
{
    const prefix_policy policies[] = {
        {0}, {.order = PREFIX_LFU}, {.idle = 5}, {.absolute = 9, .hash = hash_all_alike}};
    for (size_t s = 0; s < SPEC_COUNT; s++)
        for (size_t i = 0; i < 4; i++) {
            walk(SPECS[s], 16, 20, &policies[i]);
            walk(SPECS[s], 32, 9, &policies[i]);
        }
}

Test(prefix, full_pages_are_not_copied)
{
    life *x = begin("all", 16, 12, NULL); // a text of 150 tokens takes 10 blocks, another 1 more
    life_check(x, 0, x->texts[0], LENGTH, 1);
    life_check(x, 1, x->texts[0], LENGTH, 1);
    cr_assert_leq(prefix_count(x->o.pool).bytes, 11 * block_bytes(x));
    cr_assert_eq(prefix_count(x->o.pool).hits, 9);
    end(x);
}

Test(prefix, a_budget_below_one_page_is_refused)
{
    model *m;
    kv_pool *shared;
    cr_assert_null(model_load("synthetic:L=1,C=16,H=1,T=32,V=8", &m));
    support_assert_refused(
        prefix_create(m, &(kv_spec){0}, &(prefix_options){.budget = 100}, &shared),
        "a prompt cache of 100 bytes holds no page: give it|KiB at least");
    cr_assert_null(shared);
    model_free(m);
}

Test(prefix, every_allocation_may_fail)
{
    model *m;
    kv_pool *shared;
    const prefix_options o = {.budget = 1 << 20};
    cr_assert_null(model_load("synthetic:L=1,C=16,H=1,T=32,V=8", &m));
    for (size_t n = 1; n <= 3; n++) {
        memory_fail_at(n);
        support_assert_refused(prefix_create(m, &(kv_spec){0}, &o, &shared), "out of memory for");
        memory_fail_at(0);
    }
    cr_assert_null(prefix_create(m, &(kv_spec){0}, &o, &shared));
    for (size_t n = 1; n <= 3; n++) {
        memory_fail_at(n);
        cr_assert_null(shared->take(shared));
        memory_fail_at(0);
    }
    kv_block *b = shared->take(shared);
    cr_assert_not_null(b);
    shared->release(shared, b);
    prefix_destroy(shared);
    model_free(m);
}

// ---- lifetimes ----

Test(prefix, lifetimes_end_on_the_clock_that_is_told)
{
    const prefix_policy both = {.idle = 100, .absolute = 250};
    life *x = begin("all", 16, 1000, &both);
    static const struct {
        uint64_t at;
        size_t rows;
    } steps[] = {{0, 100}, {100, 4}, {200, 4}, {250, 4}, {251, 100}, {351, 4}, {452, 100}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        time_now = steps[i].at;
        const size_t computed = life_rows_of_step(x, 0, x->texts[0], 100, 1);
        cr_assert_eq(computed, steps[i].rows, "at %zu: %zu rows", (size_t)steps[i].at, computed);
        kvcache_decoder.reset(x->cached[0]);
    }
    cr_assert_eq(prefix_count(x->o.pool).evictions, 12);
    end(x);
}

// ---- presets ----

static size_t admitted(const char *name, size_t m, const size_t *breakpoints, size_t n)
{
    prefix_preset p;
    cr_assert_null(prefix_preset_named(name, &p));
    return prefix_preset_admits(&p, m, breakpoints, n);
}

Test(prefix, presets_use_what_providers_say)
{
    static const size_t marks[] = {500, 1200, 1500};
    for (size_t n = 1; n <= 8192; n++) {
        const size_t m = n - 1, whole = 1024 + (m < 1024 ? 0 : m - 1024) / 128 * 128;
        cr_assert_eq(admitted("openai", m, NULL, 0), m < 1024 ? 0 : whole);
        cr_assert_eq(admitted("vllm", m, NULL, 0), m / 16 * 16);
        cr_assert_eq(admitted("own", m, NULL, 0), m);
        const size_t marked = m >= 1500 ? 1500 : m >= 1200 ? 1200 : 0;
        cr_assert_eq(admitted("anthropic", m, marks, 3), marked);
        cr_assert_eq(admitted("openai-breakpoints", m, marks, 3), marked);
        cr_assert_eq(admitted("anthropic", m, NULL, 0), 0);
        cr_assert_eq(admitted("openai-breakpoints", m, NULL, 0), m < 1024 ? 0 : m);
    }
    cr_assert_eq(admitted("openai", 2005, NULL, 0), 1920);
    prefix_preset p;
    support_assert_refused(prefix_preset_named("azure", &p), "no preset 'azure'|own, openai");
}

// A model whose context reaches OpenAI's 1024 tokens, which GPT-2's cannot: of 1024 tokens 1023 are
// reused at most.
typedef struct served {
    model *m;
    prefix_options o;
    kv_pool *shared;
    decoder *d, *cold;
    int ids[4096];
} served;

static void serve(served *x, const char *preset)
{
    decoder_options o = {.T_max = 4096};
    *x = (served){.o = {.budget = 64 << 20, .clock = clock_told}};
    time_now = 0;
    cr_assert_null(model_load("synthetic:L=1,C=16,H=1,T=8192,V=32", &x->m));
    cr_assert_null(prefix_preset_named(preset, &x->o.preset));
    o.kv.page = x->o.preset.page;
    cr_assert_null(kvcache_decoder.create(x->m, &o, &x->cold));
    cr_assert_null(prefix_create(x->m, &o.kv, &x->o, &x->shared));
    o.pool = x->shared;
    cr_assert_null(kvcache_decoder.create(x->m, &o, &x->d));
    for (size_t t = 0; t < 4096; t++)
        x->ids[t] = (int)((t * t * 7 + t / 3) % 32);
}

static void close_down(served *x)
{
    kvcache_decoder.destroy(x->d);
    kvcache_decoder.destroy(x->cold);
    prefix_destroy(x->shared);
    model_free(x->m);
}

// A request as a server would see it. Returns the tokens that were reused.
static size_t request(served *x, size_t T)
{
    const float *logits, *expected;
    const uint64_t before = prefix_count(x->shared).tokens_reused;
    kvcache_decoder.reset(x->d);
    kvcache_decoder.reset(x->cold);
    cr_assert_null(kvcache_decoder.step(x->d, x->ids, T, 1, &logits));
    cr_assert_null(kvcache_decoder.step(x->cold, x->ids, T, 1, &expected));
    cr_assert_eq(memcmp(logits, expected, 32 * sizeof *logits), 0, "%zu tokens", T);
    return (size_t)(prefix_count(x->shared).tokens_reused - before);
}

static void assert_fields(const served *x, size_t T, size_t cached, size_t written,
                          const char *expected)
{
    char text[PREFIX_FIELDS];
    cr_assert_str_eq(prefix_preset_fields(&x->o.preset, T, cached, written, text), expected);
}

Test(prefix, openai_reports_1920_of_2006_tokens)
{
    served x;
    serve(&x, "openai");
    cr_assert_eq(request(&x, 2006), 0);
    static const size_t cases[][2] = {{2006, 1920}, {1025, 1024}, {1024, 0},
                                      {1152, 1024}, {1153, 1152}, {500, 0}};
    for (size_t i = 0; i < 6; i++) {
        const size_t cached = request(&x, cases[i][0]);
        cr_assert_eq(cached, cases[i][1], "%zu: %zu", cases[i][0], cached);
    }
    assert_fields(
        &x, 2006, 1920, 0,
        "{\"prompt_tokens\": 2006, \"prompt_tokens_details\": {\"cached_tokens\": 1920}}");
    assert_fields(&x, 500, 0, 0,
                  "{\"prompt_tokens\": 500, \"prompt_tokens_details\": {\"cached_tokens\": 0}}");
    close_down(&x);
}

// Where no breakpoint is set, the end of the prompt is one for OpenAI, and none for Anthropic.
Test(prefix, an_implicit_breakpoint_is_the_end_of_the_prompt)
{
    served x;
    serve(&x, "openai-breakpoints");
    cr_assert_eq(request(&x, 2000), 0);
    cr_assert_eq(request(&x, 2000), 1984);
    cr_assert_eq(request(&x, 1030), 1024);
    cr_assert_eq(request(&x, 1024), 0); // of which 1023 may be read
    close_down(&x);
}

Test(prefix, breakpoints_are_what_is_stored_and_found)
{
    static const size_t first[] = {1200, 1600}, second[] = {1200, 1400}, low[] = {900};
    served x;
    serve(&x, "anthropic");
    prefix_mark(x.shared, NULL, 0);
    cr_assert_eq(request(&x, 2000), 0); // stores nothing
    prefix_mark(x.shared, low, 1);
    cr_assert_eq(request(&x, 2000), 0); // nor that
    prefix_mark(x.shared, first, 2);
    cr_assert_eq(request(&x, 2000), 0);
    cr_assert_eq(request(&x, 2000), 1600);
    x.ids[1500]++; // parts behind the first breakpoint
    x.ids[1500] %= 32;
    cr_assert_eq(request(&x, 2000), 1200);
    prefix_mark(x.shared, second, 2);
    cr_assert_eq(request(&x, 2000), 1392); // 1400, to the page
    const size_t written = prefix_preset_stores(&x.o.preset, 2000, first, 2) - 1200;
    assert_fields(&x, 2000, 1200, written,
                  "{\"cache_creation_input_tokens\": 400, \"cache_read_input_tokens\": 1200, "
                  "\"input_tokens\": 400}");
    close_down(&x);
}

Test(prefix, vllm_reuses_full_blocks_of_16)
{
    served x;
    serve(&x, "vllm");
    request(&x, 330);
    for (size_t T = 1; T <= 330; T++)
        cr_assert_eq(request(&x, T), (T - 1) / 16 * 16, "%zu", T);
    assert_fields(&x, 330, 320, 0, "{\"prompt_tokens\": 330, \"cached_tokens\": 320}");
    close_down(&x);
}
