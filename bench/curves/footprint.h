// The experiment `memory`: the peak of a process that prefills a context, and what of it one that
// only has the model does not need.
#ifndef LOCKSTEP_BENCH_FOOTPRINT_H
#define LOCKSTEP_BENCH_FOOTPRINT_H

#include "bench/curves/curves.h"

// As in an experiment (bench/curves/curves.h), with the metrics "resident" and "held", in bytes.
status footprint_measure(lab *l, size_t which, size_t i, double *bytes);
double footprint_count(const lab *l, size_t metric, size_t which, size_t i);
status footprint_conclude(const lab *l, FILE *f);

#endif
