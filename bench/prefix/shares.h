// TTFT against the share of a prompt that the prompt cache holds.
#ifndef LOCKSTEP_BENCH_PREFIX_SHARES_H
#define LOCKSTEP_BENCH_PREFIX_SHARES_H

#include "bench/base/options.h"
#include "common/model/model.h"

enum { PROMPTS_HELD = 8 }; // by the pool

// Measures prompts of several lengths, each with several shares of it cached, prints a table and
// writes prefix-samples.csv and prefix-summary.csv.
status shares_measure(const model *m, const char *dir, const bench_options *o, int *exit_code);

#endif
