// What all files of this room ask of an experiment under way.
#include <math.h>

#include "bench/curves/curves.h"

model *lab_model(const lab *l, size_t i)
{
    return l->models[l->what->model ? 0 : i];
}

workload *lab_work(lab *l, size_t i)
{
    return &l->work[l->what->model ? 0 : i];
}

estimate lab_estimate(const lab *l, size_t metric, size_t which, size_t i)
{
    size_t cell = which * l->xs + i;
    return rounds_samples(&l->rounds, cell) ? rounds_estimate(&l->rounds, cell, metric)
                                            : (estimate){NAN, NAN, NAN};
}
