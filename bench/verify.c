// bench verify: every way of reaching a context must give the same logits, and the cache must hold what a recompute
// computes.
#include "bench/verify.h"

#include <inttypes.h>
#include <omp.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "bench/contexts.h"
#include "bench/cost.h"
#include "bench/decoders.h"
#include "bench/humane.h"
#include "bench/progress.h"
#include "bench/results.h"
#include "common/memory.h"
#include "common/numeric.h"

// One way of reaching contexts. With a chunk, one run goes on and on, `chunk` tokens a step; without, each context is a
// fresh prefill.
typedef struct way {
    const char *name;
    const decoder_api *api;
    size_t chunk;
    size_t *row;   // (last + 1): which row of logits holds this context's, counted from 1; 0: none
    size_t n;      // rows
    float *logits; // (n, V)
} way;

enum { RECOMPUTED, ONE_BY_ONE, BY_7, BY_16, BY_100, FRESH, WAYS };
enum { FRESH_PREFILLS = 16 };

// What a comparison found; `first` describes the first difference.
typedef struct finding {
    uint64_t compared, differing;
    size_t context; // of the first difference
    char first[256];
} finding;

typedef struct verification {
    const model *m;
    int *ids;    // (last)
    size_t last; // the longest context
    way ways[WAYS];
    finding cache; // keys and values against a recompute
    progress bar;
    double done, work; // in multiply-adds
    char error[512];   // of the first step that failed, on any thread
    bool failed;
} verification;

static const char USAGE[] = "bench verify [options]: compares naive and kvcache bit for bit.\n"
                            "Exit status 0: no difference; 1: a difference, or an error; 2: usage.\n"
                            "\n"
                            "  -m, --model DIR|synthetic:...  default: the embedded model\n"
                            "  -c, --contexts LIST            such as 1,2,15-17,1023; default: all of a small model, a "
                            "selection of a large one\n";

// Contexts at which tiles, panels and chunks begin and end; or all, where that takes less than about half a minute.
static status select_contexts(const config *c, size_t **list, size_t *n)
{
    const double cheap = 4e12; // multiply-adds
    double work = 0;
    for (size_t t = 1; t <= c->T; t++)
        work += cost_multiply_adds(c, 0, t);
    if (work <= cheap || c->T < 4) {
        char all[32];
        snprintf(all, sizeof all, "1-%zu", c->T);
        return contexts_parse(all, c->T, list, n);
    }
    char text[512];
    int used = snprintf(text, sizeof text, "1,2,%zu-%zu", c->T - 1, c->T);
    for (size_t t = 16; t + 1 < c->T; t *= 2)
        used += snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", t - 1, t + 1);
    return contexts_parse(text, c->T, list, n);
}

// Gives each context that the way is compared at (row[t] != 0) its row, in ascending order.
static status number_rows(way *w, size_t last, size_t V)
{
    for (size_t t = 1; t <= last; t++)
        if (w->row[t])
            w->row[t] = ++w->n;
    w->logits = memory_array(w->n * V, sizeof *w->logits);
    return w->logits ? NULL : memory_failed("the logits to compare; name fewer contexts with --contexts");
}

static status plan_ways(verification *v, const size_t *contexts, size_t n)
{
    static const way ways[WAYS] = {
        [RECOMPUTED] = {.name = "recomputed"},
        [ONE_BY_ONE] = {.name = "one by one", .chunk = 1},
        [BY_7] = {.name = "chunks of 7", .chunk = 7},
        [BY_16] = {.name = "chunks of 16", .chunk = 16},
        [BY_100] = {.name = "chunks of 100", .chunk = 100},
        [FRESH] = {.name = "fresh prefills"},
    };
    for (size_t w = 0; w < WAYS; w++) {
        v->ways[w] = ways[w];
        v->ways[w].api = decoders[w == RECOMPUTED ? 0 : 1];
        v->ways[w].row = memory_array(v->last + 1, sizeof(size_t));
        if (!v->ways[w].row)
            return memory_failed("the contexts");
    }
    for (size_t i = 0; i < n; i++)
        v->ways[RECOMPUTED].row[contexts[i]] = 1;
    for (size_t i = 0; i < FRESH_PREFILLS; i++)
        v->ways[FRESH].row[contexts[i * (n - 1) / (FRESH_PREFILLS - 1)]] = 1;
    for (size_t w = BY_7; w <= BY_100; w++)
        for (size_t t = 1; t <= v->last; t++)
            v->ways[w].row[t] = t % ways[w].chunk == 0 || t == v->last;
    for (size_t t = 1; t <= v->last; t++) // what the others are compared with where nothing was recomputed
        for (size_t w = 0; w < WAYS; w++)
            v->ways[ONE_BY_ONE].row[t] |= v->ways[w].row[t];
    status s = NULL;
    for (size_t w = 0; !s && w < WAYS; w++)
        s = number_rows(&v->ways[w], v->last, v->m->config.V);
    return s;
}

// A step's work, for the progress bar. A weight that is streamed takes about as long as 20 multiply-adds.
static double step_work(const config *c, size_t first, size_t T)
{
    return cost_multiply_adds(c, first, T) + 20.0 * (double)c->L * cost_layer_row(c);
}

static double way_work(const verification *v, const way *w)
{
    double work = 0;
    for (size_t t = 1, first = 0; t <= v->last; t++)
        if (w->chunk ? t % w->chunk == 0 || t == v->last : w->row[t] != 0) {
            work += step_work(&v->m->config, first, t);
            first = w->chunk ? t : 0;
        }
    return work;
}

static void advance(verification *v, double work)
{
#pragma omp critical(progress)
    {
        v->done += work;
        progress_update(&v->bar, v->done / v->work);
    }
}

// One step to context t, from `first` rows held, and its logits kept if the way is compared there.
static status reach(verification *v, way *w, decoder *d, size_t first, size_t t)
{
    const size_t V = v->m->config.V;
    const float *logits;
    status s = w->api->step(d, v->ids, t, &logits);
    if (!s && w->row[t])
        memcpy(w->logits + (w->row[t] - 1) * V, logits, V * sizeof *logits);
    advance(v, step_work(&v->m->config, first, t));
    return s;
}

static status run_on(verification *v, way *w, decoder *d)
{
    status s = NULL;
    w->api->reset(d);
    for (size_t first = 0, t; !s && first < v->last; first = t) {
        t = first + w->chunk < v->last ? first + w->chunk : v->last;
        s = reach(v, w, d, first, t);
    }
    return s;
}

// The bits of a float as a number that grows with it, so that a difference counts units in the last place.
static int64_t ordered(float x)
{
    numeric_bits32 bits = {.f = x};
    return bits.u >> 31 ? -(int64_t)(bits.u & 0x7fffffff) : (int64_t)bits.u;
}

static void describe(finding *f, size_t context, const char *where, size_t index, float expected, float got)
{
    numeric_bits32 a = {.f = expected}, b = {.f = got};
    int64_t ulps = ordered(got) - ordered(expected);
    f->context = context;
    snprintf(f->first, sizeof f->first,
             "%s, element %zu: recomputed %.9g (0x%08" PRIx32 "), cached %.9g (0x%08" PRIx32 "), %" PRId64 " ulp apart",
             where, index, (double)expected, a.u, (double)got, b.u, ulps < 0 ? -ulps : ulps);
}

// Compares n numbers; memcmp first, for it is fast and all are usually equal.
static void compare(finding *f, size_t context, const char *where, const float *expected, const float *got, size_t n)
{
    f->compared += n;
    if (memcmp(expected, got, n * sizeof *got) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i, got + i, sizeof *got) != 0 && f->differing++ == 0)
            describe(f, context, where, i, expected[i], got[i]);
}

// The observer of a recompute: holds each key and value against what the cache has for it.
typedef struct cache_check {
    verification *v;
    const decoder_api *api;
    const decoder *cached;
    float *k, *v_; // (D) each
    status failed;
} cache_check;

static void check_cached(void *user, stage s, int l, int head, size_t t, const float *values, size_t n)
{
    cache_check *c = user;
    const size_t D = config_head_size(&c->v->m->config);
    (void)head;
    if (s != STAGE_K && s != STAGE_V)
        return;
    for (size_t h = 0; !c->failed && h < n / D; h++) {
        char where[96];
        snprintf(where, sizeof where, "%s of layer %d, head %zu, position %zu", s == STAGE_K ? "key" : "value", l, h,
                 t);
        c->failed = c->api->read_kv(c->cached, (size_t)l, h, t, c->k, c->v_);
        if (!c->failed)
            compare(&c->v->cache, t + 1, where, values + h * D, s == STAGE_K ? c->k : c->v_, D);
    }
}

// Every key and value that `cached` holds for the whole sequence, against one recompute.
static status check_cache(verification *v, decoder *const own[DECODERS])
{
    const size_t D = config_head_size(&v->m->config);
    float *kv = memory_array(2 * D, sizeof *kv);
    if (!kv)
        return memory_failed("a key and a value");
    cache_check c = {v, decoders[1], own[1], kv, kv + D, NULL};
    const float *logits;
    decoders[0]->observe(own[0], check_cached, &c);
    status s = decoders[0]->step(own[0], v->ids, v->last, &logits);
    decoders[0]->observe(own[0], NULL, NULL);
    advance(v, step_work(&v->m->config, 0, v->last));
    memory_free(kv);
    return s ? s : c.failed;
}

// Task 0 .. WAYS - 1: the runs that go on. From there, one task a fresh prefill, the longest first.
static status run_task(verification *v, size_t task, decoder *const own[DECODERS])
{
    if (task < WAYS) {
        way *w = &v->ways[task];
        status s = w->chunk ? run_on(v, w, own[1]) : NULL;
        return !s && task == ONE_BY_ONE ? check_cache(v, own) : s;
    }
    const size_t t = v->last - (task - WAYS) / 2;
    way *w = &v->ways[task % 2 == WAYS % 2 ? RECOMPUTED : FRESH];
    decoder *d = own[w == &v->ways[RECOMPUTED] ? 0 : 1];
    if (!w->row[t])
        return NULL;
    w->api->reset(d);
    return reach(v, w, d, 0, t);
}

static void keep_error(verification *v, status s)
{
    if (!s)
        return;
#pragma omp critical(error)
    if (!v->error[0])
        snprintf(v->error, sizeof v->error, "%s", s);
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

// Everything there is to compute, on all cores: no timing is taken here.
static status run_ways(verification *v)
{
    for (size_t w = 0; w < WAYS; w++)
        v->work += way_work(v, &v->ways[w]);
    v->work += step_work(&v->m->config, 0, v->last);
    v->bar = progress_begin("verify");
#pragma omp parallel
    {
        decoder *own[DECODERS] = {NULL};
        for (size_t i = 0; i < DECODERS; i++)
            keep_error(v, decoders[i]->create(v->m, v->last, &own[i]));
#pragma omp for schedule(dynamic, 1)
        for (size_t task = 0; task < WAYS + 2 * v->last; task++)
            if (!has_failed(v))
                keep_error(v, run_task(v, task, own));
        for (size_t i = 0; i < DECODERS; i++)
            decoders[i]->destroy(own[i]);
    }
    progress_end(&v->bar);
    return v->failed ? status_fail("%s", v->error) : NULL;
}

// A way's logits against the recomputed ones, and where there are none, against those of the run that went one by one.
static finding compare_way(const verification *v, const way *w)
{
    const size_t V = v->m->config.V;
    const way *recomputed = &v->ways[RECOMPUTED], *one_by_one = &v->ways[ONE_BY_ONE];
    finding f = {0};
    for (size_t t = 1; t <= v->last; t++) {
        const way *judge = recomputed->row[t] ? recomputed : one_by_one;
        if (w->row[t] && judge != w)
            compare(&f, t, "logits", judge->logits + (judge->row[t] - 1) * V, w->logits + (w->row[t] - 1) * V, V);
    }
    return f;
}

// 2097152 as "2,097,152". Returns text.
static const char *grouped(uint64_t n, char text[32])
{
    char digits[32];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n), to = 0;
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            text[to++] = ',';
        text[to++] = digits[i];
    }
    text[to] = '\0';
    return text;
}

static void print_line(const char *who, const char *how, size_t contexts, const finding *f, const char *what)
{
    char compared[32], differing[32];
    printf("  %-8s %-16s %5zu contexts %14s %s, %s differ\n", who, how, contexts, grouped(f->compared, compared), what,
           grouped(f->differing, differing));
}

static void print_digest(const verification *v)
{
    const way *w = &v->ways[RECOMPUTED];
    SHA2_CTX sha;
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)w->logits, w->n * v->m->config.V * sizeof *w->logits);
    SHA256End(&sha, hex);
    printf("  SHA-256 of the recomputed logits: %s\n", hex);
}

// Compares, prints a line a way, and adds up. The first difference is that of the shortest context.
static bool report(const verification *v)
{
    finding logits = {0};
    const char *how = "";
    printf("verify %s: contexts up to %zu, every bit of every number\n", v->m->name, v->last);
    printf("  %-8s %-16s %5zu contexts, the judge\n", decoders[0]->name, v->ways[RECOMPUTED].name,
           v->ways[RECOMPUTED].n);
    for (size_t i = RECOMPUTED + 1; i < WAYS; i++) {
        const way *w = &v->ways[i];
        finding f = compare_way(v, w);
        print_line(w->api->name, w->name, w->n, &f, "logits");
        if (f.differing && (!logits.differing || f.context < logits.context)) {
            logits.context = f.context;
            memcpy(logits.first, f.first, sizeof f.first);
            how = w->name;
        }
        logits.compared += f.compared;
        logits.differing += f.differing;
    }
    print_line(decoders[1]->name, "keys and values", v->last, &v->cache, "numbers");
    print_digest(v);
    char a[32], b[32], c[32], d[32];
    printf("verdict: %s of %s logits and %s of %s keys and values differ\n", grouped(logits.differing, a),
           grouped(logits.compared, b), grouped(v->cache.differing, c), grouped(v->cache.compared, d));
    if (v->cache.differing)
        printf("first difference in the cache: %s\n", v->cache.first);
    if (logits.differing)
        printf("first difference in the logits: context %zu, reached %s: %s\n", logits.context, how, logits.first);
    return logits.differing == 0 && v->cache.differing == 0;
}

static void free_verification(verification *v)
{
    for (size_t w = 0; w < WAYS; w++) {
        memory_free(v->ways[w].row);
        memory_free(v->ways[w].logits);
    }
    memory_free(v->ids);
}

static status verify(const model *m, const size_t *contexts, size_t n, bool *same)
{
    verification v = {.m = m, .last = contexts[n - 1]};
    v.ids = memory_array(v.last, sizeof *v.ids);
    status s = v.ids ? plan_ways(&v, contexts, n) : memory_failed("the tokens");
    for (size_t i = 0; !s && i < v.last; i++)
        v.ids[i] = fixed_token(i, m->config.V);
    if (!s)
        s = run_ways(&v);
    if (!s)
        *same = report(&v);
    free_verification(&v);
    return s;
}

status verify_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status s = bench_options_parse(argc, argv, "m:c:", USAGE, &o, exit_code);
    if (s || o.help)
        return s;
    model *m;
    s = model_load(o.model, &m);
    if (s)
        return s;
    size_t *contexts = NULL, n = 0;
    bool same = false;
    s = o.contexts ? contexts_parse(o.contexts, m->config.T, &contexts, &n)
                   : select_contexts(&m->config, &contexts, &n);
    if (s && o.contexts)
        *exit_code = EXIT_USAGE;
    if (!s)
        s = verify(m, contexts, n, &same);
    if (!s && same)
        s = results_record_verified(m);
    memory_free(contexts);
    model_free(m);
    *exit_code = s || same ? *exit_code : 1;
    return s;
}
