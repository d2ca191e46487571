// bench strategies: what each way to keep keys and values saves, costs and loses.
#ifndef LOCKSTEP_BENCH_STRATEGIES_H
#define LOCKSTEP_BENCH_STRATEGIES_H

#include <jansson.h>

#include "bench/base/options.h"
#include "bench/strategies/loss.h"
#include "bench/strategies/times.h"

// All that is measured.
typedef struct strategies {
    bench_options o;
    char dir[FILE_PATH_SIZE];
    int lock;
    model *m; // on which loss is measured
    loss_text text;
    subjects of;     // plain first
    loss *losses;    // (of.n)
    double one_pass; // its mean NLL; 0: not yet known
    times times;
    json_t *about; // strategies.json
} strategies;

// "plain", "window:256+4,f16"; a plug-in's whole name.
const char *strategies_name(const subject *of);

// Bytes of keys and values a token of the longest window.
double strategies_token_bytes(const loss *l);

// The tables, to standard output.
status strategies_print(const strategies *s);

// For results_write, with the strategies as `what`: strategies.csv, a row for each spec.
status strategies_print_csv(FILE *f, const void *what);

// The arrays "loss", of the specs that are known, and "times" of strategies.json.
status strategies_describe(const strategies *s, json_t *about);

// Loss, bytes and times of plain and the specs: strategies-samples.csv, strategies-summary.csv,
// strategies.csv, strategies.json, and tables.
command strategies_command;

#endif
