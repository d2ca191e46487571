// The roofline picture (Williams, Waterman and Patterson 2009): every stage of every pass as a
// point, at its operations for each byte and its operations in a second, beside the roof over it.
#ifndef LOCKSTEP_BENCH_POINTS_H
#define LOCKSTEP_BENCH_POINTS_H

#include "bench/base/machine.h"
#include "bench/cost/profile.h"

// What the machine does at best: medians over rounds of the best probe in each.
typedef struct limits {
    double peak;                   // FLOP/s
    double memory;                 // bytes/s
    double best_peak, best_memory; // of all rounds
    double caches[MACHINE_CACHES]; // bytes/s of the first core's, the first level first; 0 where
                                   // unknown
} limits;

// FLOP/s that so many operations for each byte from memory allow.
double limits_roof(const limits *l, double intensity);

// Samples of the three passes at each of n contexts.
typedef struct points {
    passes *p;
    const size_t *context; // (n)
    size_t n, rounds;
    count *done;      // (n, PASSES) the work of each pass
    stopwatch *taken; // (n, PASSES, rounds)
    double *scratch;  // (rounds)
} points;

// Borrows p and the contexts. Runs every pass once, to count it, so that the samples find all
// memory touched. points_free frees what there is, also after a failure.
status points_create(passes *p, const size_t *context, size_t n, size_t rounds, points *out);
void points_free(points *p);

// Takes the samples of round k at context i: for each pass the fastest of a few, for the limits are
// the best of a round as well.
status points_take(points *p, size_t i, size_t k);

// When all rounds have been taken: writes DIR/roofline.csv and DIR/roofs.csv; prints tables.
status points_write(const points *p, const limits *l, const char *dir);
void points_print(const points *p, const limits *l);

#endif
