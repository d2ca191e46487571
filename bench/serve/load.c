// A closed loop around the scheduler: whoever has his answer asks again.
#include "bench/serve/load.h"

#include <math.h>

#include "bench/base/stats.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/generate/sampler.h"
#include "kvcache/prefix/prefix.h"
#include "kvcache/schedule.h"

enum { PAGE = 16 }; // positions

const int load_percentiles[LOAD_PERCENTILES] = {50, 90, 99};

typedef struct client {
    schedule_request r;
    int *ids; // (T)
    sampler *greedy;
    bool busy;
    size_t tokens;                 // generated of the answer at hand
    uint64_t begin, first, latest; // of the request, of its first token, of its last one
} client;

typedef struct service {
    const load *w;
    kv_pool *pool;
    schedule *s;
    client *clients;     // (users)
    size_t sent, done;   // requests
    double *ttft, *tpot; // (requests); (rates)
    size_t rates;        // answers of more than one token
    load_result *result;
} service;

// ---- the pool, and what is in use of it ----

static kv_pool under;
static size_t in_use, peak; // blocks that a sequence has

static kv_block *counted(kv_block *b)
{
    in_use += b && b->references == 1;
    peak = size_max(peak, in_use);
    return b;
}

static kv_block *take(kv_pool *p)
{
    return counted(under.take(p));
}

static void release(kv_pool *p, kv_block *block)
{
    in_use -= block->references == 1;
    under.release(p, block);
}

static kv_block *find(kv_pool *p, const char *space, const kv_block *before, const int *tokens)
{
    return counted(under.find(p, space, before, tokens));
}

static kv_block *find_nothing(kv_pool *p, const char *space, const kv_block *before,
                              const int *tokens)
{
    (void)p, (void)space, (void)before, (void)tokens;
    return NULL;
}

static void publish_nothing(kv_pool *p, const char *space, const kv_block *before, kv_block *block,
                            const int *tokens)
{
    (void)p, (void)space, (void)before, (void)block, (void)tokens;
}

static void watch(kv_pool *p, bool cache)
{
    under = *p;
    in_use = peak = 0;
    p->take = take;
    p->release = release;
    p->find = cache ? find : find_nothing;
    if (!cache)
        p->publish = publish_nothing;
}

size_t load_text_bytes(const model *m, size_t T)
{
    return prefix_budget(&m->config, &(kv_spec){.page = PAGE}, T);
}

// ---- users ----

static int choose(void *user, const float *logits, size_t T)
{
    client *c = user;
    c->latest = clock_ns();
    c->first = c->tokens++ == 0 ? c->latest : c->first;
    return sampler_choose(c->greedy, logits, T);
}

static status send(service *v, client *c)
{
    size_t most;
    const size_t before = c->r.T,
                 T = mix_request(v->w->mix, v->sent++, c->ids, before, c->ids, &most);
    c->r = (schedule_request){.ids = c->ids, .T = T, .most = most, .choose = choose, .user = c};
    c->tokens = 0;
    c->busy = true;
    c->begin = clock_ns();
    return schedule_add(v->s, &c->r);
}

static status receive(service *v, client *c)
{
    load_result *n = v->result;
    if (c->r.failure[0])
        return status_fail("request %zu: %s", v->done, c->r.failure);
    if (c->tokens == 0 || c->r.T < c->r.most)
        return status_fail("a request for %zu tokens ended with %zu: the logits are not finite",
                           c->r.most, c->r.T);
    c->busy = false;
    v->ttft[v->done++] = (double)(c->first - c->begin);
    if (c->tokens > 1)
        v->tpot[v->rates++] = (double)(c->latest - c->first) / (double)(c->tokens - 1);
    n->prompt += c->r.prompt;
    n->cached += c->r.cached;
    n->generated += c->tokens;
    n->recomputed += c->r.recomputed;
    n->preemptions += c->r.preemptions;
    return NULL;
}

// ---- a run ----

static void percentiles(double *values, size_t n, double out[LOAD_PERCENTILES])
{
    for (size_t i = 0; i < LOAD_PERCENTILES; i++)
        out[i] = n > 0 ? stats_percentile(values, n, (size_t)load_percentiles[i]) : NAN;
}

static status open_clients(service *v)
{
    v->clients = memory_array(v->w->users, sizeof *v->clients);
    v->ttft = memory_array(v->w->requests, sizeof *v->ttft);
    v->tpot = memory_array(v->w->requests, sizeof *v->tpot);
    status failed = v->clients && v->ttft && v->tpot ? NULL : memory_failed("users");
    for (size_t i = 0; !failed && i < v->w->users; i++) {
        client *c = &v->clients[i];
        c->ids = memory_array(v->w->mix->T, sizeof *c->ids);
        failed = c->ids ? sampler_create(&(sampling){.top_p = 1}, v->w->mix->V, &c->greedy)
                        : memory_failed("a text");
    }
    return failed;
}

static status open(service *v)
{
    const load *w = v->w;
    schedule_options o = {.decoder = {.T_max = w->mix->T, .kv.page = PAGE},
                          .rows = LOAD_ROWS,
                          .running = size_min(w->users, LOAD_ROWS)};
    status failed = open_clients(v);
    if (!failed)
        failed =
            prefix_create(w->m, &o.decoder.kv, &(prefix_options){.budget = w->budget}, &v->pool);
    if (failed)
        return failed;
    watch(v->pool, w->cache);
    o.decoder.pool = v->pool;
    return schedule_create(w->m, &o, &v->s);
}

static void close(service *v)
{
    schedule_destroy(v->s);
    prefix_destroy(v->pool);
    for (size_t i = 0; v->clients && i < v->w->users; i++) {
        memory_free(v->clients[i].ids);
        sampler_free(v->clients[i].greedy);
    }
    memory_free(v->clients);
    memory_free(v->ttft);
    memory_free(v->tpot);
}

// Whoever is idle asks, a pass is made, and whoever has his answer is idle again.
static status turn(service *v)
{
    status failed = NULL;
    for (size_t i = 0; !failed && i < v->w->users; i++)
        if (!v->clients[i].busy && v->sent < v->w->requests)
            failed = send(v, &v->clients[i]);
    if (!failed)
        failed = schedule_pass(v->s);
    for (size_t i = 0; !failed && i < v->w->users; i++)
        if (v->clients[i].busy && v->clients[i].r.state == SCHEDULE_DONE)
            failed = receive(v, &v->clients[i]);
    return failed;
}

static status run(service *v, bool (*progress)(void *user, double done), void *user)
{
    load_result *n = v->result;
    status failed = open(v);
    const uint64_t begin = clock_ns();
    while (!failed && v->done < v->w->requests) {
        failed = turn(v);
        if (!failed && !progress(user, (double)v->done / (double)v->w->requests))
            failed = status_fail("interrupted");
    }
    if (failed)
        return failed;
    n->ns = (double)(clock_ns() - begin);
    n->requests = v->done;
    n->passes = schedule_count(v->s).passes;
    n->rows = schedule_count(v->s).rows;
    n->kv_peak =
        peak * v->w->m->config.L * page_shape_of(&(kv_spec){.page = PAGE}, &v->w->m->config).bytes;
    percentiles(v->ttft, v->done, n->ttft_ns);
    percentiles(v->tpot, v->rates, n->tpot_ns);
    return NULL;
}

status load_run(const load *w, bool (*progress)(void *user, double done), void *user,
                load_result *out)
{
    *out = (load_result){0};
    service v = {.w = w, .result = out};
    status failed = run(&v, progress, user);
    close(&v);
    return failed;
}
