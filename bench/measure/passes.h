// The three forward passes whose costs are compared: a prefill of t tokens, and the step that
// extends a context of t tokens, naive and cached.
#ifndef LOCKSTEP_BENCH_PASSES_H
#define LOCKSTEP_BENCH_PASSES_H

#include <stddef.h>

#include "bench/subject/subject.h"

typedef enum pass { PASS_PREFILL, PASS_NAIVE_STEP, PASS_CACHED_STEP, PASSES } pass;

typedef struct passes {
    const model *m;
    const subject *by[PASSES];
    int *tokens; // (longest + 1) of the fixed sequence
    decoder *of[PASSES];
} passes;

// For contexts of up to `longest` tokens, below the model's limit: the naive step by `naive`, the
// others by `cached`. Borrows m and both. passes_free frees what there is, also after a failure.
status passes_create(const model *m, const subject *naive, const subject *cached, size_t longest,
                     passes *out);
void passes_free(passes *p);

// The name of the decoder that runs a pass.
const char *passes_decoder(const passes *p, pass which);

// "prefill of 64 tokens (kvcache)", "step at 64 tokens (naive)", ... into `text`, which is
// returned.
enum { PASS_NAME = 64 + SUBJECT_NAME };
const char *passes_name(const passes *p, pass which, size_t t, char text[PASS_NAME]);

// Lets passes_run compute this pass's rows and no others: the cache holds t tokens, or none before
// a prefill.
status passes_prepare(passes *p, pass which, size_t t);

// Runs a prepared pass before the eyes of fn, which may be NULL.
status passes_run(passes *p, pass which, size_t t, observer *fn, void *user);

// Reads `wanted`, a list for contexts_parse, or takes `usual`, which ends in 0: each of these, or
// the longest that the model takes. Free the list with memory_free.
status passes_contexts(const model *m, const char *wanted, const size_t *usual, size_t **list,
                       size_t *n, int *exit_code);

typedef status passes_look(passes *p, size_t t, void *user);

// Loads the model of these options and hands its passes to `look`, once per context and decoder
// other than naive that they name. Without contexts, 64 and 1000 (less where the model takes less);
// wrong ones set *exit_code to EXIT_USAGE.
status passes_at_each(const bench_options *o, passes_look *look, void *user, int *exit_code);

#endif
