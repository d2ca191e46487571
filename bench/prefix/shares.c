// A prompt begins with m tokens that another request has left in the pool, on the pool's disk or in
// a snapshot, and goes on with tokens that nobody has seen. Timed are the whole step, the pool's
// part of it, and beside it the same rows where the m before them are a decoder's own.
#include "bench/prefix/shares.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/base/contexts.h"
#include "bench/base/interrupt.h"
#include "bench/base/results.h"
#include "bench/measure/rounds.h"
#include "bench/snapshot/snapshot.h"
#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "kvcache/prefix/prefix.h"
#include "kvcache/snapshot/snapshot.h"

enum { SHARES = 5, PAGE = 16, DEFAULT_BUDGET_S = 30 };
enum { FROM_POOL_DISK = SHARES, FROM_STATE, FROM_DISK, WAYS };
enum { TTFT, POOL, ALONE, VALUES };

// A pool; who fills it, and who is timed.
typedef struct users {
    kv_pool *cache;
    decoder *first, *d;
} users;

// Cell i is length i / WAYS in way i % WAYS: a share that lies in the pool, or the largest of them
// on disk or in a snapshot. Cached is what is a whole page below T.
typedef struct shares {
    const model *m;
    const char *dir;
    size_t *length, lengths;
    users pooled;
    users small;  // a pool for one prompt, which moves others to disk; both are one decoder
    decoder *own; // without a pool
    int *ids;     // (T)
    int *other;   // (T) a prompt that begins with another token
    uint64_t state;
    char digest[65];
    rounds rounds;
} shares;

static const char *const metric_names[] = {"ttft", "pool", "alone"};

static const char *const way_names[] = {
    "0% cached",   "25% cached",           "50% cached",      "75% cached",
    "100% cached", "from the pool's disk", "from a snapshot", "from a snapshot on disk"};

static size_t cached(const shares *s, size_t cell)
{
    const size_t T = s->length[cell / WAYS], way = cell % WAYS;
    return (way < SHARES ? way : SHARES - 1) * (T - 1) / (SHARES - 1) / PAGE * PAGE;
}

// ---- the time inside the pool ----

static kv_pool untimed;
static uint64_t pool_ns;

static kv_block *timed_take(kv_pool *p)
{
    const uint64_t begin = clock_ns();
    kv_block *b = untimed.take(p);
    pool_ns += clock_ns() - begin;
    return b;
}

static void timed_release(kv_pool *p, kv_block *block)
{
    const uint64_t begin = clock_ns();
    untimed.release(p, block);
    pool_ns += clock_ns() - begin;
}

static kv_block *timed_find(kv_pool *p, const char *space, const kv_block *before,
                            const int *tokens)
{
    const uint64_t begin = clock_ns();
    kv_block *b = untimed.find(p, space, before, tokens);
    pool_ns += clock_ns() - begin;
    return b;
}

static void timed_publish(kv_pool *p, const char *space, const kv_block *before, kv_block *block,
                          const int *tokens)
{
    const uint64_t begin = clock_ns();
    untimed.publish(p, space, before, block, tokens);
    pool_ns += clock_ns() - begin;
}

static void time_pool(kv_pool *p)
{
    untimed = *p;
    p->take = timed_take;
    p->release = timed_release;
    p->find = timed_find;
    p->publish = timed_publish;
}

// ---- measuring ----

static status state_path(const shares *s, size_t cell, char path[FILE_PATH_SIZE])
{
    char name[64];
    snprintf(name, sizeof name, "prefix-%zu.state", cached(s, cell));
    return file_path(s->dir, name, path);
}

static status prefill(decoder *d, const int *ids, size_t T)
{
    const float *logits;
    kvcache_decoder.reset(d);
    return T > 0 ? kvcache_decoder.step(d, ids, T, 1, &logits) : NULL;
}

static status timed_step(decoder *d, const int *ids, size_t T, double *ns)
{
    const float *logits;
    const uint64_t begin = clock_ns();
    status failed = kvcache_decoder.step(d, ids, T, 1, &logits);
    *ns += (double)(clock_ns() - begin);
    return failed;
}

// The first m tokens are in the pool, or, where `moved`, on its disk, because another prompt takes
// all of its memory.
static status take_from_pool(shares *s, const users *of, bool moved, size_t T, size_t m, double *ns)
{
    status failed = prefill(of->first, s->ids, m);
    if (moved && !failed)
        failed = prefill(of->first, s->other, s->m->config.T);
    kvcache_decoder.reset(of->first);
    kvcache_decoder.reset(of->d);
    const prefix_counters before = prefix_count(of->cache);
    pool_ns = 0;
    if (!failed)
        failed = timed_step(of->d, s->ids, T, &ns[TTFT]);
    ns[POOL] = (double)pool_ns;
    const prefix_counters now = prefix_count(of->cache);
    const size_t got = (size_t)(now.tokens_reused - before.tokens_reused),
                 read = (size_t)(now.read_back - before.read_back);
    if (!failed && got != m)
        failed = status_fail("%zu of %zu tokens were reused, not %zu: this is a bug", got, T, m);
    if (!failed && moved && read != m / PAGE)
        failed = status_fail("%zu of %zu pages came from disk: this is a bug", read, m / PAGE);
    return failed;
}

// The first m tokens come out of a file, the others are computed behind them.
static status take_from_file(shares *s, size_t cell, size_t T, size_t m, double *ns)
{
    char path[FILE_PATH_SIZE];
    size_t tokens;
    status failed = state_path(s, cell, path);
    if (failed)
        return failed;
    if (cell % WAYS == FROM_DISK)
        bench_drop_from_cache(path);
    const size_t before = snapshot.computed(s->own);
    kvcache_decoder.reset(s->own);
    const uint64_t begin = clock_ns();
    failed = m > 0 ? snapshot_load(s->own, s->digest, path, &tokens) : NULL;
    ns[TTFT] = (double)(clock_ns() - begin);
    if (!failed)
        failed = timed_step(s->own, s->ids, T, &ns[TTFT]);
    const size_t rows_computed = snapshot.computed(s->own) - before;
    if (!failed && rows_computed != T - m)
        failed = status_fail("%zu of %zu rows were computed, not %zu: this is a bug", rows_computed,
                             T, T - m);
    return failed;
}

// Rows m to T - 1, where rows 0 to m - 1 are there anyway.
static status take_alone(shares *s, size_t T, size_t m, double *ns)
{
    status failed = prefill(s->own, s->ids, m);
    return failed ? failed : timed_step(s->own, s->ids, T, &ns[ALONE]);
}

static status take(void *user, size_t cell, double *ns)
{
    shares *s = user;
    const size_t T = s->length[cell / WAYS], m = cached(s, cell), V = s->m->config.V;
    const size_t way = cell % WAYS;
    for (size_t t = 0; t < m; t++)
        s->ids[t] = fixed_token(t, V);
    for (size_t t = m; t < T; t++)
        s->ids[t] = (int)(random_splitmix64(s->state += RANDOM_GAMMA) % V);
    for (size_t i = 0; i < VALUES; i++)
        ns[i] = 0;
    // By turns, so that neither comes first always.
    const bool alone_first = s->state >> 7 & 1;
    status failed = alone_first ? take_alone(s, T, m, ns) : NULL;
    if (!failed)
        failed = way < SHARES            ? take_from_pool(s, &s->pooled, false, T, m, ns)
                 : way == FROM_POOL_DISK ? take_from_pool(s, &s->small, true, T, m, ns)
                                         : take_from_file(s, cell, T, m, ns);
    return failed || alone_first ? failed : take_alone(s, T, m, ns);
}

static double work(const void *user, size_t cell)
{
    const shares *s = user;
    return (double)(s->length[cell / WAYS] + cached(s, cell) + 1);
}

static rounds_label label(const void *user, size_t cell, size_t value)
{
    const shares *s = user;
    return (rounds_label){model_label(s->m), way_names[cell % WAYS], metric_names[value],
                          s->length[cell / WAYS]};
}

// The median, over the samples, of TTFT beside the same rows alone. `room` is for 2 numbers of each
// sample.
static double ratio(const shares *s, size_t cell, double *room)
{
    const size_t n = rounds_samples(&s->rounds, cell);
    double *ttft = room, *alone = room + n;
    rounds_values(&s->rounds, cell, TTFT, ttft);
    rounds_values(&s->rounds, cell, ALONE, alone);
    for (size_t i = 0; i < n; i++)
        ttft[i] /= alone[i];
    return stats_median(ttft, n).median;
}

// Whether a cell is to be shown: of a short prompt, several shares are the same whole pages.
static bool is_shown(const shares *s, size_t cell)
{
    const size_t way = cell % WAYS;
    const bool again = way > 0 && way < SHARES && cached(s, cell) == cached(s, cell - 1);
    return !again && rounds_samples(&s->rounds, cell) > 0;
}

// What is shown of a cell.
typedef struct share {
    size_t T, cached;
    const char *way;
    bool pooled; // the pool was used, for `pool` of the time
    estimate ttft;
    double of_cold, pool, of_alone; // TTFT's parts: cold's, the pool's, that of the rows alone
} share;

static share share_of(const shares *s, size_t cell, double *room)
{
    const size_t way = cell % WAYS;
    const estimate ttft = rounds_estimate(&s->rounds, cell, TTFT);
    return (share){
        .T = s->length[cell / WAYS],
        .cached = cached(s, cell),
        .way = way < SHARES ? "in memory" : way_names[way],
        .pooled = way < FROM_STATE,
        .ttft = ttft,
        .of_cold = ttft.median / rounds_estimate(&s->rounds, cell - way, TTFT).median,
        .pool = rounds_estimate(&s->rounds, cell, POOL).median / ttft.median,
        .of_alone = ratio(s, cell, room),
    };
}

static void print_row(const shares *s, size_t i, double *room)
{
    char text[3][FORMAT_ROOM], interval[2 * FORMAT_ROOM + 4];
    const share a = share_of(s, i, room);
    snprintf(interval, sizeof interval, "%s to %s", format_ns(a.ttft.lo, text[1]),
             format_ns(a.ttft.hi, text[2]));
    printf("  %8zu  %8zu  %8zu  %-23s  %10s  %22s  %7.1f %%", a.T, a.cached, a.T - a.cached, a.way,
           format_ns(a.ttft.median, text[0]), interval, 100 * a.of_cold);
    if (a.pooled)
        printf("  %7.3f %%", 100 * a.pool);
    else
        printf("  %9s", "");
    printf("  %10.3f\n", a.of_alone);
}

static status print_table(const shares *s)
{
    double *room = memory_array(s->rounds.taken, 2 * sizeof *room);
    if (!room)
        return memory_failed("a table");
    printf("\n  %8s  %8s  %8s  %-23s  %10s  %22s  %9s  %9s  %10s\n", "prompt", "cached", "computed",
           "", "TTFT", "95 % interval", "of cold", "in pool", "rows alone");
    for (size_t i = 0; i < s->lengths * WAYS; i++)
        if (is_shown(s, i))
            print_row(s, i, room);
    printf(
        "\nin pool: the part of TTFT inside the pool's functions; rows alone: TTFT beside that of "
        "the same rows\nwhere those before them are the decoder's own; medians\n");
    memory_free(room);
    return NULL;
}

// For the picture and the report.
static status print_csv(FILE *f, const void *what)
{
    const shares *s = what;
    double *room = memory_array(s->rounds.taken, 2 * sizeof *room);
    if (!room)
        return memory_failed("a table");
    fprintf(f, "model,decoder,context,cached,computed,median_ns,ci_lo_ns,ci_hi_ns,of_cold,in_pool,"
               "of_rows_alone\n");
    for (size_t i = 0; i < s->lengths * WAYS; i++) {
        if (!is_shown(s, i))
            continue;
        const share a = share_of(s, i, room);
        results_csv_text(f, model_label(s->m));
        fputc(',', f);
        results_csv_text(f, a.way);
        fprintf(f, ",%zu,%zu,%zu,%.0f,%.0f,%.0f,%.6g,%.6g,%.6g\n", a.T, a.cached, a.T - a.cached,
                a.ttft.median, a.ttft.lo, a.ttft.hi, a.of_cold, a.pooled ? a.pool : 0, a.of_alone);
    }
    memory_free(room);
    return NULL;
}

// What take_from_file restores, one for each length.
static status save_states(shares *s)
{
    char path[FILE_PATH_SIZE];
    status failed = model_digest(s->m, s->digest);
    for (size_t i = 0; !failed && i < s->m->config.T; i++)
        s->ids[i] = fixed_token(i, s->m->config.V);
    for (size_t i = 0; !failed && i < s->lengths; i++) {
        const size_t cell = i * WAYS + FROM_STATE;
        if (cached(s, cell) == 0)
            continue;
        failed = prefill(s->own, s->ids, cached(s, cell));
        if (!failed)
            failed = state_path(s, cell, path);
        if (!failed)
            failed = snapshot_save(s->own, s->digest, false, path);
    }
    return failed;
}

static void remove_states(const shares *s)
{
    char path[FILE_PATH_SIZE];
    for (size_t i = 0; i < s->lengths; i++)
        if (!state_path(s, i * WAYS + FROM_STATE, path))
            unlink(path);
}

static status open_decoders(shares *s)
{
    decoder_options o = {.T_max = s->m->config.T, .kv.page = PAGE};
    const size_t prompt = prefix_budget(&s->m->config, &o.kv, o.T_max);
    const prefix_options large = {.budget = size_times(PROMPTS_HELD, prompt)},
                         small = {.budget = prompt, .dir = s->dir, .disk = size_times(4, prompt)};
    status failed = kvcache_decoder.create(s->m, &o, &s->own);
    if (!failed)
        failed = prefix_create(s->m, &o.kv, &large, &s->pooled.cache);
    if (!failed)
        failed = prefix_create(s->m, &o.kv, &small, &s->small.cache);
    if (failed)
        return failed;
    time_pool(o.pool = s->pooled.cache);
    failed = kvcache_decoder.create(s->m, &o, &s->pooled.first);
    if (!failed)
        failed = kvcache_decoder.create(s->m, &o, &s->pooled.d);
    time_pool(o.pool = s->small.cache);
    if (!failed)
        failed = kvcache_decoder.create(s->m, &o, &s->small.d);
    s->small.first = s->small.d;
    s->ids = memory_array(o.T_max, sizeof *s->ids);
    s->other = memory_array(o.T_max, sizeof *s->other);
    for (size_t t = 0; s->other && t < o.T_max; t++)
        s->other[t] = fixed_token(t + 1, s->m->config.V);
    return failed || (s->ids && s->other) ? failed : memory_failed("a prompt");
}

static status measure(shares *s, const bench_options *o, int *exit_code)
{
    char what[FILE_PATH_SIZE];
    const rounds_job job = {.name = "prefix",
                            .x = "context",
                            .unit = "ns",
                            .cells = s->lengths * WAYS,
                            .values = VALUES,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = s,
                            .samples = o->samples,
                            .budget_s = o->budget > 0 ? o->budget : DEFAULT_BUDGET_S,
                            .seed = o->seed};
    snprintf(what, sizeof what, "prefix on %s: %zu lengths, %d ways", model_label(s->m), s->lengths,
             (int)WAYS);
    status failed = rounds_measure(&job, s->dir, "prefix", what, &s->rounds, exit_code);
    if (!failed)
        failed = results_write(s->dir, "prefix-shares.csv", print_csv, s);
    if (!failed)
        failed = print_table(s);
    return failed ? failed : rounds_print_noise(&s->rounds);
}

static status run(shares *s, const bench_options *o, int *exit_code)
{
    status failed = o->contexts ? bench_options_contexts(o->contexts, s->m->config.T, &s->length,
                                                         &s->lengths, exit_code)
                                : contexts_doubling(s->m->config.T, &s->length, &s->lengths);
    if (!failed)
        failed = open_decoders(s);
    if (failed)
        return failed;
    interrupt_catch();
    failed = save_states(s);
    if (!failed)
        failed = measure(s, o, exit_code);
    remove_states(s);
    interrupt_release();
    rounds_close(&s->rounds);
    return failed;
}

status shares_measure(const model *m, const char *dir, const bench_options *o, int *exit_code)
{
    shares s = {.m = m, .dir = dir, .state = o->seed};
    status failed = run(&s, o, exit_code);
    kvcache_decoder.destroy(s.pooled.first);
    kvcache_decoder.destroy(s.pooled.d);
    kvcache_decoder.destroy(s.small.d);
    kvcache_decoder.destroy(s.own);
    prefix_destroy(s.pooled.cache);
    prefix_destroy(s.small.cache);
    memory_free(s.ids);
    memory_free(s.other);
    memory_free(s.length);
    return failed;
}
