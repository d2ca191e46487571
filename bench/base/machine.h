// What a measurement depends on besides the code: machine, system, compiler, model.
#ifndef LOCKSTEP_BENCH_MACHINE_H
#define LOCKSTEP_BENCH_MACHINE_H

#include <jansson.h>
#include <stddef.h>

#include "common/model/model.h"

// The content of context.json: "machine", "system", "build" and "model", each an object; null for
// what cannot be known here. The caller's with json_decref.
status machine_context(const model *m, json_t **out);

// Says on standard error that times will be disturbed, if the system is busy with something else
// already, or a CPU quota is set.
void machine_warn_if_busy(void);

// Cores that are online; 1 if unknown.
size_t machine_cores(void);

// Sizes of the first core's data caches, the first level first; 0 where unknown.
enum { MACHINE_CACHES = 3 };
void machine_caches(size_t bytes[MACHINE_CACHES]);

#endif
