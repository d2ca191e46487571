// Attention, one head and one tile of rows at a time: scores, softmax, and the weighted sum of
// values.
#include "common/kv/attention.h"

#include <math.h>
#include <string.h>

#include "common/math/rowops.h"

// p.V for a tile whose row r has `keys + r` keys. All rows go together to the shortest one's end;
// then each longer row goes on alone from its stored sums. To mask the extra keys by zero instead
// would be wrong: 0 Inf is NaN, and fma(0, v, -0) is +0.
static void weigh_values(panels values, size_t keys, const rows *p, rows *y, size_t n)
{
    kernel_product(n, keys, p->at, p->stride, values, y->at, y->stride, NULL, false);
    values.at += keys * LANES;
    for (size_t r = 1; r < n; r++)
        kernel_product(1, r, row(p, r) + keys, p->stride, values, row(y, r), y->stride, NULL, true);
}

// Shows n scores as softmax is going to scale them. It scales its own on the way, so that nobody
// waits for an observer who is not there.
static void show_scores(const tap *to, size_t head, size_t position, const float *scores,
                        float scale, float *scaled, size_t n)
{
    for (size_t i = 0; to->fn && i < n; i++)
        scaled[i] = scores[i] * scale;
    tap_head(to, STAGE_SCORES, head, position, scaled, n);
}

// Rows [from, from + n) of one head; n <= TILE_ROWS. Each stage is shown before the next one
// begins, so that an observer with a clock can tell them apart.
static void attend_tile(const kv *kept, size_t l, size_t head, size_t first, size_t from,
                        activations *a, size_t n, const tap *to)
{
    const size_t keys = first + from + 1; // of the tile's first row; each further row has one more
    const float scale = 1.0f / sqrtf((float)kept->D);
    const float *q = row(&a->q, from) + head * kept->D;
    kernel_product(n, kept->D, q, a->q.stride, kv_keys(kept, l, head, keys + n - 1), a->scores.at,
                   a->scores.stride, NULL, false);
    for (size_t r = 0; r < n; r++)
        show_scores(to, head, first + from + r, row(&a->scores, r), scale, a->scaled.at, keys + r);
    for (size_t r = 0; r < n; r++)
        rowops_softmax(row(&a->scores, r), keys + r, scale);
    for (size_t r = 0; r < n; r++)
        tap_head(to, STAGE_SOFTMAX, head, first + from + r, row(&a->scores, r), keys + r);
    weigh_values(kv_values(kept, l, head), keys, &a->scores, &a->attended, n);
    for (size_t r = 0; r < n; r++) {
        memcpy(row(&a->heads, from + r) + head * kept->D, row(&a->attended, r),
               kept->D * sizeof(float));
        tap_head(to, STAGE_ATTEND, head, first + from + r, row(&a->attended, r), kept->D);
    }
}

void attention(const kv *kept, size_t l, size_t first, activations *a, size_t n, const tap *to)
{
    for (size_t head = 0; head < kept->H; head++)
        for (size_t from = 0; from < n; from += TILE_ROWS)
            attend_tile(kept, l, head, first, from, a, n - from < TILE_ROWS ? n - from : TILE_ROWS,
                        to);
}
