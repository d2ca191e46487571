// Texts and passes, and the clock around them.
#include "bench/speculate/cells.h"

#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "kvcache/speculate.h"

enum { PROMPT = 64 }; // tokens, for a model without text

// Sample i begins with name i: greedy decoding would write one text otherwise.
static const char *const speakers[] = {"ROMEO:",  "JULIET:",     "MENENIUS:", "First Citizen:",
                                       "BRUTUS:", "GLOUCESTER:", "Nurse:",    "KING HENRY VI:"};

status site_open(const char *model_name, size_t tokens, size_t rows, site *out)
{
    *out = (site){.tokens = tokens};
    status s = model_load(model_name, &out->m);
    if (!s && rows == 0)
        s = tokenizer_load_for(out->m, &out->t);
    if (s)
        return s;
    out->T_max = size_min(out->m->config.T, rows ? CELL_CONTEXT + rows : PROMPT + tokens);
    if (out->T_max < PROMPT + tokens || out->T_max <= rows)
        return status_fail("%s: a context of %zu tokens is too short for this: use another model",
                           model_name, out->m->config.T);
    out->context = out->T_max - rows;
    out->ids = memory_array(out->T_max + 1, sizeof *out->ids);
    out->truth = memory_array(out->T_max + 1, sizeof *out->truth);
    if (!out->ids || !out->truth)
        return memory_failed("the tokens");
    return kvcache_decoder.create(out->m, &(decoder_options){.T_max = out->T_max}, &out->d);
}

void site_free(site *s)
{
    if (s->d)
        kvcache_decoder.destroy(s->d);
    memory_free(s->ids);
    memory_free(s->truth);
    tokenizer_free(s->t);
    model_free(s->m);
}

// Puts the prompt of sample i into ids; *T: its tokens.
static status begin_text(site *s, size_t i, size_t *T)
{
    const char *speaker = speakers[i % (sizeof speakers / sizeof *speakers)];
    for (*T = 0; !s->t && *T < PROMPT; ++*T)
        s->ids[*T] = fixed_token(*T, s->m->config.V);
    if (!s->t)
        return NULL;
    int *ids;
    status failed = tokenizer_encode(s->t, speaker, strlen(speaker), &ids, T);
    if (!failed)
        memcpy(s->ids, ids, *T * sizeof *ids);
    memory_free(ids);
    return failed;
}

// A draft of a given quality: right with a chance of `rate`, by a generator's word, else the next
// id. It costs nothing, and knows the truth: a simulation.
typedef struct forced {
    const site *at;
    double rate;
    uint64_t state;
} forced;

static size_t propose_forced(void *state, int *ids, size_t T, size_t k)
{
    forced *f = state;
    for (size_t i = 0; i < k; i++, f->state += RANDOM_GAMMA) {
        const int right = T + i < f->at->truth_length ? f->at->truth[T + i] : 0;
        const double u = (double)(random_splitmix64(f->state) >> 11) * 0x1p-53;
        ids[T + i] = u < f->rate ? right : (right + 1) % (int)f->at->m->config.V;
    }
    return k;
}

// Speculates over one text. *ns a token: the first pass, which computes the prompt, is left out
// with its tokens.
static status follow(site *s, speculation *by, size_t T, double *ns)
{
    const size_t end = T + s->tokens;
    size_t behind_first = 0, n = 0;
    uint64_t begin = 0;
    kvcache_decoder.reset(s->d);
    for (; T < end; T += n) {
        const float *logits;
        status failed = speculate.pass(by, s->ids, T, end - T, &n, &logits);
        if (failed)
            return failed;
        if (s->ids[T] < 0)
            return status_fail("%s: the logits after %zu tokens are not finite: use another model",
                               model_label(s->m), T);
        if (begin == 0) {
            begin = clock_ns();
            behind_first = T + n;
        }
    }
    *ns = (double)(clock_ns() - begin) / (double)(end - behind_first);
    return NULL;
}

static status open(const cell *c, const speculation_target *target, forced *f, speculation **out)
{
    char name[4096];
    *f = (forced){c->at, c->rate, random_splitmix64(random_splitmix64(c->taken) + c->x)};
    if (c->kind == CELL_PLAIN)
        return speculate_with(&(draft){0}, target, out);
    if (c->kind == CELL_FORCED)
        return speculate_with(&(draft){.k = c->x, .propose = propose_forced, .state = f}, target,
                              out);
    if (strcmp(c->name, "lookup") == 0)
        snprintf(name, sizeof name, "lookup:3,%zu", c->x);
    else
        snprintf(name, sizeof name, SOURCE_DIR "/common/models/%s:%zu", c->name, c->x);
    return speculate.open(name, target, out);
}

static void add(speculation_counts *sum, const speculation_counts *c)
{
    for (size_t i = 0; i <= SPECULATION_MOST; i++)
        sum->passes[i] += c->passes[i];
    for (size_t i = 0; i < SPECULATION_MOST; i++) {
        sum->judged[i] += c->judged[i];
        sum->accepted[i] += c->accepted[i];
    }
}

static status take_text(cell *c, double *ns)
{
    site *s = c->at;
    size_t T;
    forced f;
    speculation *by = NULL;
    const sampling how = {.temperature = c->temperature, .top_p = 1, .seed = c->taken};
    const speculation_target target = {&kvcache_decoder,
                                       s->d,
                                       s->T_max,
                                       s->m,
                                       s->t,
                                       how,
                                       s->t ? tokenizer_size(s->t) : s->m->config.V};
    status failed = begin_text(s, c->taken, &T);
    if (!failed)
        failed = open(c, &target, &f, &by);
    if (!failed)
        failed = follow(s, by, T, ns);
    if (!failed)
        add(&c->counts, speculate.counts(by));
    speculate.close(by);
    if (!failed && c->kind == CELL_PLAIN && c->temperature <= 0) {
        s->truth_length = T + s->tokens;
        memcpy(s->truth, s->ids, s->truth_length * sizeof *s->ids);
    }
    return failed;
}

// The truth of a forced draft is what plain decoding gives.
static status know_truth(site *s)
{
    double ns;
    cell plain = {.kind = CELL_PLAIN, .at = s};
    return s->truth_length > 0 ? NULL : take_text(&plain, &ns);
}

// A step over the last x rows, all of whose logits are wanted: so many are computed, whatever is
// held behind the context.
static status take_rows(cell *c, double *ns)
{
    site *s = c->at;
    const float *logits;
    const size_t T = s->context;
    for (size_t t = 0; t < T + c->x; t++)
        s->ids[t] = fixed_token(t, s->m->config.V);
    status failed = kvcache_decoder.step(s->d, s->ids, T, 1, &logits);
    const uint64_t begin = clock_ns();
    if (!failed)
        failed = kvcache_decoder.step(s->d, s->ids, T + c->x, c->x, &logits);
    *ns = (double)(clock_ns() - begin);
    return failed;
}

status cell_take(cell *c, double *ns)
{
    status failed = c->kind == CELL_FORCED ? know_truth(c->at) : NULL;
    if (!failed)
        failed = c->kind == CELL_ROWS ? take_rows(c, ns) : take_text(c, ns);
    c->taken++;
    return failed;
}
