// What providers would report of a prompt that is sent again, preset by preset.
#ifndef LOCKSTEP_BENCH_PREFIX_PRESETS_H
#define LOCKSTEP_BENCH_PREFIX_PRESETS_H

#include "bench/base/options.h"

// Sends a system prompt and user A, the same again, the system prompt and user B, and A once more
// much later, through a prompt cache under each preset. Prints the rows that each request computed
// and the JSON fields that its provider reports. Naive judges the logits: *exit_code is
// 1 if one bit differs.
status presets_show(const bench_options *o, int *exit_code);

#endif
