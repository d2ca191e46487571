// The observer's calls, and the names of the stages.
#include "common/math/tap.h"

const char *stage_name(stage s)
{
    static const char *const names[STAGES] = {
        "embed",   "ln1",    "q",    "k",   "v",  "stored k", "stored v", "sees", "scores",
        "softmax", "attend", "proj", "ln2", "fc", "gelu",     "fcproj",   "lnf",  "logits"};
    return names[s];
}

void tap_rows(const tap *to, stage s, int layer, size_t first, const rows *x, size_t n)
{
    for (size_t r = 0; to->fn && r < n; r++)
        to->fn(to->user, s, layer, -1, first + r, row(x, r), x->n);
}

void tap_head(const tap *to, stage s, int layer, size_t head, size_t position, const float *values,
              size_t n)
{
    if (to->fn)
        to->fn(to->user, s, layer, (int)head, position, values, n);
}
