// bench speculate: where drafts pay.
#ifndef LOCKSTEP_BENCH_SPECULATE_H
#define LOCKSTEP_BENCH_SPECULATE_H

#include "bench/base/options.h"

// Time per token with and without drafts, on the embedded model and, with drafts of a given rate of
// acceptance, on a model of real size; and one pass over n rows: speculate-samples.csv,
// speculate-summary.csv, speculate.csv, speculate.json, and tables.
command speculate_command;

#endif
