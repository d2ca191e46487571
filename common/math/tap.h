// How a decoder shows its observer what it has just computed.
#ifndef LOCKSTEP_TAP_H
#define LOCKSTEP_TAP_H

#include "common/math/observer.h"
#include "common/math/rows.h"

typedef struct tap {
    observer *fn; // NULL: nobody watches
    void *user;
} tap;

enum { NO_LAYER = -1 }; // of rows that belong to no layer

// Shows rows [0, n) of x, one call a row; row r stands at position first + r.
void tap_rows(const tap *to, stage s, int layer, size_t first, const rows *x, size_t n);

// Shows n values of one head and position.
void tap_head(const tap *to, stage s, int layer, size_t head, size_t position, const float *values,
              size_t n);

#endif
