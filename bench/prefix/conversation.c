// Each request of a conversation sends the whole history again, and a turn more. Without a prompt
// cache all of it is computed, so n turns take in proportion to n^2; with one, only what is new.
// And a prompt can be found only up to the first token that changes: so what changes stands last.
#include "bench/prefix/conversation.h"

#include <stdio.h>

#include "bench/base/interrupt.h"
#include "bench/curves/fit.h"
#include "bench/measure/rounds.h"
#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "kvcache/prefix/prefix.h"
#include "kvcache/snapshot/snapshot.h"

enum {
    PAGE = 16,
    TURN = 32, // tokens that a turn adds: an answer and the next question
    WAYS = 2,
    LENGTHS = 16,
    CHANGING = 64, // tokens of a prompt that are others in each request
    DEFAULT_BUDGET_S = 30,
};

// Of a conversation: without a prompt cache, with one. Of a prompt: what changes first, last.
static const char *const conversation_names[WAYS] = {"without", "with"},
                         *const placement_names[WAYS] = {"changing part first",
                                                         "changing part last"};

// Cell i is length i / WAYS in way i % WAYS.
typedef struct talk {
    const model *m;
    const char *dir;
    size_t length[LENGTHS], lengths; // turns; or tokens of the prompt, one length
    size_t rows[LENGTHS * WAYS];     // computed by the last sample of each cell
    kv_pool *cache;
    decoder *with, *without; // of the pool; on its own
    int *ids;                // (T)
    uint64_t state;
    rounds rounds;
} talk;

static void draw(talk *k, size_t from, size_t to)
{
    for (size_t t = from; t < to; t++)
        k->ids[t] = (int)(random_splitmix64(k->state += RANDOM_GAMMA) % k->m->config.V);
}

// A request by a decoder that knows nothing itself: adds its time and the rows that it computed.
static status request(const talk *k, decoder *d, size_t T, double *ns, size_t *rows_computed)
{
    const float *logits;
    kvcache_decoder.reset(d);
    const size_t before = snapshot.computed(d);
    const uint64_t begin = clock_ns();
    status failed = kvcache_decoder.step(d, k->ids, T, 1, &logits);
    *ns += (double)(clock_ns() - begin);
    *rows_computed += snapshot.computed(d) - before;
    return failed;
}

static status check_rows(const talk *k, size_t cell, size_t expected)
{
    return k->rows[cell] == expected ? NULL
                                     : status_fail("%zu rows were computed, not %zu: this is a bug",
                                                   k->rows[cell], expected);
}

// n turns of TURN tokens each: TURN n (n + 1) / 2 rows without a prompt cache, TURN n with one.
static status take_conversation(void *user, size_t cell, double *ns)
{
    talk *k = user;
    const size_t n = k->length[cell / WAYS];
    const bool with = cell % WAYS == 1;
    status failed = NULL;
    draw(k, 0, n * TURN);
    *ns = 0;
    k->rows[cell] = 0;
    for (size_t i = 1; !failed && i <= n; i++)
        failed = request(k, with ? k->with : k->without, i * TURN, ns, &k->rows[cell]);
    kvcache_decoder.reset(k->with);
    return failed ? failed : check_rows(k, cell, with ? TURN * n : TURN * n * (n + 1) / 2);
}

// The second of two requests, of which all but CHANGING tokens are alike.
static status take_placement(void *user, size_t cell, double *ns)
{
    talk *k = user;
    const size_t T = k->length[0], alike = T - CHANGING;
    const bool last = cell % WAYS == 1;
    status failed = NULL;
    draw(k, 0, T);
    for (int i = 0; !failed && i < 2; i++) {
        draw(k, last ? alike : 0, last ? T : CHANGING);
        *ns = 0;
        k->rows[cell] = 0;
        failed = request(k, k->with, T, ns, &k->rows[cell]);
    }
    kvcache_decoder.reset(k->with);
    return failed ? failed : check_rows(k, cell, last ? T - alike / PAGE * PAGE : T);
}

static double work_of_conversation(const void *user, size_t cell)
{
    const double n = (double)((const talk *)user)->length[cell / WAYS];
    return cell % WAYS == 1 ? n : n * (n + 1) / 2;
}

static double work_of_placement(const void *user, size_t cell)
{
    (void)user;
    return cell == 1 ? 1.1 : 2;
}

static rounds_label label_conversation(const void *user, size_t cell, size_t value)
{
    const talk *k = user;
    (void)value;
    return (rounds_label){model_label(k->m), conversation_names[cell % WAYS], "total",
                          k->length[cell / WAYS]};
}

static rounds_label label_placement(const void *user, size_t cell, size_t value)
{
    const talk *k = user;
    (void)value;
    return (rounds_label){model_label(k->m), placement_names[cell], "ttft", k->length[0]};
}

// ---- what came of it ----

// The slope of way `way` from 4 turns on, where a page and the system's noise weigh less.
static void print_slope(const talk *k, size_t way)
{
    double x[LENGTHS], ns[LENGTHS], rows_computed[LENGTHS];
    fit_power time, count;
    size_t n = 0;
    for (size_t i = 0; i < k->lengths; i++)
        if (k->length[i] >= 4 && rounds_samples(&k->rounds, i * WAYS + way) > 0) {
            x[n] = (double)k->length[i];
            rows_computed[n] = (double)k->rows[i * WAYS + way];
            ns[n++] = rounds_estimate(&k->rounds, i * WAYS + way, 0).median;
        }
    if (n < 3 || fit_power_law(x, ns, n, &time) || fit_power_law(x, rows_computed, n, &count))
        return;
    printf("  %-7s  rows ~ turns^%.2f, time ~ turns^%.2f (%.2f to %.2f)\n", conversation_names[way],
           count.slope.value, time.slope.value, time.slope.lo, time.slope.hi);
}

static void print_conversation(const talk *k)
{
    char text[4][FORMAT_ROOM];
    printf("\nA conversation, %d tokens a turn: all requests together, without a prompt cache and "
           "with one\n\n"
           "  %6s  %12s  %12s  %10s  %10s  %7s\n",
           (int)TURN, "turns", "rows without", "rows with", "without", "with", "ratio");
    for (size_t i = 0; i < k->lengths * WAYS && rounds_samples(&k->rounds, i) > 0 &&
                       rounds_samples(&k->rounds, i + 1) > 0;
         i += WAYS) {
        const double cold = rounds_estimate(&k->rounds, i, 0).median,
                     warm = rounds_estimate(&k->rounds, i + 1, 0).median;
        printf("  %6zu  %12s  %12s  %10s  %10s  %7.1f\n", k->length[i / WAYS],
               format_whole(k->rows[i], text[0]), format_whole(k->rows[i + 1], text[1]),
               format_ns(cold, text[2]), format_ns(warm, text[3]), cold / warm);
    }
    printf("\n");
    for (size_t way = 0; way < WAYS; way++)
        print_slope(k, way);
}

static void print_placement(const talk *k)
{
    char text[3][FORMAT_ROOM];
    printf("\nThe second of two prompts of %zu tokens, of which %d have changed\n\n"
           "  %-20s  %8s  %10s  95 %% interval\n",
           k->length[0], (int)CHANGING, "", "computed", "TTFT");
    for (size_t i = 0; i < WAYS && rounds_samples(&k->rounds, i) > 0; i++) {
        const estimate ttft = rounds_estimate(&k->rounds, i, 0);
        printf("  %-20s  %8zu  %10s  %s to %s\n", placement_names[i], k->rows[i],
               format_ns(ttft.median, text[0]), format_ns(ttft.lo, text[1]),
               format_ns(ttft.hi, text[2]));
    }
}

// ---- the two of them ----

static status open_decoders(talk *k)
{
    decoder_options o = {.T_max = k->m->config.T, .kv.page = PAGE};
    const prefix_options p = {
        .budget = size_times(CONVERSATIONS_HELD, prefix_budget(&k->m->config, &o.kv, o.T_max))};
    k->ids = memory_array(o.T_max, sizeof *k->ids);
    status failed = k->ids ? NULL : memory_failed("a conversation");
    if (!failed)
        failed = kvcache_decoder.create(k->m, &o, &k->without);
    if (!failed)
        failed = prefix_create(k->m, &o.kv, &p, &k->cache);
    o.pool = k->cache;
    return failed ? failed : kvcache_decoder.create(k->m, &o, &k->with);
}

// Turns in powers of two, as many as the context holds.
static rounds_job list_conversations(talk *k)
{
    k->lengths = 0;
    for (size_t n = 1; n * TURN <= k->m->config.T && k->lengths < LENGTHS; n *= 2)
        k->length[k->lengths++] = n;
    return (rounds_job){.name = "conversation",
                        .x = "turns",
                        .take = take_conversation,
                        .work = work_of_conversation,
                        .label = label_conversation};
}

// The longest prompt, if what changes is a part of it.
static rounds_job list_placements(talk *k)
{
    k->length[0] = k->m->config.T;
    k->lengths = k->length[0] > CHANGING ? 1 : 0;
    return (rounds_job){.name = "placement",
                        .x = "context",
                        .take = take_placement,
                        .work = work_of_placement,
                        .label = label_placement};
}

static status measure(talk *k, const bench_options *o, rounds_job job, void print(const talk *k),
                      int *exit_code)
{
    char name[64];
    if (k->lengths == 0)
        return NULL;
    job.unit = "ns";
    job.cells = k->lengths * WAYS;
    job.values = 1;
    job.user = k;
    job.samples = o->samples;
    job.budget_s = (o->budget > 0 ? o->budget : DEFAULT_BUDGET_S) / 2;
    job.seed = o->seed;
    snprintf(name, sizeof name, "prefix-%s", job.name);
    status failed = rounds_measure(&job, k->dir, name, job.name, &k->rounds, exit_code);
    if (!failed)
        print(k);
    if (!failed)
        failed = rounds_print_noise(&k->rounds);
    rounds_close(&k->rounds);
    return failed;
}

static status run(talk *k, const bench_options *o, int *exit_code)
{
    status failed = open_decoders(k);
    if (failed)
        return failed;
    interrupt_catch();
    failed = measure(k, o, list_conversations(k), print_conversation, exit_code);
    if (!failed && !*exit_code)
        failed = measure(k, o, list_placements(k), print_placement, exit_code);
    interrupt_release();
    return failed;
}

status conversation_measure(const model *m, const char *dir, const bench_options *o, int *exit_code)
{
    talk k = {.m = m, .dir = dir, .state = o->seed};
    status failed = run(&k, o, exit_code);
    kvcache_decoder.destroy(k.with);
    kvcache_decoder.destroy(k.without);
    prefix_destroy(k.cache);
    memory_free(k.ids);
    return failed;
}
