// The commands of build/bench that measure. bench/main.c dispatches to them.
#ifndef LOCKSTEP_BENCH_MEASURE_H
#define LOCKSTEP_BENCH_MEASURE_H

#include "bench/base/options.h"

// TTFT, TPOT and step of naive, and of kvcache or a plug-in, over the contexts: samples.csv,
// summary.csv, memory.csv, context.json, and a table.
command sweep_command;
extern const char *const sweep_files[]; // those of them that it writes at its end; NULL behind them

// The kvcache decoder's shares of the FMA peak and of the read bandwidth; each stage of both
// decoders under its roof: roofline.csv, roofs.csv, and tables.
command roofline_command;

// verify on the embedded model, then verify and sweep on a model of real size.
command all_command;

#endif
