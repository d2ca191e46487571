// What the files of this room share: the store itself.
#ifndef LOCKSTEP_KV_STORE_H
#define LOCKSTEP_KV_STORE_H

#include "common/kv/keep/heavy.h"
#include "common/kv/keep/keep.h"
#include "common/kv/kv.h"
#include "common/kv/page.h"
#include "common/kv/place_file.h"
#include "common/kv/pool.h"

struct kv {
    kv_spec spec;
    const keep *keep;
    page_shape shape;
    size_t layers, T;
    size_t pages;     // of a sequence of T tokens
    page **table;     // (layers, pages): where page i of a layer lies; NULL: nowhere
    page *memory;     // own memory, unless there is a pool: (layers, stock) pages. With a file: one
                      // byte for each of its slots, of which the table needs the address alone
    size_t stock;     // pages of a layer
    place_file *file; // or NULL
    page **spare;     // (layers, stock): those that are in no table, the next one last
    size_t *spares;   // (layers)
    kv_pool *pool;    // or NULL
    const char *space;
    kv_block **block; // (pages): the pool's blocks that the table points into
    kv_block **fresh; // (pages): found or taken for the step at hand, not yet in the table
    size_t held;      // rows that every layer holds, or has held and dropped
    size_t dropped;   // positions between the sinks and this one are gone in some layer
    float *own;       // kivi: (layers, G, group, D), exact keys of the group at hand, in panels
    size_t finished;  // groups before this position are quantised in some layer
    size_t computed;  // rows of all steps that were not held before
    void *scratch;    // (16, D) numbers
    float *row;       // (D): a key or a value as it is read
    heavy *heavy;     // under heavy:R+H, in place of all pages; NULL otherwise
};

// Page i of layer l of the store.
static inline page **kv_page(const kv *s, size_t l, size_t i)
{
    return s->table + l * s->pages + i;
}

// Which slot of the file a page of the table is.
static inline size_t kv_slot(const kv *s, const page *at)
{
    return (size_t)(at - s->memory);
}

// Head g of page i of layer l, as a page of one head, to be read or, with `change`, to be written.
// Where pages lie in a file it stays until the next call, and NULL says that the file failed: how
// is in kv_failed.
static inline page *kv_head(const kv *s, size_t l, size_t g, size_t i, bool change)
{
    page *at = *kv_page(s, l, i);
    return s->file ? place_file_part(s->file, kv_slot(s, at), g, change)
                   : at + g * s->shape.head_bytes;
}

static inline status kv_failed(const kv *s)
{
    return s->file ? s->file->failed : NULL;
}

// Pages that so many positions fill.
static inline size_t kv_pages_for(const kv *s, size_t positions)
{
    return (positions + s->shape.P - 1) / s->shape.P;
}

// The first page of a layer that holds no sink.
static inline size_t kv_behind_sinks(const kv *s)
{
    return kv_pages_for(s, s->spec.keep == KV_WINDOW ? s->spec.sinks : 0);
}

// Gives page i of layer l a place, if it has none; it must have been reserved.
page *kv_place_page(kv *s, size_t l, size_t i);

// Takes all pages of layer l out of the table.
void kv_empty(kv *s, size_t l);

// Page i leaves the table in every layer.
void kv_remove_page(kv *s, size_t i);

// After row t - 1 of layer l: what no row from t on needs goes back.
void kv_drop(kv *s, size_t l, size_t t);

// kivi, group.c. Where the group of position t begins; t itself where there are none.
size_t kv_group_start(const kv *s, size_t t);

// Keeps n keys of head g, rows `stride` floats apart, exactly, at positions t.. of one group. The
// row and channel of the first number that is not finite; n and D if there is none.
page_misfit kv_write_own(kv *s, size_t l, size_t g, size_t t, const float *k, size_t stride,
                         size_t n);
void kv_read_own(const kv *s, size_t l, size_t g, size_t t, float *k);

// The kept keys of positions [from, to), multiples of 16, as page_keys.
panels kv_own_keys(const kv *s, size_t l, size_t g, size_t from, size_t to);

// The group that ends before position t, of model layer l, goes into its pages. Fails where it has
// no scale or zero point.
status kv_end_group(kv *s, size_t l, size_t t);

// What a store with a pool does besides, share.c. Before a step that would go on at row *first:
// rows that others have computed, as full pages of the same tokens, take the place of what this
// sequence has itself there, up to row `most`, and *first becomes the row behind them; and a block
// is taken for each page in which rows *first..T-1 are going to be written. A failure has changed
// nothing.
status kv_share(kv *s, const int *tokens, size_t T, size_t most, size_t *first);

// Rows 0..T-1 are complete: others may find their full pages.
void kv_publish(kv *s, const int *tokens, size_t T);

// A number that the form cannot hold: the failure names layer, head and position.
status kv_misfit(kv_form as, size_t l, size_t g, size_t t, const char *what, float x);

#endif
