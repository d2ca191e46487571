// Sets of positions, as one number each.
#include "bench/verify/kept.h"

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"

// A position's share of its set's digest, which is their sum.
static uint64_t share(size_t position)
{
    return random_splitmix64(position);
}

status kept_create(const config *c, const kv_spec *spec, size_t T, kept_sets *out)
{
    *out = (kept_sets){c->L, config_kv_heads(c), T, NULL};
    if (spec->keep != KV_HEAVY)
        return NULL;
    out->digest = memory_array(size_times(T, c->L * config_kv_heads(c)), sizeof *out->digest);
    return out->digest ? NULL : memory_failed("the rows that are kept");
}

void kept_free(kept_sets *k)
{
    memory_free(k->digest);
    k->digest = NULL;
}

static uint64_t *digest_at(const kept_sets *k, size_t t, size_t l, size_t head)
{
    return k->digest + (t * k->L + l) * k->G + head;
}

void kept_watch(void *user, stage s, int l, int head, size_t t, const float *values, size_t n)
{
    const kept_sets *k = user;
    if (s != STAGE_SEES || t >= k->T)
        return;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (size_t)values[i] < t ? share((size_t)values[i]) : 0;
    *digest_at(k, t, (size_t)l, (size_t)head) = sum;
}

bool kept_same(const kept_sets *k, const decoder_api *api, const decoder *d, size_t l, size_t head,
               size_t T, size_t last)
{
    uint64_t sum = 0;
    if (!k->digest || T >= k->T)
        return true;
    for (size_t t = 0; t < last; t++)
        sum += api->holds(d, l, head, t) ? share(t) : 0;
    return sum == *digest_at(k, T, l, head);
}
