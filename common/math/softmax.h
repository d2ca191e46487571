// Softmax of one row of attention over the positions that the row sees.
#ifndef LOCKSTEP_SOFTMAX_H
#define LOCKSTEP_SOFTMAX_H

#include <stdbool.h>
#include <stddef.h>

// The positions that one row sees: [0, sinks) and [from, to). sinks <= from; where nothing is left
// out between them, sinks and from are 0.
typedef struct visible {
    size_t sinks, from, to;
} visible;

// x holds one number per position, at its own place, and room up to padded(see.to). Lanes of the
// first and last 16 of a range that are not seen may hold anything and are overwritten; nothing
// else between the ranges is looked at.

// x *= scale at the visible positions; returns their maximum.
float softmax_scale(float *x, visible see, float scale);

// x = e^(x - max) / the sum of these, at the visible positions. Element i of the sum goes to
// partial i mod 16 by its POSITION i, so that a cache which has dropped rows sums the others in the
// same places (contract 3).
void softmax_row(float *x, visible see, float max);

// Copies the numbers at the visible positions together; returns `to`.
const float *softmax_gather(const float *x, visible see, float *to);

// Whether position t is visible.
static inline bool softmax_sees(visible see, size_t t)
{
    return t < see.sinks || (t >= see.from && t < see.to);
}

// The first position from t on that is visible, or at least see.to: there is none.
static inline size_t softmax_next(visible see, size_t t)
{
    return t < see.sinks || t >= see.from ? t : see.from;
}

// How many positions are visible.
static inline size_t softmax_count(visible see)
{
    return see.sinks + see.to - see.from;
}

#endif
