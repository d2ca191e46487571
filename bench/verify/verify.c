// bench verify: every way of reaching a context must give the same logits, and the cache must hold
// what a recompute computes.
#include "bench/verify/verify.h"

#include <inttypes.h>
#include <omp.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/progress.h"
#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "bench/verify/decoders.h"
#include "bench/verify/locate.h"
#include "bench/verify/plugin.h"
#include "bench/verify/ways.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/math/numeric.h"

// What one comparison found.
typedef struct finding {
    uint64_t compared, differing;
    size_t move;  // the first that differs: its index in the way,
    size_t index; // and the first element in it
    float expected, got;
} finding;

// A piece of work that one thread does: some moves of a way.
typedef struct task {
    size_t way, first, n;
} task;

typedef struct verification {
    const model *m;
    const decoder_api *judge, *tested;
    bool plugin; // tested is somebody else's: one thread only
    size_t last; // the longest context
    way ways[WAYS];
    const float **expected; // (last + 1): the judge's logits of each context, or NULL
    finding logits[WAYS], cache[WAYS];
    task *tasks;
    size_t n_tasks;
    progress bar;
    double done, work; // in multiply-adds
    char error[512];   // of the first call that failed, on any thread
    char lengths[256]; // the first wrong length, or empty
    bool failed;
    char digest[SHA256_DIGEST_STRING_LENGTH]; // of the recomputed logits
} verification;

static const char USAGE[] =
    "build/bench verify [options]: compares a cached decoder with a recompute, bit for bit, and "
    "says where they part.\n"
    "Exit status 0: no difference; 1: a difference, or an error; 2: usage.\n"
    "\n"
    "  -m, --model DIR|synthetic:...  default: the embedded model\n"
    "  -c, --contexts LIST            such as 1,2,15-17,1023; default: all of a small model, a "
    "selection of a large "
    "one\n"
    "  -d, --decoder FILE.so          verify this plug-in instead of kvcache (make mine "
    "SRC=yours.c builds one)\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n"
    "  -j, --json                     print one JSON object instead\n";

// Contexts at which tiles, panels and chunks begin and end; or all, where that takes less than
// about half a minute.
static status select_contexts(const config *c, size_t **list, size_t *n)
{
    const double cheap = 4e12; // multiply-adds
    double work = 0;
    for (size_t t = 1; t <= c->T; t++)
        work += cost_multiply_adds(c, 0, t);
    char text[512];
    int used = snprintf(text, sizeof text, "1-%zu", work <= cheap || c->T < 4 ? c->T : 2);
    for (size_t t = 16; work > cheap && t + 1 < c->T; t *= 2)
        used += snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", t - 1, t + 1);
    if (work > cheap)
        snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", c->T > 3 ? c->T - 1 : c->T,
                 c->T);
    return contexts_parse(text, c->T, list, n);
}

static status plan(verification *v, const size_t *contexts, size_t n)
{
    status s = ways_plan(v->judge, v->tested, contexts, n, v->m->config.V, v->ways);
    size_t most = WAYS;
    for (size_t w = 0; w < WAYS; w++)
        most += v->ways[w].independent ? v->ways[w].n : 0;
    v->expected = memory_array(v->last + 1, sizeof *v->expected);
    v->tasks = memory_array(most, sizeof *v->tasks);
    if (s || !v->expected || !v->tasks)
        return s ? s : memory_failed("the tasks of verify");
    for (size_t w = 0; w < WAYS; w++) // the runs that go on first: they take longest
        if (!v->ways[w].independent)
            v->tasks[v->n_tasks++] = (task){w, 0, v->ways[w].n};
    for (size_t w = 0; w < WAYS; w++)
        for (size_t i = 0; v->ways[w].independent && i < v->ways[w].n; i++)
            v->tasks[v->n_tasks++] = (task){w, i, 1};
    return NULL;
}

// How many tokens of move i its decoder holds already. Drafts of one position are the same in all
// moves.
static size_t held(const way *w, size_t i)
{
    if (i < w->decoders || w->moves[i].reset || w->independent)
        return 0;
    const move *a = &w->moves[i - w->decoders], *b = &w->moves[i];
    return a->kept == b->kept ? size_min(a->T, b->T) : size_min(a->kept, b->kept);
}

// A move's work, for the progress bar. A weight that is streamed takes about as long as 20
// multiply-adds.
static double move_work(const verification *v, const way *w, size_t i)
{
    const size_t before = held(w, i), T = w->moves[i].T;
    const config *c = &v->m->config;
    return cost_multiply_adds(c, before < T ? before : T - 1, T) +
           20.0 * (double)c->L * cost_layer_row(c);
}

static void advance(verification *v, double work)
{
#pragma omp critical(progress)
    {
        v->done += work;
        progress_update(&v->bar, v->done / v->work);
    }
}

static void keep_text(char *kept, size_t size, const char *text)
{
#pragma omp critical(text)
    if (!kept[0])
        snprintf(kept, size, "%s", text);
}

// Rows of layer l that are held after T tokens.
static size_t rows_held(const decoder_api *api, const decoder *d, size_t l, size_t T)
{
    size_t n = 0;
    for (size_t t = 0; t < T; t++)
        n += api->holds(d, l, 0, t);
    return n;
}

// All layers must hold as many rows as there are tokens, or none: a decoder that keeps nothing is
// right too.
static void check_lengths(verification *v, const way *w, const decoder *d, size_t T,
                          const char *call)
{
    for (size_t l = 0; w->api->holds && l < v->m->config.L; l++) {
        const size_t n = rows_held(w->api, d, l, v->last),
                     expected = rows_held(w->api, d, 0, v->last) == 0 ? 0 : T;
        char text[sizeof v->lengths];
        if (n == expected)
            continue;
        snprintf(text, sizeof text, "layer %zu holds %zu rows, not %zu, after %s (%s)", l, n,
                 expected, call, w->name);
        keep_text(v->lengths, sizeof v->lengths, text);
    }
}

static status make_move(verification *v, way *w, size_t i, decoder *d, int *ids)
{
    const move *m = &w->moves[i];
    const size_t V = v->m->config.V;
    const float *logits;
    ways_ids(m, V, ids);
    if (m->reset) {
        w->api->reset(d);
        check_lengths(v, w, d, 0, "a reset");
    }
    status s = w->api->step(d, ids, m->T, 1, &logits);
    if (s)
        return s;
    if (m->row)
        memcpy(w->logits + (m->row - 1) * V, logits, V * sizeof *logits);
    check_lengths(v, w, d, m->T, "a step");
    advance(v, move_work(v, w, i));
    return NULL;
}

static void compare(finding *f, size_t at, const float *expected, const float *got, size_t n)
{
    f->compared += n;
    if (memcmp(expected, got, n * sizeof *got) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i, got + i, sizeof *got) != 0 && f->differing++ == 0) {
            f->move = at;
            f->index = i;
            f->expected = expected[i];
            f->got = got[i];
        }
}

// The observer of a recompute: holds each key and value against what the cache has for it.
typedef struct cache_check {
    const verification *v;
    const decoder *cached;
    finding *found;
    size_t move, T;
    float *kv; // (2, D)
    status failed;
} cache_check;

static void check_cached(void *user, stage s, int l, int head, size_t t, const float *values,
                         size_t n)
{
    cache_check *c = user;
    const size_t D = config_head_size(&c->v->m->config);
    (void)head;
    if ((s != STAGE_K && s != STAGE_V) || !c->v->tested->holds(c->cached, (size_t)l, 0, t))
        return;
    for (size_t h = 0; !c->failed && h < n / D; h++) {
        c->failed = c->v->tested->read_kv(c->cached, (size_t)l, h, t, c->kv, c->kv + D);
        if (!c->failed)
            compare(c->found, c->move, values + h * D, c->kv + (s == STAGE_K ? 0 : D), D);
    }
}

// Every key and value that `cached` holds after the way's last move, against one recompute.
static status check_cache(verification *v, size_t w, decoder *judge, const decoder *cached,
                          const int *ids)
{
    const way *done = &v->ways[w];
    if (!v->tested->holds || !v->tested->read_kv || !v->judge->observe)
        return NULL;
    cache_check c = {v, cached, &v->cache[w], done->n - 1, done->moves[done->n - 1].T, NULL, NULL};
    c.kv = memory_array(2 * config_head_size(&v->m->config), sizeof *c.kv);
    if (!c.kv)
        return memory_failed("a key and a value");
    const float *logits;
    v->judge->observe(judge, check_cached, &c);
    status s = v->judge->step(judge, ids, c.T, 1, &logits);
    v->judge->observe(judge, NULL, NULL);
    memory_free(c.kv);
    return s ? s : c.failed;
}

// The decoders of one thread, and the ids of the move at hand.
typedef struct worker {
    decoder *judge, *tested;
    decoder *other; // takes turns with tested, while a way has two
    int *ids;       // (last)
} worker;

// A way that goes on from move to move begins with a decoder that has never been used, as the
// locator will repeat it.
static status renew(const verification *v, worker *own)
{
    v->tested->destroy(own->tested);
    own->tested = NULL;
    return v->tested->create(v->m, &(decoder_options){.T_max = v->last}, &own->tested);
}

static void part_with_other(const verification *v, worker *own)
{
    if (own->other)
        v->tested->destroy(own->other);
    own->other = NULL;
}

static status run_task(verification *v, const task *t, worker *own)
{
    way *w = &v->ways[t->way];
    status s = w->independent ? NULL : renew(v, own);
    if (!s && w->decoders == 2)
        s = v->tested->create(v->m, &(decoder_options){.T_max = v->last}, &own->other);
    decoder *d = t->way == RECOMPUTED ? own->judge : own->tested;
    for (size_t i = t->first; !s && i < t->first + t->n; i++)
        s = make_move(v, w, i, w->decoders == 2 && i % 2 == 1 ? own->other : d, own->ids);
    part_with_other(
        v, own); // before the cache is looked into: it may not hold what the other one frees
    return s || w->independent ? s : check_cache(v, t->way, own->judge, d, own->ids);
}

static void fail(verification *v, status s)
{
    if (!s)
        return;
    keep_text(v->error, sizeof v->error, s);
#pragma omp atomic write
    v->failed = true;
}

static bool has_failed(const verification *v)
{
    bool failed;
#pragma omp atomic read
    failed = v->failed;
    return failed;
}

static status hire(const verification *v, worker *own)
{
    own->ids = memory_array(v->last, sizeof *own->ids);
    status s = own->ids ? v->judge->create(v->m, &(decoder_options){.T_max = v->last}, &own->judge)
                        : memory_failed("the tokens");
    return s ? s : v->tested->create(v->m, &(decoder_options){.T_max = v->last}, &own->tested);
}

static void dismiss(const verification *v, worker *own)
{
    if (own->judge)
        v->judge->destroy(own->judge);
    if (own->tested)
        v->tested->destroy(own->tested);
    memory_free(own->ids);
}

// Everything there is to compute, on all cores: no timing is taken here.
static status run_tasks(verification *v)
{
    const int threads = v->plugin ? 1 : omp_get_max_threads();
    for (size_t w = 0; w < WAYS; w++)
        for (size_t i = 0; i < v->ways[w].n; i++)
            v->work += move_work(v, &v->ways[w], i);
    v->bar = progress_begin("verify");
#pragma omp parallel num_threads(threads)
    {
        worker own = {0};
        fail(v, hire(v, &own));
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < v->n_tasks; i++)
            if (!has_failed(v))
                fail(v, run_task(v, &v->tasks[i], &own));
        dismiss(v, &own);
    }
    progress_end(&v->bar);
    return v->failed ? status_fail("%s", v->error) : NULL;
}

// The logits that each context should have: recomputed, or else those of the run that went one by
// one.
static void appoint_judges(verification *v)
{
    const size_t order[] = {ONE_BY_ONE, RECOMPUTED};
    for (size_t o = 0; o < 2; o++) {
        const way *w = &v->ways[order[o]];
        for (size_t i = 0; i < w->n; i++)
            if (w->moves[i].row)
                v->expected[w->moves[i].T] = w->logits + (w->moves[i].row - 1) * v->m->config.V;
    }
}

// Adds what one move showed. Of the differences, that at the shortest context is kept.
static void add_finding(finding *sum, const finding *one, const way *w)
{
    const finding before = *sum;
    if (one->differing && (!before.differing || w->moves[one->move].T < w->moves[before.move].T))
        *sum = *one;
    sum->compared = before.compared + one->compared;
    sum->differing = before.differing + one->differing;
}

static finding compare_way(const verification *v, const way *w)
{
    const size_t V = v->m->config.V;
    finding f = {0};
    for (size_t i = 0; i < w->n; i++) {
        const float *got = w->moves[i].row ? w->logits + (w->moves[i].row - 1) * V : NULL;
        finding one = {0};
        if (got && got != v->expected[w->moves[i].T])
            compare(&one, i, v->expected[w->moves[i].T], got, V);
        add_finding(&f, &one, w);
    }
    return f;
}

static void take_digest(verification *v)
{
    SHA2_CTX sha;
    SHA256Init(&sha);
    const way *w = &v->ways[RECOMPUTED];
    for (size_t row = w->rows; row-- > 0;) // planned with the longest first
        SHA256Update(&sha, (const uint8_t *)(w->logits + row * v->m->config.V),
                     v->m->config.V * sizeof *w->logits);
    SHA256End(&sha, v->digest);
}

// Of all ways, the one that differs at the shortest context, with its move; WAYS if none does.
// Logits come before the cache.
static size_t first_differing(const verification *v, size_t *at)
{
    size_t found = WAYS;
    for (size_t w = 0; w < WAYS; w++)
        if (v->logits[w].differing && (found == WAYS || v->ways[w].moves[v->logits[w].move].T <
                                                            v->ways[found].moves[*at].T)) {
            found = w;
            *at = v->logits[w].move;
        }
    for (size_t w = 0; found == WAYS && w < WAYS; w++)
        if (v->cache[w].differing) {
            *at = v->cache[w].move;
            return w;
        }
    return found;
}

static void print_line(const char *who, const char *how, size_t contexts, const finding *f,
                       const char *what)
{
    char compared[FORMAT_ROOM], differing[FORMAT_ROOM];
    printf("  %-8s %-22s %5zu %-8s  %12s %s, %s differ\n", who, how, contexts,
           contexts == 1 ? "context" : "contexts", format_whole(f->compared, compared), what,
           format_whole(f->differing, differing));
}

static finding total(const finding *findings)
{
    finding sum = {0};
    for (size_t w = 0; w < WAYS; w++) {
        sum.compared += findings[w].compared;
        sum.differing += findings[w].differing;
    }
    return sum;
}

static void print_first(const verification *v, size_t w, size_t at)
{
    const finding *f = v->logits[w].differing ? &v->logits[w] : &v->cache[w];
    numeric_bits32 a = {.f = f->expected}, b = {.f = f->got};
    printf("first difference: context %zu, reached %s, %s %zu: recomputed %.9g (0x%08" PRIx32
           "), %s %.9g (0x%08" PRIx32 "), %" PRIu64 " ulp apart\n",
           v->ways[w].moves[at].T, v->ways[w].name,
           v->logits[w].differing ? "logit" : "channel of a key or value", f->index,
           (double)f->expected, a.u, v->tested->name, (double)f->got, b.u,
           locate_ulps(f->expected, f->got));
}

static void print_report(const verification *v)
{
    char a[FORMAT_ROOM], b[FORMAT_ROOM], c[FORMAT_ROOM], d[FORMAT_ROOM];
    const finding logits = total(v->logits), cache = total(v->cache);
    printf("verify %s: contexts up to %zu, every bit of every number\n", model_label(v->m),
           v->last);
    printf("  %-8s %-22s %5zu %-8s  %12s logits, the judge\n", v->judge->name, "recomputed",
           v->ways[RECOMPUTED].rows, v->ways[RECOMPUTED].rows == 1 ? "context" : "contexts",
           format_whole(v->ways[RECOMPUTED].rows * v->m->config.V, a));
    for (size_t w = RECOMPUTED + 1; w < WAYS; w++)
        print_line(v->tested->name, v->ways[w].name, v->logits[w].compared / v->m->config.V,
                   &v->logits[w], "logits");
    if (cache.compared)
        print_line(v->tested->name, "keys and values held", v->last, &cache, "numbers");
    else
        printf("  %-8s shows neither its length nor its keys and values: logits only\n",
               v->tested->name);
    printf("  SHA-256 of the recomputed logits: %s\n", v->digest);
    printf("verdict: %s of %s logits and %s of %s keys and values differ\n",
           format_whole(logits.differing, a), format_whole(logits.compared, b),
           format_whole(cache.differing, c), format_whole(cache.compared, d));
}

// Everything as one object: documented in notes/07-your-own-cache.md.
static json_t *report_json(const verification *v, bool same, const location *l)
{
    json_t *ways = json_array();
    for (size_t w = RECOMPUTED + 1; w < WAYS; w++)
        json_array_append_new(ways, json_pack("{s:s, s:I, s:I, s:I}", "reached", v->ways[w].name,
                                              "contexts", (json_int_t)v->ways[w].rows, "compared",
                                              (json_int_t)v->logits[w].compared, "differing",
                                              (json_int_t)v->logits[w].differing));
    const finding cache = total(v->cache);
    return json_pack(
        "{s:s, s:s, s:s, s:b, s:o, s:{s:I, s:I}, s:s?, s:s?, s:s, s:o}", "model", model_label(v->m),
        "judge", v->judge->name, "decoder", v->tested->name, "identical", same, "ways", ways,
        "cache", "compared", (json_int_t)cache.compared, "differing", (json_int_t)cache.differing,
        "length", v->lengths[0] ? v->lengths : NULL, "environment", plugin_complaint(),
        "sha256_of_recomputed_logits", v->digest, "located", l ? location_json(l) : json_null());
}

static status print_json(const verification *v, bool same, const location *l)
{
    json_t *report = report_json(v, same, l);
    bool printed = report && json_dumpf(report, stdout, JSON_INDENT(2)) == 0;
    json_decref(report);
    printf("\n");
    return printed ? NULL
                   : status_fail("cannot print the report: standard output is closed or full");
}

// Metadata first, then the cache's content and the stages: notes/06-bugs.md says why in this order.
static void print_findings(const verification *v, size_t w, size_t at, const location *l)
{
    if (v->lengths[0])
        printf(
            "length: %s\n  looks like: a count that is not reset or trimmed, or not in every layer "
            "(notes/06-bugs.md)\n",
            v->lengths);
    if (plugin_complaint())
        printf("environment: %s\n", plugin_complaint());
    if (w < WAYS)
        print_first(v, w, at);
    if (l)
        location_print(l, stdout);
}

static status report(verification *v, bool json, bool *same)
{
    size_t at = 0, w = first_differing(v, &at);
    const move *failing = w < WAYS ? &v->ways[w].moves[at] : NULL;
    location l;
    status s = NULL;
    *same = w == WAYS && !v->lengths[0] && !plugin_complaint();
    if (failing)
        s = locate(v->m, v->judge, &v->ways[w], at, failing->row ? v->expected[failing->T] : NULL,
                   &l);
    if (s)
        return s;
    if (json)
        return print_json(v, *same, w < WAYS ? &l : NULL);
    print_report(v);
    print_findings(v, w, at, w < WAYS ? &l : NULL);
    return NULL;
}

// For build/results/verified.json.
static status record(const verification *v, bool same)
{
    const finding logits = total(v->logits), cache = total(v->cache);
    const verification_record found = {.decoder = v->tested->name,
                                       .plugin = plugin_digest(),
                                       .passed = same,
                                       .contexts = v->ways[RECOMPUTED].rows,
                                       .longest = v->last,
                                       .logits = logits.compared,
                                       .logits_differing = logits.differing,
                                       .kv = cache.compared,
                                       .kv_differing = cache.differing,
                                       .logits_sha256 = v->digest};
    return results_record_verified(v->m, &found);
}

static status verify(const model *m, const bench_options *o, const decoder_api *tested,
                     const size_t *contexts, size_t n, bool *same)
{
    verification v = {.m = m,
                      .judge = decoders[0],
                      .tested = tested,
                      .plugin = o->decoder,
                      .last = contexts[n - 1]};
    status s = plan(&v, contexts, n);
    if (!s)
        s = run_tasks(&v);
    if (!s) {
        appoint_judges(&v);
        for (size_t w = RECOMPUTED + 1; w < WAYS; w++)
            v.logits[w] = compare_way(&v, &v.ways[w]);
        take_digest(&v);
        s = report(&v, o->json, same);
    }
    if (!s)
        s = record(&v, *same);
    ways_free(v.ways);
    memory_free(v.expected);
    memory_free(v.tasks);
    return s;
}

static status verify_model(const bench_options *o, const model *m, int *exit_code)
{
    size_t *contexts = NULL, n = 0;
    bool same = false;
    const decoder_api *tested = decoders[1];
    status s = o->contexts
                   ? bench_options_contexts(o->contexts, m->config.T, &contexts, &n, exit_code)
                   : select_contexts(&m->config, &contexts, &n);
    if (!s && o->decoder) {
        plugin_fill_memory();
        s = plugin_open(o->decoder, &tested);
    }
    if (!s)
        s = verify(m, o, tested, contexts, n, &same);
    memory_free(contexts);
    if (!s && !same)
        *exit_code = 1;
    return s;
}

static status verify_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    model *m;
    status s = model_load(o->model, &m);
    if (s)
        return s;
    s = verify_model(o, m, exit_code);
    model_free(m);
    return s;
}

status verify_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status s = bench_options_parse(argc, argv, "m:c:d:t:j", USAGE, &o, exit_code);
    if (s || o.help)
        return s;
    return o.decoder ? plugin_contain(verify_body, &o, o.timeout_s, exit_code)
                     : verify_body(&o, exit_code);
}
