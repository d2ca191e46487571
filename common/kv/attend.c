// Attention, one head and a band of rows at a time: scores, softmax, and the weighted sum of
// values, each read from the pages in which they lie.
#include <math.h>
#include <string.h>

#include "common/base/size.h"
#include "common/kv/store.h"
#include "common/math/kernel.h"

// A band at work: n <= BAND_ROWS rows of one head.
typedef struct band {
    kv *s;
    activations *a;
    const tap *to;
    int layer;   // of the model
    size_t l, g; // layer of the store, K/V head
    size_t h;    // query head, which reads it
    size_t n;    // rows
    size_t t;    // position of the first,
    size_t r;    // which is this row of the activations
    visible see[BAND_ROWS];
} band;

// The band's head of the page of this position, as a page of one head.
static const page *head_of(const band *at, size_t position)
{
    return kv_head(at->s, at->l, at->g, position / at->s->shape.P, false);
}

// Where the page of this position ends, or `end` before that.
static size_t page_end(const band *at, size_t position, size_t end)
{
    const size_t P = at->s->shape.P;
    return size_min((position / P + 1) * P, end);
}

// scores = q.k for rows [i, i + n) and the positions [from, to), both multiples of 16.
static void score_range(const band *at, size_t i, size_t n, size_t from, size_t to)
{
    const page_shape *shape = &at->s->shape;
    const rows *scores = &at->a->scores;
    const float *q = row(&at->a->q, at->r + i) + at->h * shape->D;
    const size_t own = shape->group ? kv_group_start(at->s, at->t) : to;
    for (size_t end; from < to; from = end) {
        end = from < own ? page_end(at, from, size_min(own, to)) : to;
        const size_t slot = from % shape->P;
        const page *in = from < own ? head_of(at, from) : NULL;
        if (from < own && !in)
            return;
        const panels keys = from < own ? page_keys(shape, in, 0, slot, slot + end - from)
                                       : kv_own_keys(at->s, at->l, at->g, from, end);
        kernel_product(n, shape->D, q, at->a->q.stride, keys, row(scores, i) + from, scores->stride,
                       NULL, false);
    }
}

// All rows go as far as the first one together, and from there tile by tile.
static void score(const band *at)
{
    const visible *first = &at->see[0], *last = &at->see[at->n - 1];
    const size_t sinks = padded(last->sinks), from = first->from / LANES * LANES,
                 together = padded(first->to);
    score_range(at, 0, at->n, 0, sinks);
    score_range(at, 0, at->n, size_max(from, sinks), together);
    for (size_t i = 0, n; i < at->n; i += n) {
        n = size_min(at->n - i, TILE_ROWS);
        score_range(at, i, n, size_max(together, sinks), padded(at->see[i + n - 1].to));
    }
}

// y += p.V for rows [i, i + n) over the positions [from, to), ascending.
static void weigh_range(const band *at, size_t i, size_t n, size_t from, size_t to)
{
    const page_shape *shape = &at->s->shape;
    const rows *p = &at->a->scores, *y = &at->a->attended;
    for (size_t end; from < to; from = end) {
        end = page_end(at, from, to);
        const page *in = head_of(at, from);
        if (!in)
            return;
        kernel_product(n, end - from, row(p, i) + from, p->stride,
                       page_values(shape, in, 0, from % shape->P), row(y, i), y->stride, NULL,
                       true);
    }
}

static void weigh_rows(const band *at, size_t i, size_t n, size_t from, size_t to);

// The same in parts of `some` rows.
static void weigh_parts(const band *at, size_t i, size_t n, size_t some, size_t from, size_t to)
{
    for (const size_t end = i + n; from < to && i < end; i += some)
        weigh_rows(at, i, size_min(end - i, some), from, to);
}

// y += p.V for rows [i, i + n) over what each of them sees of the positions [from, to), its sinks
// aside. What every row sees, they go over together; before that and behind it go tiles, and in a
// tile each row alone, from their own sums. To mask what a row does not see by zero instead would
// be wrong: 0 Inf is NaN, and fma(0, v, -0) is +0.
static void weigh_rows(const band *at, size_t i, size_t n, size_t from, size_t to)
{
    const size_t begin = size_max(from, at->see[i + n - 1].from), end = size_min(to, at->see[i].to),
                 some = n > TILE_ROWS ? TILE_ROWS : 1;
    if (n > 1 && begin >= end) {
        weigh_parts(at, i, n, some, from, to);
        return;
    }
    if (n > 1)
        weigh_parts(at, i, n, some, from, begin);
    weigh_range(at, i, n, begin, end);
    if (n > 1)
        weigh_parts(at, i, n, some, end, to);
}

// y = p.V for all rows.
static void weigh(const band *at)
{
    const visible *first = &at->see[0], *last = &at->see[at->n - 1];
    const bool together = first->sinks == last->sinks;
    for (size_t i = 0; i < at->n; i++)
        memset(row(&at->a->attended, i), 0, padded(at->s->shape.D) * sizeof(float));
    if (together)
        weigh_range(at, 0, at->n, 0, last->sinks);
    for (size_t i = 0; !together && i < at->n; i++)
        weigh_range(at, i, 1, 0, at->see[i].sinks);
    weigh_rows(at, 0, at->n, 0, last->to);
}

static void show_positions(const band *at, size_t i)
{
    float *positions = at->a->shown.at;
    const visible see = at->see[i];
    for (size_t j = 0; j < see.sinks; j++)
        positions[j] = (float)j;
    for (size_t j = see.from; j < see.to; j++)
        positions[see.sinks + j - see.from] = (float)j;
    tap_head(at->to, STAGE_SEES, at->layer, at->g, at->t + i, positions, softmax_count(see));
}

static void show_visible(const band *at, stage s, size_t i)
{
    const visible see = at->see[i];
    const float *values = row(&at->a->scores, i);
    if (see.from > see.sinks)
        values = softmax_gather(values, see, at->a->shown.at);
    tap_head(at->to, s, at->layer, at->h, at->t + i, values, softmax_count(see));
}

// Each stage is shown before the next one begins, so that an observer with a clock can tell them
// apart.
static status attend_band(band *at)
{
    const size_t D = at->s->shape.D, group = at->a->q.n / at->a->k.n;
    const float scale = 1.0f / sqrtf((float)D);
    const bool watched = at->to->fn;
    float max[BAND_ROWS];
    for (size_t i = 0; i < at->n; i++)
        at->see[i] = at->s->keep->sees(&at->s->spec, at->t + i);
    for (size_t i = 0; watched && at->h % group == 0 && i < at->n; i++) // once a K/V head
        show_positions(at, i);
    score(at);
    if (kv_failed(at->s))
        return kv_failed(at->s);
    for (size_t i = 0; i < at->n; i++)
        max[i] = softmax_scale(row(&at->a->scores, i), at->see[i], scale);
    for (size_t i = 0; watched && i < at->n; i++)
        show_visible(at, STAGE_SCORES, i);
    for (size_t i = 0; i < at->n; i++)
        softmax_row(row(&at->a->scores, i), at->see[i], max[i]);
    for (size_t i = 0; watched && i < at->n; i++)
        show_visible(at, STAGE_SOFTMAX, i);
    weigh(at);
    if (kv_failed(at->s))
        return kv_failed(at->s);
    for (size_t i = 0; i < at->n; i++)
        memcpy(row(&at->a->heads, at->r + i) + at->h * D, row(&at->a->attended, i),
               D * sizeof(float));
    for (size_t i = 0; watched && i < at->n; i++)
        tap_head(at->to, STAGE_ATTEND, at->layer, at->h, at->t + i, row(&at->a->attended, i), D);
    return NULL;
}

status kv_misfit(kv_form as, size_t l, size_t g, size_t t, const char *what, float x)
{
    return status_fail("layer %zu, head %zu, position %zu: a %s of %g cannot be kept as %s: use "
                       "--kv f32",
                       l, g, t, what, (double)x, kv_form_word(as));
}

// One head's keys and values of n rows from row r on, at positions t.. of one panel. Where a number
// does not fit, *end becomes the index of its row.
static status store_head(kv *s, size_t l, size_t g, size_t t, const rows *k_rows,
                         const rows *v_rows, size_t r, size_t n, size_t *end)
{
    const size_t D = s->shape.D, slot = t % s->shape.P;
    page *in = kv_head(s, l % s->layers, g, t / s->shape.P, true);
    if (!in) {
        *end = 0;
        return kv_failed(s);
    }
    const float *k = row(k_rows, r) + g * D, *v = row(v_rows, r) + g * D;
    const page_misfit of_k =
        s->shape.group ? kv_write_own(s, l % s->layers, g, t, k, k_rows->stride, n)
                       : page_write_keys(&s->shape, in, 0, slot, k, k_rows->stride, n, s->scratch);
    for (size_t i = 0; i < n && i <= of_k.row; i++) {
        const float *value = v + i * v_rows->stride;
        const size_t of_v = page_write_value(&s->shape, in, 0, slot + i, value, s->scratch);
        if (i < of_k.row && of_v == D)
            continue;
        *end = i;
        return i == of_k.row ? kv_misfit(s->spec.form, l, g, t + i, "key",
                                         k[i * k_rows->stride + of_k.channel])
                             : kv_misfit(s->spec.form, l, g, t + i, "value", value[of_v]);
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

// Shows the keys, or the values, of n rows from position t on as the row behind them reads them.
static status show_stored(kv *s, stage keys_or_values, size_t l, size_t t, size_t n, const tap *to)
{
    const size_t at = l % s->layers, own = s->shape.group ? kv_group_start(s, t + n) : t + n;
    for (size_t i = t; to->fn && i < t + n; i++)
        for (size_t g = 0; g < s->shape.G; g++) {
            const bool exact = keys_or_values == STAGE_STORED_K && i >= own;
            const page *in = exact ? NULL : kv_head(s, at, g, i / s->shape.P, false);
            if (!exact && !in)
                return kv_failed(s);
            if (exact)
                kv_read_own(s, at, g, i, s->row);
            else
                (keys_or_values == STAGE_STORED_K ? page_read_key : page_read_value)(
                    &s->shape, in, 0, i % s->shape.P, s->row, s->scratch);
            tap_head(to, keys_or_values, (int)l, g, i, s->row, s->shape.D);
        }
    return NULL;
}

// Rows [r, r + n) of the activations, the first of them at position t, over what is stored.
static status attend_rows(kv *s, size_t l, size_t t, activations *a, size_t r, size_t n,
                          const tap *to)
{
    band at = {.s = s, .a = a, .to = to, .layer = (int)l, .l = l % s->layers};
    status failed = NULL;
    const size_t H = a->q.n / s->shape.D;
    for (at.h = 0; !failed && at.h < H; at.h++) {
        at.g = at.h * s->shape.G / H;
        for (size_t i = 0; !failed && i < n; i += at.n) {
            at.n = size_min(n - i, BAND_ROWS);
            at.t = t + i;
            at.r = r + i;
            failed = attend_band(&at);
        }
    }
    return failed;
}

// Where the file failed, what it holds is in doubt: no row stays. Returns the failure.
static status give_up(kv *s, status failed)
{
    if (kv_failed(s))
        kv_forget(s);
    return failed;
}

// Rows from position t on, of `left`, that are stored before any of them attends. Under a window
// those of one page, so that the oldest page can go; of kivi those of one group, which later rows
// read in another form.
static size_t stretch(const kv *s, size_t t, size_t left)
{
    const size_t P = s->shape.P, G = s->shape.group;
    left = s->spec.keep == KV_ALL ? left : size_min(left, P - t % P);
    return G ? size_min(left, G - t % G) : left;
}

// Rows t - n to t - 1 of kivi, all of the call so far, have attended: their group ends with the
// last of them, or, behind the `last` stretch of the call, stays as it is.
static status end_stretch(kv *s, size_t l, size_t t, size_t n, bool last, const tap *to)
{
    const size_t group = s->shape.group;
    n = size_min(n, t % group);
    if (n > 0)
        return last ? show_stored(s, STAGE_STORED_K, l, t - n, n, to) : NULL;
    status failed = kv_end_group(s, l, t);
    return failed ? failed : show_stored(s, STAGE_STORED_K, l, t - group, group, to);
}

// Rows [r, r + n): stores them, attends, and drops what no later row needs. `last`: none follow
// in this call.
static status pass_rows(kv *s, size_t l, size_t t, activations *a, size_t r, size_t n, bool last,
                        const tap *to)
{
    status failed = store_rows(s, l, t, &a->k, &a->v, r, n);
    if (!failed && !s->shape.group)
        failed = show_stored(s, STAGE_STORED_K, l, t, n, to);
    if (!failed)
        failed = show_stored(s, STAGE_STORED_V, l, t, n, to);
    if (!failed)
        failed = attend_rows(s, l, t, a, r, n, to);
    if (!failed && s->shape.group)
        failed = end_stretch(s, l, t + n, r + n, last, to);
    if (!failed)
        kv_drop(s, l % s->layers, t + n);
    return failed;
}

status kv_attend(kv *s, size_t l, size_t first, activations *a, size_t n, const tap *to)
{
    status failed = NULL;
    if (s->heavy)
        return heavy_attend(s->heavy, l, first, a, n, to);
    if (first == 0)
        kv_empty(s, l % s->layers);
    if (s->file) // the next layer's pages are on their way while this one computes
        place_file_expect(s->file, (l + 1) % s->layers, kv_pages_for(s, first + n));
    for (size_t r = 0, some; !failed && r < n; r += some) {
        const size_t t = first + r;
        some = stretch(s, t, n - r);
        failed = pass_rows(s, l, t, a, r, some, r + some == n, to);
    }
    return failed ? give_up(s, failed) : NULL;
}

status kv_store(kv *s, size_t l, size_t first, const rows *k, const rows *v, size_t n)
{
    status failed = NULL;
    for (size_t r = 0, some; !failed && r < n; r += some) {
        const size_t G = s->shape.group, t = first + r;
        some = G ? size_min(n - r, G - t % G) : n;
        failed = store_rows(s, l, t, k, v, r, some);
        if (!failed && G && (t + some) % G == 0)
            failed = kv_end_group(s, l, t + some);
    }
    return failed ? give_up(s, failed) : NULL;
}
