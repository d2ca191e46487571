// Every way of reaching a context: what is computed, held and compared.
#include "bench/verify/verification.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/cost/cost.h"
#include "bench/locate/locate.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/kv/keep/keep.h"

static status plan(verification *v)
{
    status s = ways_plan(v->judge, v->tested, v->contexts, v->n, v->ways);
    size_t most = WAYS;
    for (size_t w = 0; w < WAYS; w++)
        most += v->ways[w].independent ? v->ways[w].n : 0;
    v->expected = memory_array(size_times(v->last, v->m->config.V), sizeof *v->expected);
    v->tasks = memory_array(most, sizeof *v->tasks);
    if (!s && !v->expected)
        s = memory_failed("the logits to compare: name fewer contexts with --contexts");
    if (s || !v->tasks)
        return s ? s : memory_failed("the tasks of verify");
    for (size_t w = 0; w < WAYS; w++) // the runs that go on first: they take longest
        if (!v->ways[w].independent && w != RANDOM_WALK)
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
    const move *a = &w->moves[i - w->decoders], *b = &w->moves[i]; // decoders take turns
    return a->kept == b->kept ? size_min(a->T, b->T) : size_min(a->kept, b->kept);
}

// A move's work, for the progress bar. A weight that is streamed takes about as long as 20
// multiply-adds.
static double move_work(const verification *v, const way *w, size_t i)
{
    const size_t before = held(w, i), T = w->moves[i].T;
    const config *c = &v->m->config;
    return cost_multiply_adds(c, NULL, before < T ? before : T - 1, T) +
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

// The first row that layer l and this head hold, or do not, other than the next row reads them:
// `see` is what row T sees, itself among them. `last` if there is none.
static size_t first_wrong(const decoder_api *api, const decoder *d, size_t l, size_t head,
                          visible see, size_t T, size_t last)
{
    size_t t = 0;
    while (t < last && api->holds(d, l, head, t) == (t < T && softmax_sees(see, t)))
        t++;
    return t;
}

static size_t rows_held(const decoder_api *api, const decoder *d, size_t l, size_t head,
                        size_t last)
{
    size_t n = 0;
    for (size_t t = 0; t < last; t++)
        n += api->holds(d, l, head, t);
    return n;
}

enum { OFTEN = 256 }; // tokens up to which every head is looked at; beyond, every so many

// The same under heavy, where it differs by head. Of drafts, whose recompute is not at hand, only
// how many rows they leave is known. Returns whether they are right.
static bool check_kept(verification *v, const way *w, const decoder *d, size_t l, size_t head,
                       size_t T, bool drafted, const char *call)
{
    const kv_spec *spec = &v->tested->kv;
    const decoder_api *api = w->by->api;
    const size_t n = rows_held(api, d, l, head, v->last),
                 right = size_min(T, spec->recent + spec->heavy);
    char text[sizeof v->lengths];
    if (n == right && (drafted || kept_same(&v->kept, api, d, l, head, T, v->last)))
        return true;
    if (n == right)
        snprintf(text, sizeof text,
                 "layer %zu, head %zu holds other rows than row %zu, after %s (%s)", l, head, T,
                 call, w->name);
    else
        snprintf(text, sizeof text, "layer %zu, head %zu holds %zu row%s, not %zu, after %s (%s)",
                 l, head, n, n == 1 ? "" : "s", right, call, w->name);
#pragma omp critical(kept)
    {
        v->evicted = v->lengths[0] ? v->evicted : n == right;
        keep_text(v->lengths, sizeof v->lengths, text);
    }
    return false;
}

// What a wrong number of rows looks like, `n` where there should be `right`.
static const char *suspects_of_length(const decoder_api *api, const decoder *d, const config *c,
                                      size_t n, size_t right, size_t T, size_t last)
{
    for (size_t l = 0; l < c->L; l++)
        for (size_t head = 0; head < config_kv_heads(c); head++)
            if (rows_held(api, d, l, head, last) != n)
                return "a length of its own in each layer or head, of which one was not advanced "
                       "or trimmed";
    if (T == 0)
        return "a reset that does not forget, in all layers";
    if (n + 1 == right)
        return "a length that is one too few, in all layers";
    if (n == right + 1)
        return "a length that is one too many, in all layers";
    return n > right ? "rows of a text that has changed, which were not trimmed, in all layers"
                     : "rows not stored, not counted, or dropped too early, in all layers";
}

// What a plain cache says that its pages take, beside the rows that it holds: as binary32 they need
// room.
static void check_bytes(verification *v, const way *w, const decoder *d, size_t T, const char *call)
{
    const config *c = &v->m->config;
    const size_t least = 2 * c->L * config_kv_width(c) * T * sizeof(float);
    char text[sizeof v->lengths];
    if (!w->by->api->bytes || !kv_is_plain(&v->tested->kv) || w->by->api->bytes(d) >= least)
        return;
    snprintf(text, sizeof text,
             "%zu rows of keys and values are held after %s (%s), which are %zu bytes, and bytes "
             "says %zu",
             T, call, w->name, least, w->by->api->bytes(d));
#pragma omp critical(kept)
    keep_text(v->lengths, sizeof v->lengths, text);
}

// A head must hold exactly the rows that the next row reads. Returns whether it does.
static bool check_rows(verification *v, const way *w, const decoder *d, size_t l, size_t head,
                       size_t T, const char *call)
{
    const decoder_api *api = w->by->api;
    const visible see = keep_of(&v->tested->kv)->sees(&v->tested->kv, T);
    const size_t wrong = first_wrong(api, d, l, head, see, T, v->last);
    char text[sizeof v->lengths];
    if (wrong == v->last)
        return true;
    const size_t n = rows_held(api, d, l, head, v->last), right = softmax_count(see) - 1;
    snprintf(text, sizeof text, "layer %zu holds %zu row%s, not %zu, after %s (%s): row %zu %s", l,
             n, n == 1 ? "" : "s", right, call, w->name, wrong,
             api->holds(d, l, head, wrong) ? "should be gone" : "is missing");
    const char *like = suspects_of_length(api, d, &v->m->config, n, right, T, v->last);
#pragma omp critical(kept)
    {
        v->lengths_like = v->lengths[0] ? v->lengths_like : like;
        keep_text(v->lengths, sizeof v->lengths, text);
    }
    return false;
}

// Every layer and head must hold the right rows; or none ever: a decoder that keeps nothing is
// right too. To look at all of them each time would take longer than all else: of a long text they
// take turns.
static void check_held(verification *v, const way *w, const decoder *d, size_t T, bool drafted,
                       const char *call)
{
    const decoder_api *api = w->by->api;
    const size_t G = config_kv_heads(&v->m->config), all = v->m->config.L * G;
    const bool each = T <= OFTEN || T % OFTEN == 0 || T == v->last;
    bool right = true;
    if (!api->holds || (T > 0 && rows_held(api, d, 0, 0, v->last) == 0))
        return;
    for (size_t k = 0; right && k < (each ? all : 1); k++) {
        const size_t at = each ? k : T % all, l = at / G, head = at % G;
        right = v->tested->kv.keep == KV_HEAVY ? check_kept(v, w, d, l, head, T, drafted, call)
                                               : check_rows(v, w, d, l, head, T, call);
    }
    if (right)
        check_bytes(v, w, d, T, call);
}

// Compares a row of n numbers.
static void compare(finding *f, size_t at, size_t position, const float *expected, const float *got,
                    size_t n)
{
    f->compared += n;
    if (memcmp(expected, got, n * sizeof *got) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i, got + i, sizeof *got) != 0 && f->differing++ == 0) {
            f->move = at;
            f->position = position;
            f->index = i;
            f->expected = expected[i];
            f->got = got[i];
            f->apart = locate_apart(expected, got, n);
        }
}

// Adds what one move showed. Of the differences, that at the shortest context is kept.
static void add_finding(finding *sum, const finding *one)
{
    const finding before = *sum;
    if (one->differing && (!before.differing || one->position < before.position ||
                           (one->position == before.position && one->move < before.move)))
        *sum = *one;
    sum->compared = before.compared + one->compared;
    sum->differing = before.differing + one->differing;
}

// The rows whose logits were asked for and which are no drafts.
static void compare_logits(verification *v, size_t w, size_t i, const float *logits)
{
    const move *m = &v->ways[w].moves[i];
    const size_t V = v->m->config.V, first = m->T - m->wanted;
    finding f = {0};
    for (size_t t = first; t < m->kept; t++)
        compare(&f, i, t, v->expected + t * V, logits + (t - first) * V, V);
#pragma omp critical(findings)
    add_finding(&v->logits[w], &f);
}

// `watched`: the way's first decoder, whose logits are compared.
static status make_move(verification *v, size_t which, size_t i, decoder *d, bool watched,
                        int *room)
{
    const way *w = &v->ways[which];
    const move *m = &w->moves[i];
    const float *logits;
    const int *ids = ways_ids(m, v->m->config.V, room);
    if (m->reset) {
        w->by->api->reset(d);
        check_held(v, w, d, 0, false, "a reset");
    }
    status s = w->by->api->step(d, ids, m->T, m->wanted, &logits);
    if (m->refused) { // the random walk says so if it was not; it never comes first
        const move *before = m - 1;
        check_held(v, w, d, before->T, before->kept < before->T, "a step that was refused");
        return NULL;
    }
    if (s)
        return s;
    if (watched)
        compare_logits(v, which, i, logits);
    check_held(v, w, d, m->T, m->kept < m->T, "a step");
    advance(v, move_work(v, w, i));
    return NULL;
}

// The observer of a recompute: holds each key and value, in the form in which it is stored, against
// what the cache has for it.
typedef struct cache_check {
    const verification *v;
    const decoder *cached;
    finding *found;
    size_t move;
    float *kv; // (2, D)
    status failed;
} cache_check;

static void check_cached(void *user, stage s, int l, int head, size_t t, const float *values,
                         size_t n)
{
    cache_check *c = user;
    const decoder_api *api = c->v->tested->api;
    const size_t layer_at = (size_t)l, h = (size_t)head;
    if ((s != STAGE_STORED_K && s != STAGE_STORED_V) || c->failed ||
        !api->holds(c->cached, layer_at, h, t))
        return;
    c->failed = api->read_kv(c->cached, layer_at, h, t, c->kv, c->kv + n);
    if (!c->failed)
        compare(c->found, c->move, t, values, c->kv + (s == STAGE_STORED_K ? 0 : n), n);
}

// Every key and value that `cached` holds after move i of a way, whose ids these are, against one
// recompute.
static status check_cache(verification *v, size_t w, size_t i, decoder *judge,
                          const decoder *cached, const int *ids)
{
    const way *done = &v->ways[w];
    const decoder_api *by = v->judge->api;
    if (!v->tested->api->holds || !v->tested->api->read_kv || !by->observe)
        return NULL;
    cache_check c = {v, cached, &v->cache[w], i, NULL, NULL};
    c.kv = memory_array(2 * config_head_size(&v->m->config), sizeof *c.kv);
    if (!c.kv)
        return memory_failed("a key and a value");
    const float *logits;
    by->observe(judge, check_cached, &c);
    status s = by->step(judge, ids, done->moves[i].T, 1, &logits);
    by->observe(judge, NULL, NULL);
    memory_free(c.kv);
    return s ? s : c.failed;
}

// The decoders of one thread, and the ids of the move at hand.
typedef struct worker {
    decoder *judge, *tested;
    decoder *other; // takes turns with tested, while a way has two
    int *ids;       // (last)
    int *before;    // (last) those that it was given before, T_before of them
    size_t T_before;
} worker;

static void release(const subject *of, decoder **d)
{
    if (*d)
        of->api->destroy(*d);
    *d = NULL;
}

// A way that goes on from move to move begins with a decoder that has never been used, as the
// locator will repeat it.
static status renew(const verification *v, worker *own)
{
    release(v->tested, &own->tested);
    return subject_create(v->tested, v->m, v->last, &own->tested);
}

// The observer of a subject's work: each row is embedded once.
static void count_rows(void *user, stage s, int l, int head, size_t position, const float *values,
                       size_t n)
{
    uint64_t *rows = user;
    (void)l, (void)head, (void)position, (void)values, (void)n;
    *rows += s == STAGE_EMBED;
}

// How many rows move m had to compute, whose ids are at hand: what is new, or asked for again.
static size_t rows_needed(worker *own, const move *m)
{
    size_t same = 0;
    while (!m->reset && same < size_min(own->T_before, m->T - 1) &&
           own->before[same] == own->ids[same])
        same++;
    memcpy(own->before, own->ids, m->T * sizeof *own->ids);
    own->T_before = m->T;
    return size_max(m->T - same, m->wanted);
}

// Where the rows that the subject computes go; NULL: they are not counted. After edits, only where
// a row that was held is there again: not behind a window, nor in a group that is rounded together.
static uint64_t *rows_of(verification *v, size_t which)
{
    const kv_spec *spec = &v->tested->kv;
    const bool stays = spec->keep == KV_ALL && spec->form != KV_KIVI4 && spec->form != KV_KIVI2;
    if (!v->tested->api->observe)
        return NULL;
    return which == ONE_BY_ONE        ? &v->rows_computed
           : which == EDITED && stays ? &v->rows_edited
                                      : NULL;
}

static status run_task(verification *v, const task *t, worker *own)
{
    const way *w = &v->ways[t->way];
    status s = w->independent ? NULL : renew(v, own);
    if (!s && w->decoders == 2)
        s = subject_create(v->tested, v->m, v->last, &own->other);
    decoder *d = t->way == RECOMPUTED ? own->judge : own->tested;
    uint64_t *rows_computed = s ? NULL : rows_of(v, t->way);
    const bool edits = rows_computed == &v->rows_edited;
    own->T_before = 0;
    if (rows_computed)
        v->tested->api->observe(d, count_rows, rows_computed);
    for (size_t i = t->first; !s && i < t->first + t->n; i++) {
        const bool first = w->moves[i].decoder == 0;
        s = make_move(v, t->way, i, first ? d : own->other, first, own->ids);
        if (edits && !w->moves[i].refused)
            v->rows_changed += rows_needed(own, &w->moves[i]);
        // Also before the end: a cache may be right there alone.
        if (!s && t->way == ONE_BY_ONE && i + 1 < w->n && i == w->n * 2 / 3)
            s = check_cache(v, t->way, i, own->judge, d, own->ids);
    }
    if (rows_computed)
        v->tested->api->observe(d, NULL, NULL);
    // Before the cache is looked into: it may not hold what the other one frees.
    release(v->tested, &own->other);
    return s || w->independent || w->n == 0
               ? s
               : check_cache(v, t->way, w->n - 1, own->judge, d, own->ids);
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

static status worker_create(const verification *v, worker *own)
{
    own->ids = memory_array(v->last, sizeof *own->ids);
    own->before = memory_array(v->last, sizeof *own->before);
    status s = own->ids && own->before ? subject_create(v->judge, v->m, v->last, &own->judge)
                                       : memory_failed("the tokens");
    return s ? s : subject_create(v->tested, v->m, v->last, &own->tested);
}

static void worker_free(const verification *v, worker *own)
{
    release(v->judge, &own->judge);
    release(v->tested, &own->tested);
    memory_free(own->ids);
    memory_free(own->before);
}

// What all logits are compared with: the judge's of every row, from one step.
static status take_expected(verification *v)
{
    const size_t V = v->m->config.V;
    const move whole = {.kept = v->last, .T = v->last, .wanted = v->last};
    worker own = {.ids = memory_array(v->last, sizeof *own.ids)};
    const float *logits;
    status s =
        own.ids ? subject_create(v->judge, v->m, v->last, &own.judge) : memory_failed("the tokens");
    if (!s) {
        ways_ids(&whole, V, own.ids);
        if (v->kept.digest)
            v->judge->api->observe(own.judge, kept_watch, &v->kept);
        s = v->judge->api->step(own.judge, own.ids, v->last, v->last, &logits);
    }
    if (!s)
        memcpy(v->expected, logits, v->last * V * sizeof *logits);
    worker_free(v, &own);
    return s;
}

static void take_digest(verification *v)
{
    const size_t V = v->m->config.V;
    SHA2_CTX sha;
    SHA256Init(&sha);
    for (size_t i = 0; i < v->n; i++)
        SHA256Update(&sha, (const uint8_t *)(v->expected + (v->contexts[i] - 1) * V),
                     V * sizeof *v->expected);
    SHA256End(&sha, v->digest);
}

// Everything there is to compute: no timing is taken here.
static status run_tasks(verification *v)
{
    const int threads = v->tested->plugin || v->judge->plugin ? 1 : omp_get_max_threads();
    for (size_t w = 0; w < WAYS; w++)
        for (size_t i = 0; i < v->ways[w].n; i++)
            v->work += move_work(v, &v->ways[w], i);
    v->bar = progress_begin("verify");
#pragma omp parallel num_threads(threads)
    {
        worker own = {0};
        fail(v, worker_create(v, &own));
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < v->n_tasks; i++)
            if (!has_failed(v))
                fail(v, run_task(v, &v->tasks[i], &own));
        worker_free(v, &own);
    }
    progress_end(&v->bar);
    return v->failed ? status_fail("%s", v->error) : NULL;
}

status verification_run(const model *m, const subject *judge, const subject *tested,
                        const size_t *contexts, size_t n, verification *out)
{
    *out = (verification){.m = m,
                          .judge = judge,
                          .tested = tested,
                          .contexts = contexts,
                          .n = n,
                          .last = contexts[n - 1]};
    status s = plan(out);
    if (!s && judge->api->observe)
        s = kept_create(&m->config, &tested->kv, out->last, &out->kept);
    if (!s)
        s = take_expected(out);
    if (s)
        return s;
    take_digest(out);
    return run_tasks(out);
}

status verification_walk(verification *v, const bench_options *o)
{
    way *w = &v->ways[RANDOM_WALK];
    const size_t calls = o->budget > 0 ? (size_t)ceil(o->budget) : walk_calls(&v->m->config);
    status s = walk_run(v->m, v->judge, o->seed, calls, w, &v->walked);
    const outcome *f = &v->walked.found;
    v->logits[RANDOM_WALK] = (finding){.compared = f->compared,
                                       .differing = f->differing,
                                       .move = f->move,
                                       .position = f->position,
                                       .index = f->index,
                                       .expected = f->expected,
                                       .got = f->got,
                                       .apart = f->apart};
    return s;
}

void verification_free(verification *v)
{
    program_free_ids(&v->ways[RANDOM_WALK]);
    ways_free(v->ways);
    kept_free(&v->kept);
    memory_free(v->expected);
    memory_free(v->tasks);
    v->expected = NULL;
    v->tasks = NULL;
}

finding verification_total(const finding findings[WAYS])
{
    finding sum = {0};
    for (size_t w = RECOMPUTED + 1; w < WAYS; w++) {
        sum.compared += findings[w].compared;
        sum.differing += findings[w].differing;
    }
    return sum;
}

double verification_work(const verification *v)
{
    const double grown = (double)v->rows_computed / (double)v->ways[ONE_BY_ONE].n;
    return v->rows_changed > 0 ? fmax(grown, (double)v->rows_edited / (double)v->rows_changed)
                               : grown;
}

size_t verification_first(const verification *v, const finding **found)
{
    size_t first = WAYS;
    *found = NULL;
    for (size_t w = 0; w < RANDOM_WALK; w++)
        if (v->logits[w].differing && (!*found || v->logits[w].position < (*found)->position)) {
            *found = &v->logits[w];
            first = w;
        }
    for (size_t w = 0; !*found && w < WAYS; w++)
        if (v->cache[w].differing) {
            *found = &v->cache[w];
            first = w;
        }
    if (!*found && v->logits[RANDOM_WALK].differing) {
        *found = &v->logits[RANDOM_WALK];
        first = RANDOM_WALK;
    }
    return first;
}
