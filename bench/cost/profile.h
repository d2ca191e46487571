// Where the time of a forward pass goes, stage by stage.
#ifndef LOCKSTEP_BENCH_PROFILE_H
#define LOCKSTEP_BENCH_PROFILE_H

#include <stdint.h>

#include "bench/cost/count.h"

// Medians over the rounds. The time between two of the observer's calls belongs to the stage of the
// second. So q has the time of q, k and v, which are one product; the first scores of a layer that
// of storing its keys and values; and ln1, ln2 and lnf that of the residual sum before them.
typedef struct profile {
    double ns[STAGES];
    double watched_ns, unwatched_ns; // the whole pass, with and without an observer
    uint64_t calls, readings;        // of the observer in one pass, and of the clock
    double observer_ns;              // what they cost
    count done;                      // the work of one pass
} profile;

// What the clock said in one pass.
typedef struct stopwatch {
    uint64_t ns[STAGES], whole_ns;
    uint64_t calls, readings;
    // Its own: the latest reading, and whose it was.
    uint64_t since;
    stage at;
} stopwatch;

// Prepares a pass and times its stages.
status profile_watch(passes *p, pass which, size_t t, stopwatch *out);

// What an observer costs that was called, and read the clock, as often as this one.
double profile_observer_ns(const stopwatch *w);

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
