// Sums over what a speculation has counted.
#include "common/generate/speculation.h"

size_t speculation_passes(const speculation_counts *c)
{
    size_t n = 0;
    for (size_t k = 0; k <= SPECULATION_MOST; k++)
        n += c->passes[k];
    return n;
}

static size_t sum(const size_t counts[SPECULATION_MOST])
{
    size_t n = 0;
    for (size_t i = 0; i < SPECULATION_MOST; i++)
        n += counts[i];
    return n;
}

size_t speculation_tokens(const speculation_counts *c)
{
    return speculation_passes(c) + sum(c->accepted);
}

double speculation_rate(const speculation_counts *c)
{
    const size_t judged = sum(c->judged);
    return judged > 0 ? (double)sum(c->accepted) / (double)judged : 0;
}

double speculation_predicted(const speculation_counts *c)
{
    const double a = speculation_rate(c);
    double tokens = 0, reached = 1, of_pass = 0; // reached: a^k
    for (size_t k = 0; k <= SPECULATION_MOST; k++, reached *= a) {
        of_pass += reached; // 1 + a + ... + a^k
        tokens += of_pass * (double)c->passes[k];
    }
    const size_t passes = speculation_passes(c);
    return passes > 0 ? tokens / (double)passes : 0;
}
