// Sampling without libm and without a sum whose order is left open: that makes a choice the same on
// every machine.
#include "common/generate/sampler.h"

#include <math.h>
#include <stdbool.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/number/numeric.h"

struct sampler {
    sampling how;
    size_t n;
    float *weights; // (n): exp((logit - best) / temperature)
    int *order;     // (n): a heap of the ids not yet ranked, then the ranked ones, best last
    size_t ranked;
};

status sampler_create(const sampling *how, size_t n, sampler **out)
{
    sampler *s = *out = memory_array(1, sizeof *s);
    if (!s)
        return memory_failed("the sampler");
    *s = (sampler){.how = *how, .n = n};
    s->weights = memory_array(n, sizeof *s->weights);
    s->order = memory_array(n, sizeof *s->order);
    if (s->weights && s->order)
        return NULL;
    sampler_free(s);
    *out = NULL;
    return memory_failed("the sampler");
}

void sampler_free(sampler *s)
{
    if (!s)
        return;
    memory_free(s->weights);
    memory_free(s->order);
    memory_free(s);
}

// The stream of hashes for one position: that of an id is output `id` of splitmix64 begun here.
static uint64_t stream_of(uint64_t seed, size_t position)
{
    return random_splitmix64(random_splitmix64(seed) + position);
}

// Exponentially distributed with mean 1: -ln of a number in (0, 1] that has 53 random bits.
static double exponential(uint64_t stream, int id)
{
    const uint64_t hash = random_splitmix64(stream + (uint64_t)id * RANDOM_GAMMA);
    return -numeric_log((double)((hash >> 11) + 1) * 0x1p-53);
}

// The first of the largest logits; -1 if one of them is not finite.
static int best_of(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    return (int)best;
}

// A total order, so that there is only one ranking, however it is found.
static bool better(const float *logits, int a, int b)
{
    return logits[a] > logits[b] || (!(logits[a] < logits[b]) && a < b);
}

// Lets heap[i] sink until no child among heap[0..n-1] is better.
static void sink(int *heap, size_t i, size_t n, const float *logits)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(logits, heap[child + 1], heap[child]))
            child++;
        if (!better(logits, heap[child], heap[i]))
            return;
        int lower = heap[i];
        heap[i] = heap[child];
        heap[child] = lower;
    }
}

static void rank_none(sampler *s, const float *logits)
{
    s->ranked = 0;
    for (size_t i = 0; i < s->n; i++)
        s->order[i] = (int)i;
    for (size_t i = s->n / 2; i-- > 0;)
        sink(s->order, i, s->n, logits);
}

// The id of rank j (0 is the best). Ranks only as far as it is asked: O(n) for the heap, O(log n)
// for each rank.
static int rank(sampler *s, const float *logits, size_t j)
{
    for (; s->ranked <= j; s->ranked++) {
        size_t last = s->n - 1 - s->ranked;
        int top = s->order[0];
        s->order[0] = s->order[last];
        s->order[last] = top;
        sink(s->order, 0, last, logits);
    }
    return s->order[s->n - 1 - j];
}

// How many of the `kept` best ids have the share top_p of their weight: the fewest that do.
static size_t nucleus(sampler *s, const float *logits, size_t kept)
{
    double total = 0;
    if (kept == s->n)
        for (size_t i = 0; i < s->n; i++) // spares the ranking of all
            total += s->weights[i];
    else
        for (size_t j = 0; j < kept; j++)
            total += s->weights[rank(s, logits, j)];
    double mass = 0;
    size_t j = 0;
    for (; j < kept && mass < (double)s->how.top_p * total; j++)
        mass += s->weights[rank(s, logits, j)];
    return j;
}

// The time at which an id arrives; one without weight never does.
static double arrival(const sampler *s, uint64_t stream, int id)
{
    return s->weights[id] > 0 ? exponential(stream, id) / (double)s->weights[id] : INFINITY;
}

// The first of n ids to arrive, the lower one of equals. ids NULL: 0..n-1.
static int race(const sampler *s, const int *ids, size_t n, uint64_t stream)
{
    int winner = ids ? ids[0] : 0;
    double first = arrival(s, stream, winner);
    for (size_t i = 1; i < n; i++) {
        const int id = ids ? ids[i] : (int)i;
        const double at = arrival(s, stream, id);
        if (at < first || (!(first < at) && id < winner)) {
            first = at;
            winner = id;
        }
    }
    return winner;
}

int sampler_choose(sampler *s, const float *logits, size_t position)
{
    int best = best_of(logits, s->n);
    if (best < 0 || s->how.temperature <= 0)
        return best;
    for (size_t i = 0; i < s->n; i++)
        s->weights[i] = numeric_exp((logits[i] - logits[best]) / s->how.temperature);
    const uint64_t stream = stream_of(s->how.seed, position);
    const size_t kept = s->how.top_k > 0 && s->how.top_k < s->n ? s->how.top_k : s->n;
    if (kept == s->n && s->how.top_p >= 1)
        return race(s, NULL, s->n, stream);
    rank_none(s, logits);
    const size_t n = s->how.top_p < 1 ? nucleus(s, logits, kept) : kept;
    rank(s, logits, n - 1); // the n best now lie at the end
    return race(s, s->order + s->n - n, n, stream);
}
