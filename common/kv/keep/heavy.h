// The store under the keep heavy:R+H. Heads keep different positions, so there are no pages of
// consecutive ones: each head of a layer has slots of its own, and a sorted list of who is in them.
#ifndef LOCKSTEP_KV_HEAVY_H
#define LOCKSTEP_KV_HEAVY_H

#include "common/kv/kv.h"
#include "common/kv/page.h"

typedef struct heavy heavy;

// Slots for what `layers` layers keep of T tokens, and a journal with which the last 32 rows of
// each can be taken back.
status heavy_create(const config *c, size_t layers, const kv_spec *spec, size_t T, heavy **out);
void heavy_free(heavy *y);
size_t heavy_bytes(const heavy *y);
size_t heavy_memory(const config *c, size_t layers, const kv_spec *spec, size_t T);

// What kv.h says of kv_begin, kv_attend, kv_forget, kv_holds and kv_read. l is a layer of
// the model. *first is `most`, or 0 where that lies further back than the journal goes.
void heavy_begin(const heavy *y, size_t most, size_t *first);
status heavy_attend(heavy *y, size_t l, size_t first, activations *a, size_t n, const tap *to);
void heavy_forget(heavy *y);
// `held` rows are complete in every layer.
bool heavy_holds(const heavy *y, size_t l, size_t g, size_t t, size_t held);
void heavy_read(const heavy *y, size_t l, size_t g, size_t t, float *k, float *v);

#endif
