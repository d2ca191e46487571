// Attention, one head and one tile of rows at a time: scores, softmax, and the weighted sum of
// values, each read from the pages in which they lie.
#include <math.h>
#include <string.h>

#include "common/base/size.h"
#include "common/kv/store.h"
#include "common/math/kernel.h"

// A tile at work: n <= TILE_ROWS rows of one head.
typedef struct tile {
    kv *s;
    activations *a;
    const tap *to;
    int layer;   // of the model
    size_t l, g; // layer of the store, head
    size_t n;    // rows
    size_t t;    // position of the first,
    size_t r;    // which is this row of the activations
    visible see[TILE_ROWS];
} tile;

static const page *page_of(const tile *at, size_t position)
{
    return *kv_page(at->s, at->l, position / at->s->shape.P);
}

// Where the page of this position ends, or `end` before that.
static size_t page_end(const tile *at, size_t position, size_t end)
{
    const size_t P = at->s->shape.P;
    return size_min((position / P + 1) * P, end);
}

// scores = q.k for all rows and the positions [from, to), both multiples of 16.
static void score_range(const tile *at, size_t from, size_t to)
{
    const page_shape *shape = &at->s->shape;
    const rows *scores = &at->a->scores;
    const float *q = row(&at->a->q, at->r) + at->g * shape->D;
    for (size_t end; from < to; from = end) {
        end = page_end(at, from, to);
        const size_t slot = from % shape->P;
        kernel_product(at->n, shape->D, q, at->a->q.stride,
                       page_keys(shape, page_of(at, from), at->g, slot, slot + end - from),
                       scores->at + from, scores->stride, NULL, false);
    }
}

static void score(const tile *at)
{
    const visible *first = &at->see[0], *last = &at->see[at->n - 1];
    const size_t sinks = padded(last->sinks), from = first->from / LANES * LANES;
    score_range(at, 0, sinks);
    score_range(at, from > sinks ? from : sinks, padded(last->to));
}

// y += p.V for rows [i, i + n) of the tile over the positions [from, to), ascending.
static void weigh_range(const tile *at, size_t i, size_t n, size_t from, size_t to)
{
    const page_shape *shape = &at->s->shape;
    const rows *p = &at->a->scores, *y = &at->a->attended;
    for (size_t end; from < to; from = end) {
        end = page_end(at, from, to);
        kernel_product(n, end - from, row(p, i) + from, p->stride,
                       page_values(shape, page_of(at, from), at->g, from % shape->P), row(y, i),
                       y->stride, NULL, true);
    }
}

// y = p.V for all rows. What every row sees, they go over together; before that and behind it each
// row goes on alone, from its own sums. To mask what a row does not see by zero instead would be
// wrong: 0 Inf is NaN, and fma(0, v, -0) is +0.
static void weigh(const tile *at)
{
    const visible *first = &at->see[0], *last = &at->see[at->n - 1];
    const bool together = first->sinks == last->sinks && last->from < first->to;
    for (size_t i = 0; i < at->n; i++)
        memset(row(&at->a->attended, i), 0, padded(at->s->shape.D) * sizeof(float));
    if (together)
        weigh_range(at, 0, at->n, 0, last->sinks);
    for (size_t i = 0; i < at->n; i++) {
        if (!together)
            weigh_range(at, i, 1, 0, at->see[i].sinks);
        weigh_range(at, i, 1, at->see[i].from, together ? last->from : at->see[i].to);
    }
    if (together)
        weigh_range(at, 0, at->n, last->from, first->to);
    for (size_t i = 1; together && i < at->n; i++)
        weigh_range(at, i, 1, first->to, at->see[i].to);
}

static void show_positions(const tile *at, size_t i)
{
    float *positions = at->a->shown.at;
    const visible see = at->see[i];
    for (size_t j = 0; j < see.sinks; j++)
        positions[j] = (float)j;
    for (size_t j = see.from; j < see.to; j++)
        positions[see.sinks + j - see.from] = (float)j;
    tap_head(at->to, STAGE_SEES, at->layer, at->g, at->t + i, positions, softmax_count(see));
}

static void show_visible(const tile *at, stage s, size_t i)
{
    const visible see = at->see[i];
    const float *values = row(&at->a->scores, i);
    if (see.from > see.sinks)
        values = softmax_gather(values, see, at->a->shown.at);
    tap_head(at->to, s, at->layer, at->g, at->t + i, values, softmax_count(see));
}

// Each stage is shown before the next one begins, so that an observer with a clock can tell them
// apart.
static void attend_tile(tile *at)
{
    const size_t D = at->s->shape.D;
    const float scale = 1.0f / sqrtf((float)D);
    const bool watched = at->to->fn;
    float max[TILE_ROWS];
    for (size_t i = 0; i < at->n; i++)
        at->see[i] = at->s->keep->sees(&at->s->spec, at->t + i);
    for (size_t i = 0; watched && i < at->n; i++)
        show_positions(at, i);
    score(at);
    for (size_t i = 0; i < at->n; i++)
        max[i] = softmax_scale(row(&at->a->scores, i), at->see[i], scale);
    for (size_t i = 0; watched && i < at->n; i++)
        show_visible(at, STAGE_SCORES, i);
    for (size_t i = 0; i < at->n; i++)
        softmax_row(row(&at->a->scores, i), at->see[i], max[i]);
    for (size_t i = 0; watched && i < at->n; i++)
        show_visible(at, STAGE_SOFTMAX, i);
    weigh(at);
    for (size_t i = 0; i < at->n; i++)
        memcpy(row(&at->a->heads, at->r + i) + at->g * D, row(&at->a->attended, i),
               D * sizeof(float));
    for (size_t i = 0; watched && i < at->n; i++)
        tap_head(at->to, STAGE_ATTEND, at->layer, at->g, at->t + i, row(&at->a->attended, i), D);
}

static status misfit(const kv *s, size_t l, size_t g, size_t t, const char *what, float x)
{
    return status_fail("layer %zu, head %zu, position %zu: a %s of %g cannot be kept as %s: use "
                       "--kv f32",
                       l, g, t, what, (double)x, s->shape.form->name);
}

// One head's keys and values of n rows from row r on, at positions t.. of one panel. Where a number
// does not fit, *end becomes the index of its row.
static status store_head(kv *s, size_t l, size_t g, size_t t, const rows *k_rows,
                         const rows *v_rows, size_t r, size_t n, size_t *end)
{
    const size_t D = s->shape.D, slot = t % s->shape.P;
    page *in = *kv_page(s, l % s->layers, t / s->shape.P);
    const float *k = row(k_rows, r) + g * D, *v = row(v_rows, r) + g * D;
    const page_misfit of_k =
        page_write_keys(&s->shape, in, g, slot, k, k_rows->stride, n, s->scratch);
    for (size_t i = 0; i < n && i <= of_k.row; i++) {
        const float *value = v + i * v_rows->stride;
        const size_t of_v = page_write_value(&s->shape, in, g, slot + i, value, s->scratch);
        if (i < of_k.row && of_v == D)
            continue;
        *end = i;
        return i == of_k.row ? misfit(s, l, g, t + i, "key", k[i * k_rows->stride + of_k.channel])
                             : misfit(s, l, g, t + i, "value", value[of_v]);
    }
    return NULL;
}

// n rows of k and v from row r on, at positions t.., panel by panel, and in a panel head by head:
// its sixteen keys share their cache lines. A failure is that of the first position.
static status store_rows(kv *s, size_t l, size_t t, const rows *k, const rows *v, size_t r,
                         size_t n)
{
    status failed = NULL;
    for (size_t done = 0, some; !failed && done < n; done += some) {
        some = size_min(n - done, LANES - (t + done) % LANES);
        kv_place_page(s, l % s->layers, (t + done) / s->shape.P);
        size_t end = some;
        for (size_t g = 0; g < s->shape.G && end > 0; g++) {
            status wrong = store_head(s, l, g, t + done, k, v, r + done, end, &end);
            failed = wrong ? wrong : failed;
        }
    }
    return failed;
}

// Shows the keys, or the values, of n rows from position t on as every row reads them.
static void show_stored(kv *s, stage keys_or_values, size_t l, size_t t, size_t n, const tap *to)
{
    for (size_t i = t; i < t + n; i++)
        for (size_t g = 0; g < s->shape.G; g++) {
            const page *in = *kv_page(s, l % s->layers, i / s->shape.P);
            (keys_or_values == STAGE_STORED_K ? page_read_key : page_read_value)(
                &s->shape, in, g, i % s->shape.P, s->row, s->scratch);
            tap_head(to, keys_or_values, (int)l, g, i, s->row, s->shape.D);
        }
}

// Rows [r, r + n) of the activations, the first of them at position t, over what is stored.
static void attend_rows(kv *s, size_t l, size_t t, activations *a, size_t r, size_t n,
                        const tap *to)
{
    tile at = {.s = s, .a = a, .to = to, .layer = (int)l, .l = l % s->layers};
    for (at.g = 0; at.g < s->shape.G; at.g++)
        for (size_t i = 0; i < n; i += at.n) {
            at.n = size_min(n - i, TILE_ROWS);
            at.t = t + i;
            at.r = r + i;
            attend_tile(&at);
        }
}

status kv_attend(kv *s, size_t l, size_t first, activations *a, size_t n, const tap *to)
{
    if (first == 0)
        kv_empty(s, l % s->layers);
    for (size_t r = 0, some; r < n; r += some) {
        const size_t t = first + r;
        some = s->spec.keep == KV_ALL ? n : size_min(n - r, s->shape.P - t % s->shape.P);
        status failed = store_rows(s, l, t, &a->k, &a->v, r, some);
        if (failed)
            return failed;
        for (stage shown = STAGE_STORED_K; to->fn && shown <= STAGE_STORED_V; shown++)
            show_stored(s, shown, l, t, some, to);
        attend_rows(s, l, t, a, r, some, to);
        kv_drop(s, l % s->layers, t + some);
    }
    return NULL;
}

status kv_store(kv *s, size_t l, size_t first, const rows *k, const rows *v, size_t n)
{
    return store_rows(s, l, first, k, v, 0, n);
}
