// A run under observation: one digest for each row of numbers that a forward pass computes, in the
// order of causes.
#ifndef LOCKSTEP_BENCH_TRACE_H
#define LOCKSTEP_BENCH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/locate/ways.h"
#include "common/decoder.h"

// Besides the stages that an observer sees there are two that the cache itself holds: they come
// right after STAGE_V.
enum { STORED_K = STAGES, STORED_V };

// A row of numbers: where it stands in the forward pass. layer and head are -1 where there is none.
typedef struct place {
    size_t position;
    int layer, head;
    int stage; // a stage, or STORED_K, STORED_V
} place;

// "scores", ..., "cached k", "cached v".
const char *place_stage_name(int s);

// A row's values, copied out of a run.
typedef struct trace_row {
    float *values; // (n); NULL: the run did not show this row
    size_t n;
} trace_row;

// Digests of all rows of T positions. Within a position, slots ascend in the order of computation.
typedef struct trace {
    const model *m;
    size_t T, slots;  // rows of one position
    uint64_t *digest; // (T, slots); 0: not computed, or not shown
    bool *drafted;    // (T): the position was last computed from a draft's token
    uint64_t *logits; // (T): digests of the rows of logits that the last move returned; 0: none
    bool judge;       // what a cache should hold follows from k and v
    size_t beyond; // 1 + a position at or behind the end of the sequence that was computed; 0: none
    size_t rows;   // embedded in the move at hand; after a run, in its last
    // While a pass runs: what is to be copied out.
    size_t kept, end;    // of the move at hand
    const place *wanted; // (wanting)
    trace_row *found;    // (wanting)
    size_t wanting;
} trace;

status trace_create(const model *m, size_t T, bool judge, trace *out);
void trace_free(trace *t);

size_t trace_slot(const trace *t, const place *p);
place trace_place(const trace *t, size_t position, size_t slot);

// Makes the moves 0..last of w on fresh decoders of w->by, watches the one that makes the last, and
// fills the digests; keys and values held at the end too. Rows `wanted` are copied out to found[i];
// free their values. Positions at or behind T are left out.
status trace_run(trace *t, const way *w, size_t last, const place *wanted, trace_row *found,
                 size_t wanting);

#endif
