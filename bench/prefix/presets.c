// "If the input is system prompt + user A, then system prompt + user B": what each provider's rule
// makes of that, as a prompt cache with that rule counts it.
#include "bench/prefix/presets.h"

#include <stdio.h>
#include <string.h>

#include "bench/subject/subject.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "kvcache/prefix/prefix.h"
#include "kvcache/snapshot/snapshot.h"
#include "naive/naive.h"

// Longer than any provider's smallest prompt, which GPT-2's 1024 positions are not.
static const char default_model[] = "synthetic:L=1,C=16,H=1,T=8192,V=32";
enum { PROMPT = 2006, PAGE = 16, BREAKPOINTS = 2, TEXTS_HELD = 4 };
static const uint64_t minute_ns = 60000000000;

static const struct {
    unsigned minute; // since the first
    char user;
} requests[] = {{0, 'A'}, {1, 'A'}, {2, 'B'}, {20, 'A'}};
enum { REQUESTS = sizeof requests / sizeof *requests, USERS = 2 };

typedef struct asked {
    const model *m;
    size_t T, system;        // tokens of a prompt, and of those that all of them begin with
    int *ids;                // (T)
    float *expected;         // (USERS, V), naive's
    uint64_t logits, differ; // compared
} asked;

static uint64_t told_ns; // the time, as the pool sees it

static uint64_t told(void)
{
    return told_ns;
}

// The prompt of a user, 'A' or 'B': a system prompt, and what this one says.
static void draw(asked *a, char user)
{
    for (size_t t = 0; t < a->T; t++) {
        const uint64_t of = t < a->system ? 0 : (uint64_t)user;
        a->ids[t] = (int)(random_splitmix64((of << 32) + (t + 1) * RANDOM_GAMMA) % a->m->config.V);
    }
}

static status judge_all(asked *a)
{
    const size_t V = a->m->config.V;
    const decoder_options o = {.T_max = a->T, .kv.page = PAGE};
    const float *logits;
    decoder *d;
    status failed = naive_decoder.create(a->m, &o, &d);
    for (size_t u = 0; !failed && u < USERS; u++) {
        draw(a, (char)('A' + u));
        naive_decoder.reset(d);
        failed = naive_decoder.step(d, a->ids, a->T, 1, &logits);
        if (!failed)
            memcpy(a->expected + u * V, logits, V * sizeof *logits);
    }
    naive_decoder.destroy(d);
    return failed;
}

// One request after the other, each with breakpoints behind the system prompt and at the end.
static status ask(asked *a, const prefix_preset *preset, kv_pool *pool, decoder *d)
{
    const size_t V = a->m->config.V, breakpoint[BREAKPOINTS] = {a->system, a->T};
    char text[PREFIX_FIELDS];
    for (size_t r = 0; r < REQUESTS; r++) {
        const float *logits, *expected = a->expected + (size_t)(requests[r].user - 'A') * V;
        const uint64_t reused = prefix_count(pool).tokens_reused;
        size_t computed = snapshot.computed(d);
        draw(a, requests[r].user);
        told_ns = requests[r].minute * minute_ns;
        prefix_mark(pool, breakpoint, BREAKPOINTS);
        status failed = kvcache_decoder.step(d, a->ids, a->T, 1, &logits);
        if (failed)
            return failed;
        const size_t cached = (size_t)(prefix_count(pool).tokens_reused - reused),
                     stored = prefix_preset_stores(preset, a->T, breakpoint, BREAKPOINTS),
                     known = size_max(cached, stored - stored % PAGE);
        computed = snapshot.computed(d) - computed;
        if (computed + cached != a->T)
            return status_fail("%zu rows computed and %zu reused are not %zu: this is a bug",
                               computed, cached, a->T);
        for (size_t i = 0; i < V; i++)
            a->differ += memcmp(&logits[i], &expected[i], sizeof *logits) != 0;
        a->logits += V;
        kvcache_decoder.reset(d); // answered: its pages' idle time begins
        printf("  %-18s  %6u  system + %c  %8zu  %s\n", r == 0 ? preset->name : "",
               requests[r].minute, requests[r].user, computed,
               prefix_preset_fields(preset, a->T, cached, known - cached, text));
    }
    return NULL;
}

static status ask_by(asked *a, const prefix_preset *preset)
{
    decoder_options o = {.T_max = a->T, .kv.page = PAGE};
    const prefix_options p = {
        .clock = told,
        .preset = *preset,
        .budget = size_times(TEXTS_HELD, prefix_budget(&a->m->config, &o.kv, a->T))};
    kv_pool *pool = NULL;
    decoder *d = NULL;
    told_ns = 0;
    status failed = prefix_create(a->m, &o.kv, &p, &pool);
    o.pool = pool;
    if (!failed)
        failed = kvcache_decoder.create(a->m, &o, &d);
    if (!failed)
        failed = ask(a, preset, pool, d);
    kvcache_decoder.destroy(d);
    prefix_destroy(pool);
    return failed;
}

static status show(asked *a)
{
    char text[2][FORMAT_ROOM];
    status failed = judge_all(a);
    if (failed)
        return failed;
    printf("%s: prompts of %zu tokens, the first %zu the system's\n"
           "pages of %d tokens, breakpoints behind the system prompt and at the end\n\n"
           "  %-18s  %6s  %-10s  %8s  %s\n",
           model_label(a->m), a->T, a->system, (int)PAGE, "preset", "minute", "prompt", "computed",
           "usage, as the provider reports it");
    for (size_t i = 0; !failed && prefix_preset_at(i); i++)
        failed = ask_by(a, prefix_preset_at(i));
    if (!failed)
        printf("\n%s of %s logits differ from naive's\n", format_whole(a->differ, text[0]),
               format_whole(a->logits, text[1]));
    return failed;
}

status presets_show(const bench_options *o, int *exit_code)
{
    const char *name = o->model_given ? o->model : default_model;
    asked a = {0};
    model *m = NULL;
    status failed = subjects_check_memory(
        o,
        &(subjects_need){.model = name, .first = "naive", .firsts = 1, .others = TEXTS_HELD + 1});
    if (!failed)
        failed = model_load(name, &m);
    if (failed)
        return failed;
    a.m = m;
    a.T = size_min(PROMPT, m->config.T);
    a.system = a.T * 3 / 4;
    a.ids = memory_array(a.T, sizeof *a.ids);
    a.expected = memory_array(size_times(USERS, m->config.V), sizeof *a.expected);
    failed = a.ids && a.expected ? show(&a) : memory_failed("a prompt");
    if (!failed && a.differ > 0)
        *exit_code = 1;
    memory_free(a.ids);
    memory_free(a.expected);
    model_free(m);
    return failed;
}
