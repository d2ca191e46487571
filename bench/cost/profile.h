// Where the time of a forward pass goes, stage by stage.
#ifndef LOCKSTEP_BENCH_PROFILE_H
#define LOCKSTEP_BENCH_PROFILE_H

#include <stdint.h>

#include "bench/cost/count.h"

// What the clock said in one pass. The time between two of the observer's calls is computing where
// they are of different stages, and belongs to the second; where they are of one stage, rows that
// have been computed already are being shown. So q has the time of q, k and v, which are one
// product, and stored k that of storing both; ln1, ln2 and lnf have that of the residual sum before
// them, and scores that of scaling them. Whole = the sum of ns + showing + rest.
typedef struct stopwatch {
    uint64_t ns[STAGES], showing_ns, rest_ns, whole_ns;
    uint64_t calls;
    // Its own: the latest reading, and whose it was.
    uint64_t since;
    stage at;
} stopwatch;

// Medians of that over the rounds.
typedef struct profile {
    double ns[STAGES], showing_ns;
    double watched_ns, unwatched_ns; // the whole pass, with and without an observer
    uint64_t calls;                  // of the observer in one pass
    count done;                      // the work of one pass
} profile;

// Prepares a pass and times its stages.
status profile_watch(passes *p, pass which, size_t t, stopwatch *out);

// Takes `rounds` > 0 samples of a pass at context t, after one to warm up, which is counted.
status profile_take(passes *p, pass which, size_t t, size_t rounds, profile *out);

// The time of a set of stages together.
double profile_ns(const profile *p, unsigned stages);

// The T at which attention would take as long as the linear layers in a pass of this kind, at the
// rates of this one (bench/cost/cost.h).
double profile_crossover(const profile *p, pass which);

// bench profile: prints a table of a prefill, a naive step and a cached step.
command profile_command;

#endif
