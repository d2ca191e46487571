// What all files of this room ask of an experiment under way.
#include <math.h>
#include <string.h>

#include "bench/curves/curves.h"
#include "common/base/memory.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"

model *lab_model(const lab *l, size_t i)
{
    return l->models[l->what->model ? 0 : i];
}

workload *lab_work(lab *l, size_t i)
{
    return &l->work[l->what->model ? 0 : i];
}

bool lab_recomputes(const lab *l, size_t which)
{
    return l->of.at[which].api == &naive_decoder;
}

size_t lab_first_row(const lab *l, size_t which, size_t t)
{
    return lab_recomputes(l, which) ? 0 : t;
}

// The first decoder under the same spec.
static size_t first_alike(const lab *l, size_t which)
{
    char asked[KV_NAME], other[KV_NAME];
    size_t i = 0;
    kv_name(&l->of.at[which].kv, asked);
    while (strcmp(kv_name(&l->of.at[i].kv, other), asked) != 0)
        i++;
    return i;
}

status lab_open_parts(lab *l)
{
    l->parts = memory_array(l->of.n, sizeof *l->parts);
    status failed = l->parts ? NULL : memory_failed("the parts of a step");
    for (size_t d = 0; d < l->of.n && !failed; d++)
        if (l->of.at[d].plugin)
            failed = status_fail("%s times attention on its own, which stands open only in our own "
                                 "decoders: leave out %s, or this experiment",
                                 l->what->name, l->of.at[d].name);
        else if (first_alike(l, d) == d)
            failed = parts_create(l->models[0], &l->of.at[d].kv, &l->parts[d]);
    return failed;
}

parts *lab_parts(lab *l, size_t which)
{
    return &l->parts[first_alike(l, which)];
}

int lab_width(const lab *l, size_t which)
{
    const int n = (int)strlen(l->of.at[which].name);
    return n < 10 ? 10 : n;
}

estimate lab_estimate(const lab *l, size_t metric, size_t which, size_t i)
{
    size_t cell = which * l->xs + i;
    return rounds_samples(&l->rounds, cell) ? rounds_estimate(&l->rounds, cell, metric)
                                            : (estimate){NAN, NAN, NAN};
}
