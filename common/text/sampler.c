// Sampling without libm and without a sum whose order is left open: that makes a choice the same on
// every machine.
#include "common/text/sampler.h"

#include <math.h>
#include <stdbool.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/math/numeric.h"

struct sampler {
    sampling how;
    uint64_t random; // the generator's state
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
    *s = (sampler){.how = *how, .random = how->seed, .n = n};
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

// Uniform in [0, 1), of 53 random bits.
static double uniform(uint64_t *state)
{
    double u = (double)(random_splitmix64(*state) >> 11) * 0x1p-53;
    *state += RANDOM_GAMMA;
    return u;
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

// Draws among all ids, in the order of the ids. The walk repeats the additions of the total, so it
// cannot pass the end.
static int draw_all(sampler *s)
{
    double total = 0, passed = s->weights[0];
    for (size_t i = 0; i < s->n; i++)
        total += s->weights[i];
    double target = uniform(&s->random) * total;
    size_t i = 0;
    while (passed <= target)
        passed += s->weights[++i];
    return (int)i;
}

// The weight of the fewest of the `kept` best ids that have the share top_p of their weight.
static double nucleus(sampler *s, const float *logits, size_t kept)
{
    double total = 0;
    if (kept == s->n)
        for (size_t i = 0; i < s->n; i++) // spares the ranking of all
            total += s->weights[i];
    else
        for (size_t j = 0; j < kept; j++)
            total += s->weights[rank(s, logits, j)];
    double mass = 0;
    for (size_t j = 0; j < kept && mass < (double)s->how.top_p * total; j++)
        mass += s->weights[rank(s, logits, j)];
    return mass;
}

// Draws among the best, in the order of their ranks; this walk, too, repeats the additions of its
// mass.
static int draw_best(sampler *s, const float *logits, size_t kept)
{
    rank_none(s, logits);
    double target = uniform(&s->random) * nucleus(s, logits, kept), passed = 0;
    size_t j = 0;
    while ((passed += s->weights[rank(s, logits, j)]) <= target)
        j++;
    return rank(s, logits, j);
}

int sampler_choose(sampler *s, const float *logits)
{
    int best = best_of(logits, s->n);
    if (best < 0 || s->how.temperature <= 0)
        return best;
    for (size_t i = 0; i < s->n; i++)
        s->weights[i] = numeric_exp((logits[i] - logits[best]) / s->how.temperature);
    size_t kept = s->how.top_k > 0 && s->how.top_k < s->n ? s->how.top_k : s->n;
    return kept == s->n && s->how.top_p >= 1 ? draw_all(s) : draw_best(s, logits, kept);
}
