// The packing that every matrix on the right of a product has: panels of 16 lanes.
#ifndef LOCKSTEP_PANELS_H
#define LOCKSTEP_PANELS_H

#include <stddef.h>

enum { LANES = 16 }; // outputs computed side by side; a row of a panel is one cache line

// Rows of a panel that share a scale, of elements that have one for each lane.
enum { PANEL_BLOCK = 32 };

// Panels of 16 lanes that n outputs take, and the outputs rounded up to whole panels.
static inline size_t panels_for(size_t n)
{
    return (n + LANES - 1) / LANES;
}

static inline size_t padded(size_t n)
{
    return panels_for(n) * LANES;
}

// How a number of a panel is stored. The kernel widens it to binary32, exactly, on its way into a
// product.
typedef enum element {
    ELEMENT_F32,
    ELEMENT_F16,
    ELEMENT_BF16,
    ELEMENT_FP8,
    ELEMENT_Q8, // times a scale
    ELEMENT_Q4,
    ELEMENT_KIVI4, // times a scale, plus a zero point
    ELEMENT_KIVI2,
} element;

// Rows of a panel that share its sixteen words of 32 bits, of the elements that weights have.
//
// Narrow elements of b bits lie in words: n = 32 / b rows of a panel share sixteen words, and row k
// of lane j is the b bits from (k mod n) b on of word (k / n) 16 + j. So a row is widened by shifts
// alone, and no lane changes its place.
static inline size_t panels_share(element of)
{
    return of == ELEMENT_F32 ? 1 : of == ELEMENT_Q8 ? 4 : 2;
}

// A panel's rows, K of them, rounded up to whole words.
static inline size_t panels_depth(element of, size_t K)
{
    return (K + panels_share(of) - 1) / panels_share(of) * panels_share(of);
}

#endif
