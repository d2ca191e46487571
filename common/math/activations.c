// One block, cut into rows.
#include "common/math/activations.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/math/kernel.h"

// Cuts `count` rows of n values off the block at *used floats; a NULL block only counts.
static rows cut(float *block, size_t *used, size_t count, size_t n)
{
    rows r = {.at = block ? block + *used : NULL, .n = n, .stride = rows_stride(n)};
    *used += count * r.stride;
    return r;
}

static size_t cut_all(const config *c, size_t T, activations *a)
{
    size_t used = 0;
    a->x = cut(a->block, &used, T, c->C);
    a->normed = cut(a->block, &used, T, c->C);
    a->qkv = cut(a->block, &used, T, c->C + 2 * config_kv_width(c));
    a->heads = cut(a->block, &used, T, c->C);
    a->hidden = cut(a->block, &used, T, c->F);
    a->change = cut(a->block, &used, T, c->C);
    a->scores = cut(a->block, &used, BAND_ROWS, T);
    a->shown = cut(a->block, &used, 1, T);
    a->attended = cut(a->block, &used, BAND_ROWS, config_head_size(c));
    a->logits = cut(a->block, &used, 1, c->V);
    return used;
}

size_t activations_bytes(const config *c, size_t T)
{
    return cut_all(c, T, &(activations){0}) * sizeof(float);
}

status activations_create(const config *c, size_t T, activations *out)
{
    *out = (activations){.block = memory_block(activations_bytes(c, T))};
    if (!out->block)
        return memory_failed("activations");
    cut_all(c, T, out);
    out->room = 1;
    out->q = rows_columns(&out->qkv, 0, c->C);
    out->k = rows_columns(&out->qkv, c->C, config_kv_width(c));
    out->v = rows_columns(&out->qkv, c->C + config_kv_width(c), config_kv_width(c));
    return NULL;
}

status activations_reserve(activations *a, size_t wanted)
{
    if (wanted <= a->room)
        return NULL;
    float *more = memory_block(size_times(size_times(wanted, a->logits.stride), sizeof *more));
    if (!more)
        return memory_failed("the logits of all rows that are wanted");
    memory_free(a->more);
    a->more = more;
    a->logits.at = more;
    a->room = wanted;
    return NULL;
}

const float *activations_logits(activations *a, size_t wanted)
{
    const rows *y = &a->logits;
    for (size_t r = 1; r < wanted; r++)
        memmove(y->at + r * y->n, row(y, r), y->n * sizeof *y->at);
    return y->at;
}

void activations_free(activations *a)
{
    memory_free(a->block);
    memory_free(a->more);
    *a = (activations){0};
}
