// The random walk of verify: calls drawn from a seed, each compared in full. It goes where nobody
// thought of going: texts that differ in one id, two ids that change places, an older text again
// after a failure, a decoder made anew beside another one.
#ifndef LOCKSTEP_BENCH_WALK_H
#define LOCKSTEP_BENCH_WALK_H

#include "bench/verify/program.h"

typedef struct walk {
    uint64_t seed;
    size_t calls, fewer; // made; and how many there are after cutting down what went wrong
    outcome found;
    bool repeats; // what went wrong did so again
} walk;

// Makes up to `calls` calls on decoders of w->by and stops at the first that goes wrong: w->moves
// is then the shortest program found that does. The same seed draws the same calls. w has no moves
// yet; program_free_ids and ways_free free them.
status walk_run(const model *m, const subject *judge, uint64_t seed, size_t calls, way *w,
                walk *out);

// So many calls that the walk takes about as long as a few of verify's fixed ways.
size_t walk_calls(const config *c);

#endif
