// The experiment `crossover`: from which context on attention costs more than the linear layers.
#ifndef LOCKSTEP_BENCH_CROSSOVER_H
#define LOCKSTEP_BENCH_CROSSOVER_H

#include "bench/curves/curves.h"

// As in an experiment (bench/curves/curves.h), with the metrics "attention" and "linear", in ns.
status crossover_measure(lab *l, size_t which, size_t i, double *ns);
double crossover_count(const lab *l, size_t metric, size_t which, size_t i);
status crossover_conclude(const lab *l, FILE *f);

#endif
