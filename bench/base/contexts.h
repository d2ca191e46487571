// Which contexts to look at, and the one sequence of tokens they are cut from.
#ifndef LOCKSTEP_BENCH_CONTEXTS_H
#define LOCKSTEP_BENCH_CONTEXTS_H

#include <stddef.h>

#include "common/base/status.h"

// Token i of the sequence that verify, sweep and roofline use, for a vocabulary of V.
static inline int fixed_token(size_t i, size_t V)
{
    return (int)((7919 * i + 13) % V);
}

// Parses numbers and ranges, "1,2,15-17,1023", each within 1..limit, into an ascending array
// without repetitions. Free it with memory_free. The failure names the item and what is allowed.
status contexts_parse(const char *text, size_t limit, size_t **list, size_t *n);

// 16, 32, 64, ... below limit, and limit itself.
status contexts_doubling(size_t limit, size_t **list, size_t *n);

#endif
