// Watching a decoder: the observer's rows, and then the cache's.
#include "bench/locate/trace.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"

// The slots of a layer: rows that stand alone, and rows of each head, in the order of computation.
static const struct {
    int stage;
    enum { ROW, KV_HEAD, HEAD } per; // one row, or one of each K/V head or query head
} LAYER[] = {{STAGE_LN1, ROW},
             {STAGE_Q, ROW},
             {STAGE_K, ROW},
             {STAGE_V, ROW},
             {STAGE_STORED_K, KV_HEAD},
             {STAGE_STORED_V, KV_HEAD},
             {STORED_K, KV_HEAD},
             {STORED_V, KV_HEAD},
             {STAGE_SEES, KV_HEAD},
             {STAGE_SCORES, HEAD},
             {STAGE_SOFTMAX, HEAD},
             {STAGE_ATTEND, HEAD},
             {STAGE_PROJ, ROW},
             {STAGE_LN2, ROW},
             {STAGE_FC, ROW},
             {STAGE_GELU, ROW},
             {STAGE_FCPROJ, ROW}};
enum { LAYER_STAGES = sizeof LAYER / sizeof *LAYER };

const char *place_stage_name(int s)
{
    return s == STORED_K ? "cached k" : s == STORED_V ? "cached v" : stage_name((stage)s);
}

static size_t slots_of(const config *c, size_t i)
{
    return LAYER[i].per == ROW ? 1 : LAYER[i].per == HEAD ? c->H : config_kv_heads(c);
}

static size_t layer_slots(const config *c)
{
    size_t n = 0;
    for (size_t i = 0; i < LAYER_STAGES; i++)
        n += slots_of(c, i);
    return n;
}

size_t trace_slot(const trace *t, const place *p)
{
    const config *c = &t->m->config;
    if (p->stage == STAGE_EMBED)
        return 0;
    if (p->stage == STAGE_LNF || p->stage == STAGE_LOGITS)
        return t->slots - (p->stage == STAGE_LNF ? 2 : 1);
    size_t slot = 1 + (size_t)p->layer * layer_slots(c);
    for (size_t i = 0; LAYER[i].stage != p->stage; i++)
        slot += slots_of(c, i);
    return slot + (p->head > 0 ? (size_t)p->head : 0);
}

place trace_place(const trace *t, size_t position, size_t slot)
{
    const config *c = &t->m->config;
    if (slot == 0)
        return (place){position, -1, -1, STAGE_EMBED};
    if (slot >= t->slots - 2)
        return (place){position, -1, -1, slot == t->slots - 2 ? STAGE_LNF : STAGE_LOGITS};
    place p = {position, (int)((slot - 1) / layer_slots(c)), -1, 0};
    size_t rest = (slot - 1) % layer_slots(c), i = 0;
    for (size_t width; rest >= (width = slots_of(c, i)); i++)
        rest -= width;
    p.stage = LAYER[i].stage;
    p.head = LAYER[i].per != ROW ? (int)rest : -1;
    return p;
}

status trace_create(const model *m, size_t T, bool judge, trace *out)
{
    *out =
        (trace){.m = m, .T = T, .judge = judge, .slots = m->config.L * layer_slots(&m->config) + 3};
    out->digest = memory_array(T * out->slots, sizeof *out->digest);
    out->drafted = memory_array(T, sizeof *out->drafted);
    out->logits = memory_array(T, sizeof *out->logits);
    if (out->digest && out->drafted && out->logits)
        return NULL;
    trace_free(out);
    return memory_failed("the trace of a run");
}

void trace_free(trace *t)
{
    memory_free(t->digest);
    memory_free(t->drafted);
    memory_free(t->logits);
    *t = (trace){0};
}

// FNV-1a over 32-bit words, with the length; never 0.
static uint64_t digest_of(const float *values, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u ^ n;
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, values + i, sizeof word);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h | 1;
}

static void record(trace *t, const place *p, const float *values, size_t n)
{
    t->digest[p->position * t->slots + trace_slot(t, p)] = digest_of(values, n);
    for (size_t i = 0; i < t->wanting; i++)
        if (p->position == t->wanted[i].position && p->layer == t->wanted[i].layer &&
            p->head == t->wanted[i].head && p->stage == t->wanted[i].stage) {
            memory_free(t->found[i].values);
            t->found[i] = (trace_row){memory_array(n, sizeof *values), n};
            if (t->found[i].values)
                memcpy(t->found[i].values, values, n * sizeof *values);
        }
}

static void watch(void *user, stage s, int l, int head, size_t position, const float *values,
                  size_t n)
{
    trace *t = user;
    t->rows += s == STAGE_EMBED;
    if (position >= t->end)
        t->beyond = position + 1;
    if (position >= t->T)
        return;
    if (s == STAGE_EMBED)
        t->drafted[position] = position >= t->kept;
    record(t, &(place){position, l, head, (int)s}, values, n);
    if (t->judge && (s == STAGE_STORED_K || s == STAGE_STORED_V))
        record(t, &(place){position, l, head, s == STAGE_STORED_K ? STORED_K : STORED_V}, values,
               n);
}

// Keys and values that d holds for positions below n, whatever they were computed from.
static status record_cache(trace *t, const decoder_api *api, const decoder *d, size_t n)
{
    const config *c = &t->m->config;
    const size_t D = config_head_size(c);
    float *kv = memory_array(2 * D, sizeof *kv);
    status s = kv ? NULL : memory_failed("a key and a value");
    for (size_t position = 0; !s && position < n && position < t->T; position++)
        for (size_t l = 0; !s && l < c->L; l++)
            for (size_t h = 0; !s && h < config_kv_heads(c); h++) {
                if (!api->holds(d, l, h, position))
                    continue;
                s = api->read_kv(d, l, h, position, kv, kv + D);
                if (s)
                    break;
                record(t, &(place){position, (int)l, (int)h, STORED_K}, kv, D);
                record(t, &(place){position, (int)l, (int)h, STORED_V}, kv + D, D);
            }
    memory_free(kv);
    return s;
}

// A decoder made anew; the one whose move comes last is watched.
static status renew(trace *t, const way *w, size_t last, size_t which, decoder *d[2])
{
    if (d[which])
        w->by->api->destroy(d[which]);
    d[which] = NULL;
    status s = subject_create(w->by, t->m, ways_room(w, which), &d[which]);
    if (!s && which == w->moves[last].decoder && w->by->api->observe)
        w->by->api->observe(d[which], watch, t);
    return s;
}

static status make_moves(trace *t, const way *w, size_t last, decoder *d[2])
{
    int *room = memory_array(w->T_max, sizeof *room);
    status s = room ? NULL : memory_failed("the tokens");
    const size_t V = t->m->config.V;
    const float *logits;
    for (size_t i = 0; !s && i <= last; i++) {
        const move *m = &w->moves[i];
        const int *ids = ways_ids(m, V, room);
        t->kept = m->kept;
        t->end = m->T;
        t->rows = 0;
        if (m->renew)
            s = renew(t, w, last, m->decoder, d);
        if (m->reset)
            w->by->api->reset(d[m->decoder]);
        if (!s)
            s = w->by->api->step(d[m->decoder], ids, m->T, m->wanted, &logits);
        for (size_t r = 0; !s && i == last && r < m->wanted; r++)
            if (m->T - m->wanted + r < size_min(t->T, m->kept))
                t->logits[m->T - m->wanted + r] = digest_of(logits + r * V, V);
        if (m->refused)
            s = NULL;
    }
    memory_free(room);
    return s;
}

status trace_run(trace *t, const way *w, size_t last, const place *wanted, trace_row *found,
                 size_t wanting)
{
    t->wanted = wanted;
    t->found = found;
    t->wanting = wanting;
    decoder *d[2] = {NULL, NULL};
    const decoder_api *api = w->by->api;
    status s = NULL;
    const size_t watched = w->moves[last].decoder;
    for (size_t i = 0; !s && i < w->decoders; i++)
        s = renew(t, w, last, i, d);
    if (!s)
        s = make_moves(t, w, last, d);
    if (d[1 - watched]) // before the cache is looked into: it may not hold what the other one frees
        api->destroy(d[1 - watched]);
    if (!s && !t->judge && api->holds && api->read_kv)
        s = record_cache(t, api, d[watched], w->moves[last].T);
    if (d[watched])
        api->destroy(d[watched]);
    return s;
}
