// The work of forward passes, counted from what they show their observer: the rows and lengths that
// were really computed.
#ifndef LOCKSTEP_BENCH_COUNT_H
#define LOCKSTEP_BENCH_COUNT_H

#include <stdint.h>

#include "bench/base/options.h"
#include "bench/measure/passes.h"
#include "common/decoder.h"

// Padding lanes are left out. Bytes are those that a pass must get from memory at least once: a
// weight serves all rows, and a key or value all rows of its head, before the next one is fetched.
// Rows of activations are not counted.
typedef struct work {
    uint64_t values;        // numbers shown; what a stage does besides is in proportion
    uint64_t multiply_adds; // of rows with matrices, keys, or values
    uint64_t exps;
    uint64_t weight_bytes;
    uint64_t kv_read_bytes, kv_written_bytes;
} work;

typedef struct count {
    const model *m;
    work of[STAGES];
    uint64_t lanes; // all multiply-adds, with those of padding lanes
    size_t width;   // bytes of a number of a key or a value
    // The pass at hand: its first position, and the latest call.
    size_t first;
    stage last;
    int layer;
} count;

// A count at zero, of passes of m whose keys and values are kept under this spec.
count count_begin(const model *m, const kv_spec *spec);

// Counts what a pass shows: `user` is a count. Any number of passes may follow one another.
observer count_row;

// Prepares and counts one pass.
status count_pass(passes *p, pass which, size_t t, count *out);

// Sets of stages: a bit for each.
enum {
    COUNT_QKV = 1 << STAGE_Q | 1 << STAGE_K | 1 << STAGE_V,
    COUNT_STORED = 1 << STAGE_STORED_K | 1 << STAGE_STORED_V,
    COUNT_LINEAR = COUNT_QKV | 1 << STAGE_PROJ | 1 << STAGE_FC | 1 << STAGE_FCPROJ,
    COUNT_ATTENTION = 1 << STAGE_SCORES | 1 << STAGE_SOFTMAX | 1 << STAGE_ATTEND,
    COUNT_EVERYTHING = (1 << STAGES) - 1
};

// The work of a set of stages together.
work count_sum(const count *c, unsigned stages);

// Bytes of weights, keys and values.
uint64_t count_bytes(const work *w);

// bench count: prints a table of a prefill, a naive step and a cached step.
command count_command;

#endif
