// The observer's calls, and the names of the stages.
#include "common/tap.h"

const char *stage_name(stage s)
{
    static const char *const names[STAGES] = {"embed", "ln1", "q",  "k",    "v",      "scores", "softmax", "attend",
                                              "proj",  "ln2", "fc", "gelu", "fcproj", "lnf",    "logits"};
    return names[s];
}

void tap_rows(const tap *to, stage s, const rows *x, size_t n)
{
    for (size_t r = 0; to->fn && r < n; r++)
        to->fn(to->user, s, to->layer, -1, to->first + r, row(x, r), x->n);
}

void tap_head(const tap *to, stage s, size_t head, size_t position, const float *values, size_t n)
{
    if (to->fn)
        to->fn(to->user, s, to->layer, (int)head, position, values, n);
}

status decoder_check(const model *m, size_t T_max, const int *tokens, size_t T)
{
    if (T == 0)
        return status_fail("a step needs at least one token");
    if (T > T_max)
        return status_fail("%zu tokens are more than the %zu this decoder was made for: create it with a larger T_max",
                           T, T_max);
    for (size_t t = 0; t < T; t++)
        if (tokens[t] < 0 || (size_t)tokens[t] >= m->config.V)
            return status_fail("token id %d at position %zu is outside 0..%zu: use ids of this model's vocabulary",
                               tokens[t], t, m->config.V - 1);
    return NULL;
}
