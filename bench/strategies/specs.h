// The specs that bench strategies sets side by side where the user names none.
#ifndef LOCKSTEP_BENCH_SPECS_H
#define LOCKSTEP_BENCH_SPECS_H

#include <stdio.h>

#include "bench/base/options.h"

// Ends in NULL; plain is not among them, as it comes first in any case.
extern const char *const specs_usual[];

// Adds to the subjects of o a cached decoder under each of `list`, which ends in NULL. A spec that
// kv_parse of this build refuses is left out, with a note to `notes` that says why.
void specs_add(const char *const *list, bench_options *o, FILE *notes);

#endif
