// A run of bench serve, and how it is told: tables, CSV and JSON.
#ifndef LOCKSTEP_BENCH_SERVE_PRINT_H
#define LOCKSTEP_BENCH_SERVE_PRINT_H

#include <jansson.h>
#include <stdio.h>

#include "bench/base/options.h"
#include "bench/base/progress.h"
#include "bench/serve/load.h"
#include "bench/serve/passes.h"
#include "common/file/file.h"

typedef struct serve {
    bench_options o;
    char dir[FILE_PATH_SIZE];
    int lock;
    model *m;
    size_t *users, counts;
    // Of a mix: first without a cache, then with one.
    mix mix;
    size_t budget;
    load_result *results; // (2, counts)
    // Of passes.
    size_t *context, contexts;
    serve_passes passes;
    // What is being done.
    progress bar;
    double before, share; // of all work: done before, and of the part at hand
} serve;

void serve_print(const serve *s);
status serve_print_csv(FILE *f, const void *what); // what: the run

// Adds results and what they depend on to a description (bench/base/machine.h).
status serve_describe(const serve *s, json_t *about);

#endif
