// The keep heavy:R+H (heavy hitters: H2O, Zhang et al. 2023). Row by row, for each layer and K/V
// head: the row attends over what is kept and itself; it joins that with score 0; each score grows
// by the weight that the row gave; and if more than R + H rows are kept then, the one with the
// lowest score leaves, of those that are not among the last R.
//
// Because this goes row by row, a prompt in chunks keeps the same rows as one at once. What a row
// sees depends on its predecessors alone: so a recompute under the same spec agrees in every bit.
#include "common/kv/keep/heavy.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/kv/keep/eviction.h"
#include "common/kv/store.h"
#include "common/math/rowops.h"
#include "common/number/numeric.h"

struct heavy {
    size_t most, slots; // R + H, but at most T; slots of a head
    size_t layers;
    size_t bytes; // of all that, as heavy_memory counts them
    kv_form form;
    page_shape shape; // of a layer: one page with all its slots
    page *pages;      // (layers)
    head *heads;      // (layers, G)
    kept *rows;       // theirs
    uint32_t *spare;  // theirs
    float *scores;    // theirs
    size_t *length;   // (layers): rows that the layer has walked over,
    size_t *undoable; // and how many of them the journal can take back
    float *product;   // (slots padded): q.k by slot
    float *k;         // (D): a key or a value as it is read
    void *scratch;    // (16, D) numbers
};

// The most rows that are kept after a row, and the slots for them: one more for the row that joins,
// and one for each that the journal may bring back.
static size_t most_kept(const kv_spec *spec, size_t T)
{
    return size_min(size_plus(spec->recent, spec->heavy), T);
}

static size_t slots_of(const kv_spec *spec, size_t T)
{
    return size_min(most_kept(spec, T) + 1 + JOURNAL, T);
}

static page_shape shape_of(const config *c, const kv_spec *spec, size_t T)
{
    kv_spec slots = *spec;
    slots.page = padded(slots_of(spec, T));
    return page_shape_of(&slots, c);
}

size_t heavy_memory(const config *c, size_t layers, const kv_spec *spec, size_t T)
{
    const page_shape shape = shape_of(c, spec, T);
    const size_t most = most_kept(spec, T);
    const size_t head_bytes = sizeof(head) + (most + 1) * sizeof(kept) +
                              slots_of(spec, T) * sizeof(uint32_t) + JOURNAL * most * sizeof(float);
    return size_times(layers, size_plus(shape.bytes, size_times(shape.G, head_bytes)));
}

static void empty_layer(heavy *y, size_t l)
{
    for (size_t g = 0; g < y->shape.G; g++)
        eviction_begin(&y->heads[l * y->shape.G + g], y->slots);
    y->length[l] = y->undoable[l] = 0;
}

void heavy_forget(heavy *y)
{
    for (size_t l = 0; l < y->layers; l++)
        empty_layer(y, l);
}

status heavy_create(const config *c, size_t layers, const kv_spec *spec, size_t T, heavy **out)
{
    heavy *y = memory_array(1, sizeof *y);
    *out = NULL;
    if (!y)
        return memory_failed("keys and values");
    *y = (heavy){.most = most_kept(spec, T),
                 .slots = slots_of(spec, T),
                 .layers = layers,
                 .form = spec->form,
                 .bytes = heavy_memory(c, layers, spec, T),
                 .shape = shape_of(c, spec, T)};
    const size_t heads = size_times(layers, y->shape.G);
    y->pages = memory_block(size_times(layers, y->shape.bytes));
    y->heads = memory_array(heads, sizeof *y->heads);
    y->rows = memory_array(size_times(heads, y->most + 1), sizeof *y->rows);
    y->spare = memory_array(size_times(heads, y->slots), sizeof *y->spare);
    y->scores = memory_array(size_times(heads, JOURNAL * y->most), sizeof *y->scores);
    y->length = memory_array(layers, sizeof *y->length);
    y->undoable = memory_array(layers, sizeof *y->undoable);
    y->product = memory_array(padded(y->slots), sizeof *y->product);
    y->k = memory_array(padded(y->shape.D), sizeof *y->k);
    y->scratch = memory_array(LANES * padded(y->shape.D), sizeof(float));
    if (!y->pages || !y->heads || !y->rows || !y->spare || !y->scores || !y->length ||
        !y->undoable || !y->product || !y->k || !y->scratch) {
        heavy_free(y);
        return memory_failed("keys and values");
    }
    for (size_t i = 0; i < heads; i++) {
        y->heads[i].recent = spec->recent;
        y->heads[i].most = y->most;
        y->heads[i].rows = y->rows + i * (y->most + 1);
        y->heads[i].spare = y->spare + i * y->slots;
        y->heads[i].scores = y->scores + i * JOURNAL * y->most;
    }
    heavy_forget(y);
    *out = y;
    return NULL;
}

void heavy_free(heavy *y)
{
    if (!y)
        return;
    memory_free(y->pages);
    memory_free(y->heads);
    memory_free(y->rows);
    memory_free(y->spare);
    memory_free(y->scores);
    memory_free(y->length);
    memory_free(y->undoable);
    memory_free(y->product);
    memory_free(y->k);
    memory_free(y->scratch);
    memory_free(y);
}

size_t heavy_bytes(const heavy *y)
{
    return y->bytes;
}

void heavy_begin(const heavy *y, size_t most, size_t *first)
{
    *first = most;
    for (size_t l = 0; l < y->layers; l++)
        if (y->length[l] < most || y->length[l] - most > y->undoable[l])
            *first = 0;
}

// Makes row `first` of layer l the next one.
static void go_back(heavy *y, size_t l, size_t first)
{
    if (first == 0)
        empty_layer(y, l);
    for (; y->length[l] > first; y->length[l]--, y->undoable[l]--)
        for (size_t g = 0; g < y->shape.G; g++)
            eviction_undo(&y->heads[l * y->shape.G + g], y->length[l] - 1);
    y->length[l] = first;
}

// ---- one row ----

static page *page_at(const heavy *y, size_t l)
{
    return y->pages + l * y->shape.bytes;
}

// Row t's keys and values go where its heads have their next slot. Until it joins, nobody reads
// them: a number without such a form leaves all as it was.
static status write_row(const heavy *y, size_t l, size_t t, const float *k, const float *v)
{
    const page_shape *s = &y->shape;
    const size_t at = l % y->layers;
    for (size_t g = 0; g < s->G; g++, k += s->D, v += s->D) {
        const head *h = &y->heads[at * s->G + g];
        const size_t slot = h->spare[h->spares - 1];
        const size_t of_k =
            page_write_keys(s, page_at(y, at), g, slot, k, s->D, 1, y->scratch).channel;
        const size_t of_v = page_write_value(s, page_at(y, at), g, slot, v, y->scratch);
        if (of_k < s->D)
            return kv_misfit(y->form, l, g, t, "key", k[of_k]);
        if (of_v < s->D)
            return kv_misfit(y->form, l, g, t, "value", v[of_v]);
    }
    return NULL;
}

// What one row of one head works on.
typedef struct attending {
    heavy *y;
    head *of;
    const page *in;
    const tap *to;
    int layer;
    size_t g, h, t;   // K/V head, query head, position
    float *p, *shown; // (count): by kept row, ascending; what an observer is shown
} attending;

static void show_kept(const attending *at)
{
    const page_shape *s = &at->y->shape;
    const head *h = at->of;
    const size_t slot = h->rows[h->count - 1].slot;
    page_read_key(s, at->in, at->g, slot, at->y->k, at->y->scratch);
    tap_head(at->to, STAGE_STORED_K, at->layer, at->g, at->t, at->y->k, s->D);
    page_read_value(s, at->in, at->g, slot, at->y->k, at->y->scratch);
    tap_head(at->to, STAGE_STORED_V, at->layer, at->g, at->t, at->y->k, s->D);
    for (size_t i = 0; i < h->count; i++)
        at->shown[i] = (float)h->rows[i].position;
    tap_head(at->to, STAGE_SEES, at->layer, at->g, at->t, at->shown, h->count);
}

// p = q.k / sqrt(D). A score depends on its key alone, so all slots go through the kernel as they
// lie, and those that are kept are picked out.
static void score(const attending *at, const float *q)
{
    heavy *y = at->y;
    const size_t D = y->shape.D;
    const float scale = 1.0f / sqrtf((float)D);
    kernel_product(1, D, q, D, page_keys(&y->shape, at->in, at->g, 0, padded(y->slots)), y->product,
                   0, NULL, false);
    for (size_t i = 0; i < at->of->count; i++)
        at->p[i] = y->product[at->of->rows[i].slot] * scale;
}

// Softmax of what is kept. Position j adds to partial sum j mod 16, ascending (contract 4).
static void normalize(const attending *at)
{
    const head *h = at->of;
    float max = -INFINITY, partial[LANES] = {0}, *p = at->p;
    for (size_t i = 0; i < h->count; i++)
        max = p[i] > max ? p[i] : max;
#pragma omp simd
    for (size_t i = 0; i < h->count; i++)
        p[i] = numeric_exp(p[i] - max);
    for (size_t i = 0; i < h->count; i++)
        partial[h->rows[i].position % LANES] += p[i];
    const float inverse = 1.0f / rowops_fold_sum(partial);
#pragma omp simd
    for (size_t i = 0; i < h->count; i++)
        p[i] *= inverse;
}

// y = p.V, one chain over the kept positions, ascending. Neighbours that lie in neighbouring slots
// go through the kernel together.
static void weigh(const attending *at, float *sum)
{
    const page_shape *s = &at->y->shape;
    const kept *row_of = at->of->rows;
    memset(sum, 0, padded(s->D) * sizeof *sum);
    for (size_t i = 0, n; i < at->of->count; i += n) {
        for (n = 1; i + n < at->of->count && row_of[i + n].slot == row_of[i].slot + n; n++)
            ;
        kernel_product(1, n, at->p + i, n, page_values(s, at->in, at->g, row_of[i].slot), sum, 0,
                       NULL, true);
    }
}

// One query of (D) over what its K/V head keeps; adds the weights to the scores. y (D).
static void attend_query(const attending *at, const float *q, float *sum, float *y)
{
    head *h = at->of;
    const size_t D = at->y->shape.D;
    score(at, q);
    tap_head(at->to, STAGE_SCORES, at->layer, at->h, at->t, at->p, h->count);
    normalize(at);
    tap_head(at->to, STAGE_SOFTMAX, at->layer, at->h, at->t, at->p, h->count);
    for (size_t i = 0; i < h->count; i++)
        h->rows[i].score += at->p[i];
    weigh(at, sum);
    memcpy(y, sum, D * sizeof *y);
    tap_head(at->to, STAGE_ATTEND, at->layer, at->h, at->t, y, D);
}

// Row r of the activations, at position t, whose keys and values have been written.
static void attend_row(heavy *y, size_t l, size_t t, activations *a, size_t r, const tap *to)
{
    const size_t at = l % y->layers, D = y->shape.D, group = a->q.n / a->k.n;
    for (size_t g = 0; g < y->shape.G; g++) {
        head *h = &y->heads[at * y->shape.G + g];
        attending of = {y, h, page_at(y, at), to, (int)l, g, 0, t, a->scores.at, a->shown.at};
        eviction_join(h, t);
        if (to->fn)
            show_kept(&of);
        for (of.h = g * group; of.h < (g + 1) * group; of.h++)
            attend_query(&of, row(&a->q, r) + of.h * D, a->attended.at,
                         row(&a->heads, r) + of.h * D);
        eviction_leave(h, t);
    }
}

static void count_row(heavy *y, size_t l)
{
    y->length[l % y->layers]++;
    y->undoable[l % y->layers] = size_min(y->undoable[l % y->layers] + 1, JOURNAL);
}

status heavy_attend(heavy *y, size_t l, size_t first, activations *a, size_t n, const tap *to)
{
    go_back(y, l % y->layers, first);
    for (size_t r = 0; r < n; r++) {
        status failed = write_row(y, l, first + r, row(&a->k, r), row(&a->v, r));
        if (failed)
            return failed;
        attend_row(y, l, first + r, a, r, to);
        count_row(y, l);
    }
    return NULL;
}

// ---- what is held ----

// Where a failed step has gone on with a layer, its rows are those of another text.
bool heavy_holds(const heavy *y, size_t l, size_t g, size_t t, size_t held)
{
    return l < y->layers && g < y->shape.G && y->length[l] == held &&
           eviction_find(&y->heads[l * y->shape.G + g], t);
}

void heavy_read(const heavy *y, size_t l, size_t g, size_t t, float *k, float *v)
{
    const size_t slot = eviction_find(&y->heads[l * y->shape.G + g], t)->slot;
    page_read_key(&y->shape, page_at(y, l), g, slot, k, y->scratch);
    page_read_value(&y->shape, page_at(y, l), g, slot, v, y->scratch);
}
