// A verification at work: everything that one subject computes is compared with its judge as it
// comes.
#ifndef LOCKSTEP_BENCH_VERIFICATION_H
#define LOCKSTEP_BENCH_VERIFICATION_H

#include <sha2.h>

#include "bench/base/progress.h"
#include "bench/verify/kept.h"
#include "bench/verify/walk.h"

// What one comparison found.
typedef struct finding {
    uint64_t compared, differing;
    size_t move;     // the first that differs: its index in the way,
    size_t position; // the row's position,
    size_t index;    // and the first element in it
    float expected, got;
    double apart; // of that row (bench/locate/locate.h)
} finding;

// A piece of work that one thread does: some moves of a way.
typedef struct task {
    size_t way, first, n;
} task;

typedef struct verification {
    const model *m;
    const subject *judge, *tested; // the judge recomputes under the same spec
    const size_t *contexts;        // (n) ascending
    size_t n, last;                // how many, and the longest
    way ways[WAYS];
    float *expected; // (last, V): the judge's logits of all rows, from one step
    kept_sets kept;  // under heavy: the rows that each of the judge's rows sees
    finding logits[WAYS], cache[WAYS];
    walk walked;            // what goes wrong in it besides logits is in walked.found.fault
    uint64_t rows_computed; // by the subject, one by one; 0 where it does not show them
    uint64_t rows_edited;   // the same after edits, and how many there had to be; 0 as well under a
    uint64_t rows_changed;  // spec by which rows are gone when others behind them are taken back
    task *tasks;
    size_t n_tasks;
    progress bar;
    double done, work;        // in multiply-adds
    char error[512];          // of the first call that failed, on any thread
    char lengths[256];        // the first row that is held or not held as it should be, or empty
    const char *lengths_like; // which bug looks like that
    bool weights_changed;     // since plugin_guard_weights
    bool evicted;             // that says: as many rows as there should be, but others
    bool failed;
    char digest[SHA256_DIGEST_STRING_LENGTH]; // of the judge's logits at the contexts
} verification;

// Runs all fixed ways on all cores; a plug-in on one. verification_free frees what there is, also
// after a failure: one of a call, or of memory. Differences are no failure.
status verification_run(const model *m, const subject *judge, const subject *tested,
                        const size_t *contexts, size_t n, verification *out);

// The random walk, on one thread: drawn from o->seed, o->budget calls, or as many as suit the
// model.
status verification_walk(verification *v, const bench_options *o);
void verification_free(verification *v);

// What was compared and what differed, of all ways together but the judge's own.
finding verification_total(const finding findings[WAYS]);

// How many times the rows that were needed have been computed, one by one or after edits, whichever
// is more: 1 for a cache that always hits; 0 where that is not shown.
double verification_work(const verification *v);

// Of all ways, the one that differs at the shortest context, and its finding; WAYS if none does.
// Logits come before the cache, and what the fixed ways find before the random walk.
size_t verification_first(const verification *v, const finding **found);

#endif
