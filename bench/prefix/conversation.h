// A conversation with and without a prompt cache, and a prompt whose changing part stands first or
// last.
#ifndef LOCKSTEP_BENCH_PREFIX_CONVERSATION_H
#define LOCKSTEP_BENCH_PREFIX_CONVERSATION_H

#include "bench/base/options.h"
#include "common/model/model.h"

enum { CONVERSATIONS_HELD = 4 }; // of the longest length, by the pool

// Measures both, counts the rows computed, prints a table of each and writes
// prefix-conversation-samples.csv, prefix-conversation-summary.csv and the same two of
// prefix-placement. Fails where the rows computed are not those that the length of the texts gives.
status conversation_measure(const model *m, const char *dir, const bench_options *o,
                            int *exit_code);

#endif
