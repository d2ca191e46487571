// bench serve: many users at once.
#ifndef LOCKSTEP_BENCH_SERVE_H
#define LOCKSTEP_BENCH_SERVE_H

#include "bench/base/options.h"

// Throughput, TTFT and TPOT of a mix of requests against the number of users, with and without a
// prompt cache: serve.csv, serve.json and tables. With --contexts, the time of one pass with a row
// of each user: serve-passes.csv, serve-passes.json and a table.
command serve_command;

#endif
