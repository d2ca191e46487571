// What is timed: requests as a user would send them, and parts of a step on their own.
#ifndef LOCKSTEP_BENCH_WORKLOAD_H
#define LOCKSTEP_BENCH_WORKLOAD_H

#include "bench/subject/subject.h"
#include "common/generate/sampler.h"
#include "common/kv/kv.h"
#include "common/math/activations.h"

// Every subject on one model, ready for its whole context.
typedef struct workload {
    const model *m; // borrowed, as are
    const subjects *of;
    decoder **decoder; // (of->n)
    sampler *greedy;
    int *tokens; // (T + 1)
} workload;

// After a failure too, workload_free frees what there is.
status workload_create(const model *m, const subjects *of, workload *out);
void workload_free(workload *w);

// One request to subject `which`, which is reset first: a prompt of the first t fixed tokens
// (bench/base/contexts.h), then N generated ones; t + N - 1 <= T. at_ns (N): when each had been
// chosen, counted from handing over the prompt. bytes: what the prompt's keys and values take; NULL
// if nobody asks.
status workload_request(workload *w, size_t which, size_t t, size_t N, double *at_ns,
                        size_t *bytes);

// Rows and a store, to time the parts of a step on their own.
typedef struct parts {
    const model *m; // borrowed
    kv_spec spec;
    activations a; // (T) rows
    kv *kept;      // all layers, room for T tokens
    bool whole;    // all T rows are stored
} parts;

// Queries, keys and values between -1 and 1, so that no softmax degenerates, kept under this spec.
// Refused for a spec under which what a row sees depends on the rows before it. parts_free as
// above.
status parts_create(const model *m, const kv_spec *spec, parts *out);
void parts_free(parts *p);

// Nanoseconds that the rows first..t take in all layers: of attention over the keys 0..t, and of
// the four matrices. first = 0 is what a naive step does at context t, first = t a cached one.
// Repeated for a millisecond at least, and the mean is returned: caches are as warm as so many
// bytes allow. A naive step has the keys and values of one layer at a time, in the same memory for
// all, so its attention is timed on one layer and multiplied.
status parts_attention_ns(parts *p, size_t first, size_t t, double *ns);
double parts_linear_ns(parts *p, size_t first, size_t t);

#endif
