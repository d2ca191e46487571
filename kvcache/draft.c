// The drafts that --draft can name.
#include "kvcache/draft.h"

#include <string.h>

#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"

// A smaller model, on a cached decoder of its own.
typedef struct model_draft {
    model *m;
    tokenizer *t;
    decoder *d;
    sampler *s;
    size_t T_max;
} model_draft;

// Draws as the target does, so that where the two distributions agree the tokens do. Its rows of
// tokens that were rejected go with the next call: step is given the whole sequence.
static size_t propose_by_model(void *state, int *ids, size_t T, size_t k)
{
    const model_draft *x = state;
    size_t n = 0;
    for (; n < k && T + n <= x->T_max; n++) {
        const float *logits;
        if (kvcache_decoder.step(x->d, ids, T + n, 1, &logits))
            break;
        const int id = sampler_choose(x->s, logits, T + n);
        if (id < 0)
            break;
        ids[T + n] = id;
    }
    return n;
}

static void close_model(void *state)
{
    model_draft *x = state;
    if (x->d)
        kvcache_decoder.destroy(x->d);
    sampler_free(x->s);
    tokenizer_free(x->t);
    model_free(x->m);
    memory_free(x);
}

// Whether an id means the same in both.
static status same_vocabulary(const char *dir, const model_draft *x, const speculation_target *to)
{
    if (x->m->config.V != to->m->config.V)
        return status_fail("%s has a vocabulary of %zu, the model that it drafts for one of %zu: "
                           "give a draft with the same tokenizer",
                           dir, x->m->config.V, to->m->config.V);
    for (size_t id = 0; x->t && to->t && id < tokenizer_size(to->t); id++) {
        size_t n, draft_n;
        const char *bytes = tokenizer_decode(to->t, (int)id, &n),
                   *drafts = tokenizer_decode(x->t, (int)id, &draft_n);
        if (n != draft_n || memcmp(bytes, drafts, n) != 0)
            return status_fail("token %zu of %s is not that of the model that it drafts for: give "
                               "a draft with the same tokenizer",
                               id, dir);
    }
    return NULL;
}

static status open_model(const char *dir, const speculation_target *to, draft *out)
{
    model_draft *x = out->state = memory_array(1, sizeof *x);
    if (!x)
        return memory_failed("the draft");
    *x = (model_draft){0};
    out->propose = propose_by_model;
    out->close = close_model;
    status s = model_load(dir, &x->m);
    if (!s)
        s = tokenizer_load_for(x->m, &x->t);
    if (!s)
        s = same_vocabulary(dir, x, to);
    if (s)
        return s;
    x->T_max = size_min(to->T_max, x->m->config.T);
    s = sampler_create(&to->how, to->n, &x->s);
    return s ? s : kvcache_decoder.create(x->m, &(decoder_options){.T_max = x->T_max}, &x->d);
}

size_t draft_lookup(size_t ngram, int *ids, size_t T, size_t k)
{
    for (size_t n = size_min(ngram, T - 1); n > 0; n--)
        for (size_t at = T - n; at-- > 0;) // the latest first
            if (memcmp(ids + at, ids + T - n, n * sizeof *ids) == 0) {
                const size_t found = size_min(k, T - (at + n));
                memcpy(ids + T, ids + at + n, found * sizeof *ids);
                return found;
            }
    return 0;
}

static size_t propose_by_lookup(void *state, int *ids, size_t T, size_t k)
{
    return draft_lookup(*(const size_t *)state, ids, T, k);
}

// "lookup" or "lookup:N,K".
static status open_lookup(const char *text, draft *out)
{
    uint64_t n = DRAFT_NGRAM, k = DRAFT_K;
    const char *numbers = text + strlen("lookup"), *comma = strchr(numbers, ',');
    const bool given = *numbers == ':';
    if (given &&
        (!comma || !input_whole(numbers + 1, (size_t)(comma - numbers - 1), DRAFT_NGRAM, &n) ||
         !input_whole(comma + 1, strlen(comma + 1), SPECULATION_MOST, &k) || n == 0 || k == 0))
        return status_fail("--draft '%s': give lookup:N,K with N from 1 to %d and K from 1 to %d",
                           text, DRAFT_NGRAM, SPECULATION_MOST);
    size_t *state = out->state = memory_array(1, sizeof *state);
    if (!state)
        return memory_failed("the draft");
    *state = (size_t)n;
    out->k = (size_t)k;
    out->propose = propose_by_lookup;
    out->close = memory_free;
    return NULL;
}

// "DIR" or "DIR:K": digits behind the last colon are K.
static status open_directory(const char *text, const speculation_target *to, draft *out)
{
    const char *colon = strrchr(text, ':');
    uint64_t k = DRAFT_K;
    size_t n = strlen(text);
    if (colon && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1)) {
        if (!input_whole(colon + 1, strlen(colon + 1), SPECULATION_MOST, &k) || k == 0)
            return status_fail("--draft '%s': give a K from 1 to %d behind the directory", text,
                               SPECULATION_MOST);
        n = (size_t)(colon - text);
    }
    char *dir = memory_array(n + 1, 1);
    if (!dir)
        return memory_failed("the name of the draft");
    memcpy(dir, text, n);
    dir[n] = '\0';
    out->k = (size_t)k;
    status s = open_model(dir, to, out);
    memory_free(dir);
    return s;
}

status draft_open(const char *text, const speculation_target *target, draft *out)
{
    *out = (draft){0};
    const size_t n = strlen("lookup");
    const bool lookup = strncmp(text, "lookup", n) == 0 && (text[n] == '\0' || text[n] == ':');
    return lookup ? open_lookup(text, out) : open_directory(text, target, out);
}
