// The curves: what a step costs against context, layers and tokens, each an experiment that can be
// stopped and resumed.
#ifndef LOCKSTEP_BENCH_CURVES_H
#define LOCKSTEP_BENCH_CURVES_H

#include "bench/base/options.h"
#include "bench/measure/rounds.h"
#include "bench/measure/workload.h"

enum { CURVES_METRICS = 3, CURVES_X = 32 };

typedef struct lab lab;

// One experiment: what it asks, on which model, and how a sample is taken. A cell is a decoder at a
// place on the x axis.
typedef struct experiment {
    const char *name, *question;
    const char *model; // its own, unless another is named ("": the embedded one); NULL: open makes
                       // one for each x
    const char *x;     // what the x axis counts, a column's name
    const size_t *places; // on it, ascending, ends in 0; NULL: 16, 32, 64, ... and the largest
    const char *metrics[CURVES_METRICS + 1]; // ends in NULL
    const char *unit;                        // of their values: "ns" or "bytes"
    const char *counted;                     // what `count` counts: "multiply_adds" or "bytes"
    double budget_s;
    size_t (*most)(const config *c); // the largest x there can be
    status (*open)(lab *l);          // makes what measure needs; NULL: nothing
    status (*measure)(lab *l, size_t which, size_t i,
                      double *values); // one sample at x[i]: (metrics)
    double (*count)(const lab *l, size_t metric, size_t which, size_t i);
    // Bytes read anew in each step: slopes are fitted where one cache holds them. NULL: they are
    // fitted from `from` on.
    double (*bytes)(const lab *l, size_t i);
    size_t from;
    size_t reach;                              // tokens that a sample needs beyond x
    status (*conclude)(const lab *l, FILE *f); // prints what there is to say besides; NULL: nothing
} experiment;

// An experiment under way.
struct lab {
    const experiment *what;
    const bench_options *o;
    double budget_s;
    subjects of; // naive first
    char dir[FILE_PATH_SIZE];
    model *models[CURVES_X]; // one, or one for each x
    workload work[CURVES_X]; // on each model, where measure needs it
    parts *parts;            // (of.n) on the first, likewise
    size_t x[CURVES_X], xs, metrics;
    size_t first, last; // slopes are fitted to x[first..last], which was settled before the run
    const char *level;  // of the memory hierarchy that holds `bytes` there, and nowhere else; NULL:
                        // no matter
    rounds rounds;
    int exit_code; // EXIT_USAGE where --contexts is wrong
};

// All of them, in the order of the course.
enum { EXPERIMENTS = 8 };
extern const experiment experiments[EXPERIMENTS];

// Whether decoder `which` computes every row anew, and the first row that its step at context t
// computes. A plug-in is taken to keep what it has computed.
bool lab_recomputes(const lab *l, size_t which);
size_t lab_first_row(const lab *l, size_t which, size_t t);

// Makes parts, for all decoders. Refused for a plug-in, whose parts cannot be told apart.
status lab_open_parts(lab *l);

// The parts of decoder `which`: one store serves all that keep their rows alike.
parts *lab_parts(lab *l, size_t which);

// The width of decoder `which`'s column in a table.
int lab_width(const lab *l, size_t which);

// The model that x[i] is about, and what is measured with on it.
model *lab_model(const lab *l, size_t i);
workload *lab_work(lab *l, size_t i);

// Median and interval of a metric of decoder `which` at x[i]; NaN without a sample.
estimate lab_estimate(const lab *l, size_t metric, size_t which, size_t i);

// Settles first, last and level: the outermost level of memory in which there are enough places to
// fit a line to.
void lab_settle_range(lab *l);

// Writes NAME-summary.csv, NAME-counts.csv, NAME-fits.csv and NAME-conclusion.txt, and notes their
// digests in `context`.
status lab_write(const lab *l, json_t *context);

// Prints the table, the fits and the conclusion.
status lab_report(const lab *l);

// `build/bench curves [EXPERIMENT ...]`
command curves_command;

#endif
