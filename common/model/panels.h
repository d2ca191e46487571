// The packing that every matrix on the right of a product has: panels of 16 lanes.
#ifndef LOCKSTEP_PANELS_H
#define LOCKSTEP_PANELS_H

#include <stddef.h>

enum { LANES = 16 }; // outputs computed side by side; a row of a panel is one cache line

// Panels of 16 lanes that n outputs take, and the outputs rounded up to whole panels.
static inline size_t panels_for(size_t n)
{
    return (n + LANES - 1) / LANES;
}

static inline size_t padded(size_t n)
{
    return panels_for(n) * LANES;
}

#endif
