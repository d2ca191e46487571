// What a spec costs in time: TTFT and step at several contexts, all samples of all specs
// interleaved.
#ifndef LOCKSTEP_BENCH_TIMES_H
#define LOCKSTEP_BENCH_TIMES_H

#include "bench/measure/rounds.h"
#include "bench/subject/subject.h"

enum { TIMES_MODELS = 3, TIMES_CONTEXTS = 8 };

// Numbers of a sample. A decoder's memory is made for each sample and first touched in it.
typedef enum times_metric { TIMES_TTFT, TIMES_STEP, TIMES_BYTES, TIMES_METRICS } times_metric;

// A model, and at which contexts it is timed.
typedef struct times_site {
    model *m;
    size_t context[TIMES_CONTEXTS], contexts;
    size_t first; // cell: subject i / contexts at context i % contexts of cell first + i
} times_site;

typedef struct times {
    const subjects *of; // borrowed; the first one is what the others are compared with
    times_site site[TIMES_MODELS];
    size_t sites, cells;
    rounds rounds;
} times;

// The models of o, -m or the usual three, and the contexts, -c or the usual ones. times_free frees
// what there is, also after a failure.
status times_open(const bench_options *o, const subjects *of, times *out, int *exit_code);
void times_free(times *t);

// Measures, or goes on with what strategies-samples.csv in `dir` has, as rounds_open does.
status times_begin(times *t, const bench_options *o, const char *dir, bool resume);
status times_run(times *t);

// The cell of a subject at the i-th context of a site, whether it has been measured, its numbers.
size_t times_cell(const times_site *at, size_t which, size_t i);
bool times_known(const times *t, const times_site *at, size_t which, size_t i);
estimate times_of(const times *t, const times_site *at, size_t which, size_t i, times_metric k);

// How many times as long as the first subject, pair by pair of the same round: the median of the
// ratios, with its interval. Below 1 is faster.
status times_ratio(const times *t, const times_site *at, size_t which, size_t i, times_metric k,
                   estimate *out);

#endif
