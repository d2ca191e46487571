// What a prompt cache saves: policies replayed on a trace.
#ifndef LOCKSTEP_BENCH_PREFIX_H
#define LOCKSTEP_BENCH_PREFIX_H

#include "bench/base/options.h"

// `build/bench prefix --trace FILE`
command prefix_command;

#endif
