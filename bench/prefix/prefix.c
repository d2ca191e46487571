// bench prefix: hits of each policy on a trace, and the curve of hits over capacity beside the one
// that Mooncake's authors have published.
#include "bench/prefix/prefix.h"

#include <jansson.h>
#include <stdio.h>

#include "bench/base/progress.h"
#include "bench/base/results.h"
#include "bench/prefix/conversation.h"
#include "bench/prefix/presets.h"
#include "bench/prefix/replay.h"
#include "bench/prefix/shares.h"
#include "bench/subject/subject.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/text/utf8.h"

static const char usage[] =
    "build/bench prefix [options]: TTFT against the share of the prompt that is cached,\n"
    "                                 a conversation, and where the part that changes stands\n"
    "build/bench prefix --trace FILE [options]: what a prompt cache finds again, policy by policy, "
    "without a model\n"
    "build/bench prefix --presets [-m MODEL]: what providers would report of a prompt sent "
    "again\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
    "  -c, --contexts 64,256,1023     tokens of the prompts\n"
    "  -b, --budget SECONDS           of prompts, and again of conversations (default 30)\n"
    "  -n, --samples N                take N samples of each instead; 6 or more\n"
    "  -s, --seed N                   of the order in which samples are taken (default 0)\n"
    "  -T, --trace FILE               requests, one JSON object a line (bench/prefix/traces)\n"
    "  -B, --blocks N                 capacity in blocks of 512 tokens (default 10000)\n"
    "  -P, --presets                  \"system + A\", then \"system + B\": computed rows and usage "
    "fields\n"
    "                                 (default model: a synthetic one of 2048 positions)\n"
    "  -o, --out DIR                  where prefix-*.csv and prefix-trace.json go (default: "
    "build/results)\n";

enum { DEFAULT_BLOCKS = 10000 };

typedef struct row {
    char name[64];
    replay_way way;
    replay_counts count;
} row;

// Hit ratios of Figure 9 of Qin et al., FAST '25, for the synthetic trace, by tokens of capacity.
static const struct {
    double tokens, ratio;
} figure9[] = {{1e4, .0003}, {1e5, .0117}, {1e6, .1461}, {2e6, .2345}, {4e6, .3805},
               {5e6, .4352}, {8e6, .5447}, {1e7, .5886}, {5e7, .6582}, {1e8, .6582}};
enum { POINTS = sizeof figure9 / sizeof *figure9, POLICIES = 7 };

typedef struct study {
    const char *path;
    replay_trace t;
    row policy[POLICIES];
    row curve[2][POINTS]; // touched last to first, and first to last; full blocks only
} study;

static row row_of(const char *name, size_t blocks, replay_way way)
{
    row r = {.way = way};
    char text[FORMAT_ROOM];
    r.way.capacity = blocks;
    if (blocks > 0)
        snprintf(r.name, sizeof r.name, "%s, %s blocks", name, format_whole(blocks, text));
    else
        snprintf(r.name, sizeof r.name, "%s, no limit", name);
    return r;
}

static void list_rows(study *s, size_t N)
{
    const row policies[POLICIES] = {
        row_of("all", 0, (replay_way){0}),
        row_of("LRU, last to first", N, (replay_way){0}),
        row_of("LRU, first to last", N, (replay_way){.first_to_last = true}),
        row_of("LFU, last to first", N, (replay_way){.policy.order = PREFIX_LFU}),
        row_of("60 s idle", 0, (replay_way){.policy.idle = 60000}),
        row_of("300 s idle", 0, (replay_way){.policy.idle = 300000}),
        row_of("600 s idle", 0, (replay_way){.policy.idle = 600000})};
    for (size_t i = 0; i < POLICIES; i++)
        s->policy[i] = policies[i];
    for (size_t order = 0; order < 2; order++)
        for (size_t i = 0; i < POINTS; i++)
            s->curve[order][i] =
                row_of("curve", (size_t)figure9[i].tokens / REPLAY_BLOCK,
                       (replay_way){.first_to_last = order == 1, .full_only = true});
}

static double ratio(const row *r)
{
    const size_t all = r->count.hits + r->count.misses;
    return all > 0 ? (double)r->count.hits / (double)all : 0;
}

static status replay_all(study *s)
{
    progress p = progress_begin("prefix");
    status failed = NULL;
    for (size_t i = 0; !failed && i < POLICIES + 2 * POINTS; i++) {
        row *r = i < POLICIES ? &s->policy[i] : &s->curve[0][0] + (i - POLICIES);
        failed = replay_run(&s->t, &r->way, &r->count);
        progress_update(&p, (double)(i + 1) / (POLICIES + 2 * POINTS));
    }
    progress_end(&p);
    return failed;
}

static void print_policies(const study *s)
{
    char text[4][FORMAT_ROOM];
    printf("%s: %s requests, %s blocks of %d tokens\n\n", s->path, format_whole(s->t.n, text[0]),
           format_whole(s->t.blocks, text[1]), (int)REPLAY_BLOCK);
    printf("  %-34s %8s %8s %10s  %s\n", "policy, and capacity", "hits", "misses", "evictions",
           "hits of all");
    for (size_t i = 0; i < POLICIES; i++) {
        const row *r = &s->policy[i];
        printf("  %-34s %8s %8s %10s  %8.2f %%\n", r->name, format_whole(r->count.hits, text[0]),
               format_whole(r->count.misses, text[1]), format_whole(r->count.evictions, text[2]),
               100 * ratio(r));
    }
}

static void print_curve(const study *s)
{
    char text[FORMAT_ROOM];
    printf("\nHits of all full blocks, in per cent, by capacity\n\n"
           "  %13s  %13s  %13s  %9s\n",
           "tokens", "last to first", "first to last", "Figure 9");
    for (size_t i = 0; i < POINTS; i++)
        printf("  %13s  %13.2f  %13.2f  %9.2f\n", format_whole((uint64_t)figure9[i].tokens, text),
               100 * ratio(&s->curve[0][i]), 100 * ratio(&s->curve[1][i]), 100 * figure9[i].ratio);
}

static status print_csv(FILE *f, const void *what)
{
    const study *s = what;
    fputs("tokens,blocks,last_to_first,first_to_last,figure9\n", f);
    for (size_t i = 0; i < POINTS; i++)
        fprintf(f, "%.0f,%zu,%.6f,%.6f,%.4f\n", figure9[i].tokens, s->curve[0][i].way.capacity,
                ratio(&s->curve[0][i]), ratio(&s->curve[1][i]), figure9[i].ratio);
    return NULL;
}

static status write_json(const study *s, const char *dir)
{
    json_t *list = json_array(),
           *all =
               json_pack("{s:o, s:I, s:I, s:O}", "trace", utf8_text(s->path), "requests",
                         (json_int_t)s->t.n, "blocks", (json_int_t)s->t.blocks, "policies", list);
    status failed = list && all ? NULL : memory_failed("a description");
    for (size_t i = 0; !failed && i < POLICIES; i++) {
        const replay_counts *n = &s->policy[i].count;
        json_t *r = json_pack("{s:s, s:I, s:I, s:I}", "policy", s->policy[i].name, "hits",
                              (json_int_t)n->hits, "misses", (json_int_t)n->misses, "evictions",
                              (json_int_t)n->evictions);
        if (json_array_append_new(list, r) != 0)
            failed = memory_failed("a description");
    }
    if (!failed)
        failed = results_write_json(dir, "prefix-trace.json", all);
    json_decref(list);
    json_decref(all);
    return failed;
}

static status run(study *s, const bench_options *o, const char *dir)
{
    status failed = replay_read(o->trace, &s->t);
    if (failed)
        return failed;
    s->path = o->trace;
    list_rows(s, o->blocks > 0 ? o->blocks : DEFAULT_BLOCKS);
    failed = replay_all(s);
    if (failed)
        return failed;
    print_policies(s);
    print_curve(s);
    failed = results_write(dir, "prefix-trace.csv", print_csv, s);
    return failed ? failed : write_json(s, dir);
}

static status replay_trace_file(const bench_options *o)
{
    static const char *const files[] = {"prefix-trace.csv", "prefix-trace.json", NULL};
    char dir[FILE_PATH_SIZE];
    int lock = -1;
    study *s = memory_array(1, sizeof *s);
    status failed = s ? results_take(o->out, files, dir, &lock) : memory_failed("a replay");
    if (!failed)
        failed = run(s, o, dir);
    if (s)
        replay_free(&s->t);
    memory_free(s);
    results_unlock(lock);
    return failed;
}

// Beside the pools, which the two do not hold at once, each has a decoder of its own.
static status check_memory(const bench_options *o)
{
    status failed = subjects_check_memory(
        o,
        &(subjects_need){.model = o->model, .contexts = o->contexts, .others = PROMPTS_HELD + 2});
    return failed ? failed
                  : subjects_check_memory(
                        o, &(subjects_need){.model = o->model, .others = CONVERSATIONS_HELD + 1});
}

static status measure_prompts(const bench_options *o, int *exit_code)
{
    static const char *const files[] = {"prefix-summary.csv", "prefix-shares.csv",
                                        "prefix-conversation-summary.csv",
                                        "prefix-placement-summary.csv", NULL};
    char dir[FILE_PATH_SIZE];
    int lock = -1;
    model *m = NULL;
    status failed = bench_options_enough_samples(o, exit_code);
    if (!failed)
        failed = results_take(o->out, files, dir, &lock);
    if (!failed)
        failed = check_memory(o);
    if (!failed)
        failed = model_load(o->model, &m);
    if (!failed)
        failed = shares_measure(m, dir, o, exit_code);
    if (!failed && !*exit_code)
        failed = conversation_measure(m, dir, o, exit_code);
    model_free(m);
    results_unlock(lock);
    return failed;
}

status prefix_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status s = bench_options_parse(argc, argv, "m:c:b:n:s:T:B:Po:", usage, &o, exit_code);
    if (s || o.help)
        return s;
    if (o.presets && o.trace) {
        *exit_code = EXIT_USAGE;
        return status_fail("--presets does not go with --trace, which knows no tokens: give one");
    }
    if (o.presets)
        return presets_show(&o, exit_code);
    if (!o.trace)
        return measure_prompts(&o, exit_code);
    return replay_trace_file(&o);
}
