// How a decoder shows its observer what it has just computed.
#ifndef LOCKSTEP_TAP_H
#define LOCKSTEP_TAP_H

#include "common/decoder.h"
#include "common/math/rows.h"

typedef struct tap {
    observer *fn; // NULL: nobody watches
    void *user;
    int layer;    // of the rows to be shown; -1 outside the layers
    size_t first; // the position of row 0
} tap;

// Shows rows [0, n) of x, one call a row.
void tap_rows(const tap *to, stage s, const rows *x, size_t n);

// Shows n values of one head and position.
void tap_head(const tap *to, stage s, size_t head, size_t position, const float *values, size_t n);

#endif
