// Files with one JSON object a line.
#ifndef LOCKSTEP_BENCH_JSONL_H
#define LOCKSTEP_BENCH_JSONL_H

#include <jansson.h>

#include "common/base/status.h"

typedef status jsonl_take(void *user, const json_t *object);

// Gives the objects to `take`, which borrows them, in their order. A failure, its own too, names
// file and line; a file without a line is one.
status jsonl_read(const char *path, jsonl_take *take, void *user);

#endif
