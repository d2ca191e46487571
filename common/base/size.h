// Arithmetic on sizes that sticks at SIZE_MAX instead of wrapping around: a product too large to
// hold is too large to allocate.
#ifndef LOCKSTEP_SIZE_H
#define LOCKSTEP_SIZE_H

#include <stddef.h>
#include <stdint.h>

static inline size_t size_times(size_t a, size_t b)
{
    return a != 0 && b > SIZE_MAX / a ? SIZE_MAX : a * b;
}

static inline size_t size_plus(size_t a, size_t b)
{
    return b > SIZE_MAX - a ? SIZE_MAX : a + b;
}

static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

#endif
