// What one pass with a row of each of n users takes, each behind a context of his own.
#ifndef LOCKSTEP_BENCH_SERVE_PASSES_H
#define LOCKSTEP_BENCH_SERVE_PASSES_H

#include "bench/base/stats.h"
#include "common/model/model.h"

typedef struct serve_passes {
    const model *m;
    const size_t *context, *users; // ascending; (contexts), (counts)
    size_t contexts, counts, samples;
    uint64_t seed; // of the order in which samples of a context are taken
    estimate *ns;  // (contexts, counts), of a pass
} serve_passes;

// Measures them all. `progress` is told the share that is done; false: stop.
status serve_passes_run(serve_passes *p, bool (*progress)(void *user, double done), void *user);

// Bytes that this takes besides the model.
size_t serve_passes_memory(const config *c, size_t longest, size_t users);

#endif
