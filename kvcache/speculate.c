// One pass of a speculation: draft, verify, keep what plain decoding would have chosen.
#include "kvcache/speculate.h"

#include "common/base/memory.h"
#include "common/base/size.h"

struct speculation {
    speculation_target target;
    sampler *sampler;
    draft draft;
    speculation_counts counts;
};

static void count(speculation_counts *c, size_t drafted, size_t accepted)
{
    c->passes[drafted]++;
    for (size_t i = 0; i < drafted && i <= accepted; i++) {
        c->judged[i]++;
        c->accepted[i] += i < accepted;
    }
}

// Draws behind each of rows 0..k of the logits, as long as the token drafted there is the one
// drawn. Returns how many tokens then stand behind the T: those accepted, and one.
static size_t accept(speculation *s, int *ids, size_t T, size_t k, const float *logits)
{
    for (size_t i = 0;; i++) {
        const float *row = logits + i * s->target.m->config.V;
        const int id = sampler_choose(s->sampler, row, T + i);
        if (id < 0 && i > 0)
            return i; // plain decoding would fail at the next step: so will the next pass
        const bool agreed = i < k && ids[T + i] == id;
        ids[T + i] = id;
        if (!agreed)
            return i + 1;
    }
}

static status pass(speculation *s, int *ids, size_t T, size_t most, size_t *n, const float **logits)
{
    const speculation_target *to = &s->target;
    // Rows T-1..T+k-1 are computed, and 1 to k + 1 tokens come of them.
    size_t k = size_min(s->draft.k, size_min(to->T_max - T, most - 1));
    if (k > 0)
        k = s->draft.propose(s->draft.state, ids, T, k);
    status failed = to->api->step(to->decoder, ids, T + k, k + 1, logits);
    if (failed && k > 0) { // perhaps in a row that plain decoding would not compute
        k = 0;
        failed = to->api->step(to->decoder, ids, T, 1, logits);
    }
    if (failed)
        return failed;
    *n = accept(s, ids, T, k, *logits);
    count(&s->counts, k, *n - 1);
    return NULL;
}

static void close(speculation *s)
{
    if (!s)
        return;
    if (s->draft.close && s->draft.state)
        s->draft.close(s->draft.state);
    sampler_free(s->sampler);
    memory_free(s);
}

status speculate_with(const draft *d, const speculation_target *target, speculation **out)
{
    speculation *s = *out = memory_array(1, sizeof *s);
    if (!s) {
        if (d->close && d->state)
            d->close(d->state);
        return memory_failed("the speculation");
    }
    *s = (speculation){.target = *target, .draft = *d};
    status failed = sampler_create(&target->how, target->n, &s->sampler);
    if (!failed)
        return NULL;
    close(s);
    *out = NULL;
    return failed;
}

static status open(const char *text, const speculation_target *target, speculation **out)
{
    draft d;
    *out = NULL;
    status failed = draft_open(text, target, &d);
    if (!failed)
        return speculate_with(&d, target, out);
    if (d.state)
        d.close(d.state);
    return failed;
}

static const speculation_counts *counts(const speculation *s)
{
    return &s->counts;
}

const speculation_api speculate = {open, pass, counts, close};
