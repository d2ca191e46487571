// The rows a forward pass writes: scratch memory, the same for every decoder.
#ifndef LOCKSTEP_ACTIVATIONS_H
#define LOCKSTEP_ACTIVATIONS_H

#include "common/base/status.h"
#include "common/math/rows.h"
#include "common/model/config.h"

typedef struct activations {
    rows x;        // (T, C) the residual stream
    rows normed;   // (T, C) what a layer norm gives
    rows q, k, v;  // (T, C), (T, G D), (T, G D): the three column ranges of qkv
    rows qkv;      // (T, C + 2 G D)
    rows heads;    // (T, C) attention's results, heads side by side
    rows hidden;   // (T, F)
    rows change;   // (T, C) what attention or the feed-forward network adds to x
    rows scores;   // (BAND_ROWS, T) of one head
    rows shown;    // (1, T) one row of them, for an observer
    rows attended; // (BAND_ROWS, D) of one head
    rows logits;   // (room, V) of the last rows: one, or as many as were ever wanted
    size_t room;
    float *block; // all of the above, logits of one row among them,
    float *more;  // and those of several: (room, V), or NULL
} activations;

// For up to T rows at once.
status activations_create(const config *c, size_t T, activations *out);
// Room for the logits of `wanted` rows. A failure leaves what there was.
status activations_reserve(activations *a, size_t wanted);

// Closes up the first `wanted` rows of logits, which then are (wanted, V), contiguous.
const float *activations_logits(activations *a, size_t wanted);

void activations_free(activations *a);

// Bytes that takes.
size_t activations_bytes(const config *c, size_t T);

#endif
