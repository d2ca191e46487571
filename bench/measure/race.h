// The race: what a cache does, seen before anything is measured.
#ifndef LOCKSTEP_BENCH_RACE_H
#define LOCKSTEP_BENCH_RACE_H

#include "bench/base/options.h"

// `build/bench race [PROMPT]`: both decoders generate the same text at once, one above the other,
// each on a core of its own where there are two. Exits 1 if the texts differ.
command race_command;

#endif
