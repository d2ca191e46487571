// Whether a cache changes the answer: the comparison that everything else here rests on.
#ifndef LOCKSTEP_BENCH_VERIFY_H
#define LOCKSTEP_BENCH_VERIFY_H

#include "bench/base/options.h"

// `bench verify`: reaches every context in each of the ways of bench/locate/ways.h, and compares
// all logits, keys and values bit for bit.
command verify_command;

#endif
