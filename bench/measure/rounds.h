// Measuring many cells fairly: in rounds, each of which takes one sample of every cell in random
// order. Every sample reaches the disk before the next begins, and a run that was stopped goes on
// where it stopped.
#ifndef LOCKSTEP_BENCH_ROUNDS_H
#define LOCKSTEP_BENCH_ROUNDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/base/stats.h"
#include "bench/measure/disturbance.h"
#include "common/base/status.h"
#include "common/file/file.h"

// What one number of a sample is: the model it was taken on, the decoder, the metric, and where on
// the x axis it lies.
typedef struct rounds_label {
    const char *model, *decoder, *metric;
    size_t x;
} rounds_label;

// What is to be measured. A sample of a cell gives `values` numbers at once.
typedef struct rounds_job {
    const char *name;     // of the progress bar
    const char *x, *unit; // names of columns: "context", "ns"
    size_t cells, values;
    status (*take)(void *user, size_t cell, double *values); // takes one sample: (values)
    double (*work)(const void *user, size_t cell); // how long that takes, in any unit, above 0
    rounds_label (*label)(const void *user, size_t cell, size_t value);
    void *user;
    size_t samples; // of each cell, or 0: as many as the budget allows, at least STATS_MIN_SAMPLES
    double budget_s;
    uint64_t seed; // of the order
} rounds_job;

typedef struct rounds {
    rounds_job job;
    double spent_s;          // by earlier runs whose samples were taken over, and
    disturbance disturbance; // how they were disturbed: see rounds_resume; then with this run's own
    size_t whole;            // rounds in which every cell has its sample
    size_t taken;            // samples, in this order:
    size_t *cell;            // (taken) which cell
    double *values;          // (taken, job.values)
    bool *throttled;         // (taken) whether a CPU quota stopped the program meanwhile
    bool partial;            // Ctrl-C ended it
    // The engine's own.
    size_t *order;             // (cells) a round's
    size_t *samples;           // (cells) taken so far
    char (*labels)[512];       // (cells, values) the first fields of a row
    double *sorted;            // (taken)
    double round_s, planned_s; // as estimated so far
    uint64_t begin_ns;
    char path[FILE_PATH_SIZE];
    FILE *csv;
} rounds;

// Begins DIR/FILE, with the columns model,decoder,metric,X,sample,order,UNIT,throttled: 1 where a
// CPU quota stopped the program while the sample was taken, else 0. With `resume`, takes
// over the samples that stand there already, up to the first row that this job would not have
// written. rounds_close frees what there is, also after a failure.
status rounds_open(const rounds_job *job, const char *dir, const char *file, bool resume,
                   rounds *out);
void rounds_close(rounds *r);

// Warms up, says on standard error how long it will take ("WHAT, about 60 s"), and measures until
// there is enough or interrupt_asked.
status rounds_run(rounds *r, const char *what);

// What came of it, for a description in JSON: rounds, requests, seconds, partial, and how steady it
// was: values, outliers, drift, drift_clear, involuntary_switches, steal_s (null if unknown), and
// throttled: of how many requests. Set in `about`, an object.
status rounds_describe(const rounds *r, json_t *about);

// Goes on with seconds and disturbances from what an earlier run has described; before rounds_run.
void rounds_resume(rounds *r, const json_t *about);

// One paragraph on how steady it was, for people, to standard output; before it a warning if a CPU
// quota bent the times.
status rounds_print_noise(const rounds *r);

// Samples of a cell so far; its values in the order they were taken, (as many); their median and
// its interval, which takes one sample at least.
size_t rounds_samples(const rounds *r, size_t cell);
void rounds_values(const rounds *r, size_t cell, size_t value, double *out);
estimate rounds_estimate(const rounds *r, size_t cell, size_t value);

// For results_write, with the rounds as `what`: the columns
// model,decoder,metric,X,median_UNIT,ci_lo_UNIT,ci_hi_UNIT,samples,throttled. Cells without a
// sample are left out, and so are bounds of fewer than STATS_MIN_SAMPLES.
status rounds_print_summary(FILE *f, const void *what);

// All of it for a job that needs no more: measures, as rounds_run says WHAT, and writes
// DIR/NAME-samples.csv and DIR/NAME-summary.csv. *exit_code: that of the signal which ended it, if
// one did (bench/base/interrupt.h). rounds_close frees what there is, also after a failure.
status rounds_measure(const rounds_job *job, const char *dir, const char *name, const char *what,
                      rounds *out, int *exit_code);

#endif
