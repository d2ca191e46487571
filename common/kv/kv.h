// The store: keys and values of one or more layers, in pages, under a spec. Both decoders keep
// their rows in one; the naive one begins each step with an empty store.
#ifndef LOCKSTEP_KV_H
#define LOCKSTEP_KV_H

#include <stdbool.h>
#include <stddef.h>

#include "common/kv/spec.h"
#include "common/math/activations.h"
#include "common/math/softmax.h"
#include "common/math/tap.h"

typedef struct kv kv;
struct decoder_options;

// A store for o->T_max tokens of `layers` layers: layer l of the model lies in layer l mod `layers`
// of the store. One with fewer layers than the model takes no part in a pool.
status kv_create(const config *c, size_t layers, const struct decoder_options *o, kv **out);
void kv_destroy(kv *s);

// Before a step with these T tokens: where is the first row to compute? The first `common` of the
// tokens are those of the rows that the store holds; rows from `most` on are to be computed in any
// case. *first is at most `most`. It may be less than `common`, where a spec has dropped what a
// rollback needs, and more, where a pool holds rows of the same tokens. All memory that the step
// needs is reserved: a failure says that there is none and has changed nothing. From here on the
// store holds the rows before *first and no others.
status kv_begin(kv *s, const int *tokens, size_t T, size_t common, size_t most, size_t *first);

// Attention: a->heads (n, C), for the n rows of a->q at positions first.. of model layer l, over
// the keys and values that the spec lets each row see, after storing those of a->k and a->v. first
// = 0 empties the layer, so that a store of one layer serves all. Fails where a number has no such
// form, naming layer, head and position. Vaswani et al. 2017, eq. 1; the order of every sum is
// contract 4 and 5.
status kv_attend(kv *s, size_t l, size_t first, activations *a, size_t n, const tap *to);

// Stores rows without attending: k and v are (n, G D), row 0 at position `first`. All of them must
// have room at once. Not for heavy, which keeps rows by how they are attended to.
status kv_store(kv *s, size_t l, size_t first, const rows *k, const rows *v, size_t n);

// After the last layer: rows 0..T-1 of these tokens are held.
void kv_commit(kv *s, const int *tokens, size_t T);

// Holds nothing any more.
void kv_forget(kv *s);

// What decoder.h promises of holds, read_kv and bytes. l is a layer of the model.
bool kv_holds(const kv *s, size_t l, size_t g, size_t t);
status kv_read(const kv *s, size_t l, size_t g, size_t t, float *k, float *v);
size_t kv_bytes(const kv *s);

// Rows that were not known when their step began, since the store was made.
size_t kv_computed(const kv *s);

// What a snapshot needs, state.c. The rows that the store has in every layer, to go on behind row
// held->to - 1. Refused where they are not all there is to know, or not this sequence's own.
// kv_check_rows knows that of some specs already.
const kv_spec *kv_spec_of(const kv *s);
status kv_check_rows(const kv_spec *spec);
status kv_rows(const kv *s, visible *held);

// The keys, or the values, of these rows in head g of layer l as they are stored: (n, D) numbers
// of kv_width bytes, in the order of their positions.
size_t kv_width(const kv *s);
status kv_take(kv *s, size_t l, size_t g, visible held, bool values, void *to);

// The way back: kv_restore empties the store, if it can hold these rows. Then come kv_put, or
// kv_store, of all of them in every layer; then kv_restored, or, after a failure, kv_forget.
status kv_restore(kv *s, visible held);
status kv_put(kv *s, size_t l, size_t g, visible held, bool values, const void *from);
void kv_restored(kv *s, visible held);

// Bytes that kv_create takes for T tokens under this spec.
size_t kv_memory(const config *c, size_t layers, const kv_spec *spec, size_t T);

#endif
