// The table of pages: where they come from, where a step goes on, and what is held.
#include "common/kv/kv.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/decoder.h"
#include "common/kv/store.h"

// Exact keys beside the pages.
static size_t own_bytes(const page_shape *s, size_t layers)
{
    return size_times(size_times(layers, s->G * s->group), s->D * sizeof(float));
}

size_t kv_memory(const config *c, size_t layers, const kv_spec *spec, size_t T)
{
    if (spec->keep == KV_HEAVY)
        return heavy_memory(c, layers, spec, T);
    const page_shape shape = page_shape_of(spec, c);
    const size_t room = keep_of(spec)->room(spec, shape.P, T);
    const size_t bytes =
        size_times(size_times(layers, (room + shape.P - 1) / shape.P), shape.bytes);
    return size_plus(spec->dir[0] && layers == c->L ? size_min(bytes, place_file_resident(spec))
                                                    : bytes,
                     own_bytes(&shape, layers));
}

// The memory of a store without a pool, all of it spare. Pages go out in the order in which they
// lie: in a plain store page i is piece i of the layer.
static status make_stock(kv *s, bool in_file)
{
    const size_t bytes = in_file ? 1 : s->shape.bytes;
    s->stock = kv_pages_for(s, s->keep->room(&s->spec, s->shape.P, s->T));
    s->memory = memory_block(size_times(size_times(s->layers, s->stock), bytes));
    s->spare = memory_array(size_times(s->layers, s->stock), sizeof *s->spare);
    s->spares = memory_array(s->layers, sizeof *s->spares);
    if (!s->memory || !s->spare || !s->spares)
        return memory_failed("keys and values");
    for (size_t l = 0; l < s->layers; l++)
        for (size_t i = s->stock; i-- > 0;)
            s->spare[l * s->stock + s->spares[l]++] = s->memory + (l * s->stock + i) * bytes;
    if (in_file)
        return place_file_create(&s->spec, &s->shape, s->layers, s->stock, s->pages, &s->file);
    return NULL;
}

status kv_create(const config *c, size_t layers, const decoder_options *o, kv **out)
{
    *out = NULL;
    status failed = kv_check(&o->kv);
    if (!failed && o->pool && o->kv.dir[0])
        failed = status_fail("--kv file:%s: the pages of a pool lie in its own memory: leave out "
                             "the file, or the pool",
                             o->kv.dir);
    if (failed)
        return failed;
    kv *s = memory_array(1, sizeof *s);
    if (!s)
        return memory_failed("keys and values");
    *s = (kv){.spec = o->kv, .keep = keep_of(&o->kv), .shape = page_shape_of(&o->kv, c)};
    s->layers = layers;
    s->T = o->T_max;
    s->pages = o->kv.keep == KV_HEAVY ? 0 : kv_pages_for(s, s->T);
    s->pool = layers == c->L ? o->pool : NULL;
    s->space = o->space;
    s->table = memory_array(size_times(layers, s->pages), sizeof *s->table);
    s->block = memory_array(s->pages, sizeof *s->block);
    s->fresh = memory_array(s->pages, sizeof *s->fresh);
    s->scratch = memory_array(LANES * padded(s->shape.D), sizeof(float));
    s->row = memory_array(padded(s->shape.D), sizeof *s->row);
    s->own = s->shape.group ? memory_block(own_bytes(&s->shape, layers)) : NULL;
    if (o->kv.keep == KV_HEAVY && s->pool)
        failed = status_fail("heavy:%zu+%zu cannot be shared: which rows it keeps depends on all "
                             "that follow: make the decoder without a pool, or use all or window",
                             o->kv.recent, o->kv.heavy);
    else if (!s->table || !s->block || !s->fresh || !s->scratch || !s->row ||
             (s->shape.group && !s->own))
        failed = memory_failed("keys and values");
    else if (o->kv.keep == KV_HEAVY)
        failed = heavy_create(c, layers, &o->kv, s->T, &s->heavy);
    else if (!s->pool)
        failed = make_stock(s, o->kv.dir[0] && layers == c->L);
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
    place_file_destroy(s->file);
    memory_free(s->table);
    memory_free(s->memory);
    memory_free(s->spare);
    memory_free(s->spares);
    memory_free(s->block);
    memory_free(s->fresh);
    memory_free(s->scratch);
    memory_free(s->row);
    heavy_free(s->heavy);
    memory_free(s->own);
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
    if (*at && s->file)
        place_file_drop(s->file, kv_slot(s, *at));
    if (*at && !s->pool)
        s->spare[l * s->stock + s->spares[l]++] = *at;
    *at = NULL;
}

void kv_empty(kv *s, size_t l)
{
    for (size_t i = s->pages; i-- > 0;) // so that the next page is the first again
        take_back(s, l, i);
}

void kv_remove_page(kv *s, size_t i)
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
        kv_remove_page(s, i);
    if (s->heavy)
        heavy_forget(s->heavy);
    if (s->file)
        place_file_clear(s->file);
    s->held = 0;
    s->dropped = 0;
    s->finished = 0;
}

void kv_drop(kv *s, size_t l, size_t t)
{
    const size_t end = size_min(s->keep->forgets(&s->spec, t), kv_group_start(s, t)) / s->shape.P;
    for (size_t i = kv_behind_sinks(s); i < end; i++)
        take_back(s, l, i);
    if (end > kv_behind_sinks(s) && end * s->shape.P > s->dropped)
        s->dropped = end * s->shape.P;
}

// The exact keys of a group that has been finished are gone: its rows are computed from its start.
static size_t back_to_group(const kv *s, size_t t)
{
    return t < s->finished ? kv_group_start(s, t) : t;
}

status kv_begin(kv *s, const int *tokens, size_t T, size_t common, size_t most, size_t *first)
{
    // A step whose file failed has forgotten all rows, whatever the decoder offers.
    const size_t known = back_to_group(s, size_min(size_min(common, most), s->held));
    size_t found = back_to_group(s, s->keep->resumes(&s->spec, s->dropped, known));
    if (s->heavy)
        heavy_begin(s->heavy, found, &found);
    status failed = s->pool ? kv_share(s, tokens, T, most, &found) : NULL;
    if (failed)
        return failed;
    for (size_t i = s->pages; i-- > kv_pages_for(s, s->pool ? T : found);)
        kv_remove_page(s, i);
    if (found < s->dropped)
        s->dropped = 0;
    if (s->file)
        s->file->failed = NULL;
    s->finished = s->shape.group ? kv_group_start(s, found) : 0;
    s->held = found;
    *first = found;
    return NULL;
}

void kv_commit(kv *s, const int *tokens, size_t T)
{
    s->computed += T - s->held;
    s->held = T;
    if (s->pool)
        kv_publish(s, tokens, T);
}

bool kv_holds(const kv *s, size_t l, size_t g, size_t t)
{
    if (s->heavy)
        return heavy_holds(s->heavy, l, g, t, s->held);
    const visible see = s->keep->sees(&s->spec, s->held);
    const bool seen = t < s->held && softmax_sees(see, t);
    // A step that failed may have dropped the page.
    return l < s->layers && g < s->shape.G && seen && *kv_page(s, l, t / s->shape.P);
}

status kv_read(const kv *s, size_t l, size_t g, size_t t, float *k, float *v)
{
    if (!kv_holds(s, l, g, t))
        return status_fail("layer %zu, head %zu, position %zu is not held", l, g, t);
    if (s->heavy) {
        heavy_read(s->heavy, l, g, t, k, v);
        return NULL;
    }
    const page *at = kv_head(s, l, g, t / s->shape.P, false);
    if (!at) {
        const status failed = kv_failed(s);
        s->file->failed = NULL;
        return failed;
    }
    if (s->shape.group && t >= kv_group_start(s, s->held))
        kv_read_own(s, l, g, t, k);
    else
        page_read_key(&s->shape, at, 0, t % s->shape.P, k, s->scratch);
    page_read_value(&s->shape, at, 0, t % s->shape.P, v, s->scratch);
    return NULL;
}

size_t kv_bytes(const kv *s)
{
    size_t n = 0;
    if (s->heavy)
        return s->held > 0 ? heavy_bytes(s->heavy) : 0;
    for (size_t l = 0; l < s->layers; l++)
        for (size_t i = 0; i < kv_pages_for(s, s->held); i++)
            if (*kv_page(s, l, i))
                n += s->file ? place_file_bytes(s->file, kv_slot(s, *kv_page(s, l, i)))
                             : s->shape.bytes;
    return n + (s->held > 0 ? own_bytes(&s->shape, s->layers) : 0);
}
