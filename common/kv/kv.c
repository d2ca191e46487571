// The table of pages: where they come from, where a step goes on, and what is held.
#include "common/kv/kv.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/decoder.h"
#include "common/kv/store.h"

static size_t pages_for(const kv *s, size_t positions)
{
    return (positions + s->shape.P - 1) / s->shape.P;
}

// The first page of a layer that holds no sink.
static size_t behind_sinks(const kv *s)
{
    return pages_for(s, s->spec.keep == KV_WINDOW ? s->spec.sinks : 0);
}

size_t kv_memory(const config *c, size_t layers, const kv_spec *spec, size_t T)
{
    const page_shape shape = page_shape_of(spec, c);
    const size_t room = keep_of(spec)->room(spec, shape.P, T);
    return size_times(size_times(layers, (room + shape.P - 1) / shape.P), shape.bytes);
}

// The memory of a store without a pool, all of it spare. Pages go out in the order in which they
// lie: in a plain store page i is piece i of the layer.
static status make_stock(kv *s)
{
    s->stock = pages_for(s, s->keep->room(&s->spec, s->shape.P, s->T));
    s->memory = memory_block(size_times(size_times(s->layers, s->stock), s->shape.bytes));
    s->spare = memory_array(size_times(s->layers, s->stock), sizeof *s->spare);
    s->spares = memory_array(s->layers, sizeof *s->spares);
    if (!s->memory || !s->spare || !s->spares)
        return memory_failed("keys and values");
    for (size_t l = 0; l < s->layers; l++)
        for (size_t i = s->stock; i-- > 0;)
            s->spare[l * s->stock + s->spares[l]++] =
                s->memory + (l * s->stock + i) * s->shape.bytes;
    return NULL;
}

status kv_create(const config *c, size_t layers, const decoder_options *o, kv **out)
{
    *out = NULL;
    status failed = kv_check(&o->kv);
    if (failed)
        return failed;
    kv *s = memory_array(1, sizeof *s);
    if (!s)
        return memory_failed("keys and values");
    *s = (kv){.spec = o->kv, .keep = keep_of(&o->kv), .shape = page_shape_of(&o->kv, c)};
    s->layers = layers;
    s->T = o->T_max;
    s->pages = pages_for(s, s->T);
    s->pool = layers == c->L ? o->pool : NULL;
    s->space = o->space;
    s->table = memory_array(size_times(layers, s->pages), sizeof *s->table);
    s->block = memory_array(s->pages, sizeof *s->block);
    s->fresh = memory_array(s->pages, sizeof *s->fresh);
    s->scratch = memory_array(LANES * padded(s->shape.D), sizeof(float));
    s->row = memory_array(padded(s->shape.D), sizeof *s->row);
    if (!s->table || !s->block || !s->fresh || !s->scratch || !s->row)
        failed = memory_failed("keys and values");
    else if (!s->pool)
        failed = make_stock(s);
    *out = failed ? NULL : s;
    if (failed)
        kv_destroy(s);
    return failed;
}

void kv_destroy(kv *s)
{
    if (!s)
        return;
    if (s->table && s->block)
        kv_forget(s);
    memory_free(s->table);
    memory_free(s->memory);
    memory_free(s->spare);
    memory_free(s->spares);
    memory_free(s->block);
    memory_free(s->fresh);
    memory_free(s->scratch);
    memory_free(s->row);
    memory_free(s);
}

page *kv_place_page(kv *s, size_t l, size_t i)
{
    page **at = kv_page(s, l, i);
    if (!*at)
        *at = s->pool ? s->block[i]->pages + l * s->shape.bytes
                      : s->spare[l * s->stock + --s->spares[l]];
    return *at;
}

static void take_back(kv *s, size_t l, size_t i)
{
    page **at = kv_page(s, l, i);
    if (*at && !s->pool)
        s->spare[l * s->stock + s->spares[l]++] = *at;
    *at = NULL;
}

void kv_empty(kv *s, size_t l)
{
    for (size_t i = s->pages; i-- > 0;) // so that the next page is the first again
        take_back(s, l, i);
}

// Page i leaves the table in every layer.
static void remove_page(kv *s, size_t i)
{
    for (size_t l = 0; l < s->layers; l++)
        take_back(s, l, i);
    if (s->block[i])
        s->pool->release(s->pool, s->block[i]);
    s->block[i] = NULL;
}

void kv_forget(kv *s)
{
    for (size_t i = s->pages; i-- > 0;)
        remove_page(s, i);
    s->held = 0;
    s->dropped = 0;
}

void kv_drop(kv *s, size_t l, size_t t)
{
    const size_t end = s->keep->forgets(&s->spec, t) / s->shape.P;
    for (size_t i = behind_sinks(s); i < end; i++)
        take_back(s, l, i);
    if (end > behind_sinks(s) && end * s->shape.P > s->dropped)
        s->dropped = end * s->shape.P;
}

// Rows that others have computed: full pages of the same tokens behind those at hand. They are to
// take the place of what this sequence has itself there. Returns how many rows there will be.
static size_t find_pages(kv *s, const int *tokens, size_t first, size_t most)
{
    const size_t P = s->shape.P;
    size_t i = first / P;
    const kv_block *before = s->pool && i > 0 ? s->block[i - 1] : NULL;
    for (; s->pool && s->dropped == 0 && (i + 1) * P <= most; i++) {
        before = s->fresh[i] = s->pool->find(s->pool, s->space, before, tokens + i * P);
        if (!before)
            break;
    }
    return i * P > first ? i * P : first;
}

// Whether rows may be written into page i of this sequence.
static bool is_own(const kv *s, size_t i)
{
    return s->block[i] && !s->block[i]->published && s->block[i]->references == 1;
}

static void give_back_fresh(kv *s)
{
    for (size_t i = 0; i < s->pages; i++)
        if (s->fresh[i]) {
            s->pool->release(s->pool, s->fresh[i]);
            s->fresh[i] = NULL;
        }
}

// Takes a block for each page in which rows first..T-1 are going to be written.
static status reserve(kv *s, size_t first, size_t T)
{
    for (size_t i = first / s->shape.P; s->pool && i < pages_for(s, T); i++)
        if (!is_own(s, i) && !(s->fresh[i] = s->pool->take(s->pool))) {
            give_back_fresh(s);
            return status_fail("no page is left in the pool for %zu tokens: give it more memory, "
                               "or end other sequences",
                               T);
        }
    return NULL;
}

// Gives the found and the reserved blocks their places. The page in which row `first` is going to
// be written is copied where rows before it stay: others may be reading it.
static void install_fresh(kv *s, size_t first)
{
    for (size_t i = 0; i < s->pages; i++)
        if (s->fresh[i]) {
            if (i == first / s->shape.P && first > i * s->shape.P)
                memcpy(s->fresh[i]->pages, s->block[i]->pages, s->layers * s->shape.bytes);
            remove_page(s, i);
            s->block[i] = s->fresh[i];
            s->fresh[i] = NULL;
        }
}

status kv_begin(kv *s, const int *tokens, size_t T, size_t common, size_t most, size_t *first)
{
    const size_t known = s->keep->resumes(&s->spec, s->dropped, size_min(common, most));
    const size_t found = find_pages(s, tokens, known, most);
    status failed = reserve(s, found, T);
    if (failed)
        return failed;
    install_fresh(s, found);
    for (size_t i = pages_for(s, found); i < s->pages; i++)
        if (!s->pool || i >= pages_for(s, T))
            remove_page(s, i);
    for (size_t i = found / s->shape.P; s->pool && i-- > 0;)
        for (size_t l = 0; l < s->layers; l++)
            if (s->block[i])
                kv_place_page(s, l, i);
    if (found < s->dropped)
        s->dropped = 0;
    s->held = found;
    *first = found;
    return NULL;
}

// A page can only be found behind one that can be found itself: where another sequence has
// published the same tokens first, what follows in this one stays its own.
void kv_commit(kv *s, const int *tokens, size_t T)
{
    const size_t P = s->shape.P;
    s->held = T;
    const kv_block *before = NULL;
    for (size_t i = 0; s->pool && i < T / P; i++) {
        if (!s->block[i]->published)
            s->pool->publish(s->pool, s->space, before, s->block[i], tokens + i * P);
        before = s->block[i];
        if (!before->published)
            return;
    }
}

bool kv_holds(const kv *s, size_t l, size_t g, size_t t)
{
    const visible see = s->keep->sees(&s->spec, s->held);
    const bool seen = t < s->held && softmax_sees(see, t);
    // A step that failed may have dropped the page.
    return l < s->layers && g < s->shape.G && seen && *kv_page(s, l, t / s->shape.P);
}

status kv_read(const kv *s, size_t l, size_t g, size_t t, float *k, float *v)
{
    if (!kv_holds(s, l, g, t))
        return status_fail("layer %zu, head %zu, position %zu is not held", l, g, t);
    const page *at = *kv_page(s, l, t / s->shape.P);
    page_read_key(&s->shape, at, g, t % s->shape.P, k, s->scratch);
    page_read_value(&s->shape, at, g, t % s->shape.P, v, s->scratch);
    return NULL;
}

size_t kv_bytes(const kv *s)
{
    size_t n = 0;
    for (size_t l = 0; l < s->layers; l++)
        for (size_t i = 0; i < pages_for(s, s->held); i++)
            n += *kv_page(s, l, i) != NULL;
    return n * s->shape.bytes;
}
