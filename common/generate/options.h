// The command line that all generating programs share.
#ifndef LOCKSTEP_OPTIONS_H
#define LOCKSTEP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/generate/run/context_end.h"
#include "common/generate/sampler.h"
#include "common/model/model.h"

typedef struct options {
    bool help, version; // then nothing else counts
    const char *model;  // a directory, or "synthetic:..."
    const char *prompt; // text, or "-" for standard input; NULL when ids are given
    const char *ids;    // "1,2,3" or "@FILE"; NULL when a prompt is given
    size_t tokens;      // to generate at most
    sampling sampling;
    model_weights weights;   // how matrices are kept
    bool seeded;             // the seed was given
    const char *kv;          // how keys and values are kept (common/kv/spec.h), or NULL: plain
    const char *draft;       // what proposes tokens (kvcache/draft.h), or NULL
    const char *save_state;  // "FILE[,hidden]", or NULL
    const char *load_state;  // a file, or NULL
    const char *requests;    // a file of them, or "-" (kvcache/serve/lines.h), or NULL
    size_t serve;            // a port for them, or 0
    const char *answers;     // a directory (kvcache/answers.h), or NULL
    const char *embed;       // the pooling of an embedding that is wanted in place of text, or NULL
    const char *hidden;      // path of the prompt's rows to write, or NULL
    const char *from_hidden; // such a file in place of a prompt, or NULL
    context_end context_end; // what becomes of a text that outgrows the context
    bool ignore_eos;         // go on past the end of the text
    bool print_ids, json;    // what standard output holds instead of text
    const char *logits;      // path of the matrix to write, or NULL
    const char *all_logits;
} options;

enum { OPTIONS_TOKENS = 128 }; // generated unless another number is given

// Reads the arguments (borrowed) with getopt_long. What they leave out is as in `unless_given`:
// with a prompt there, none has to be given. Every failure is a usage error.
status options_parse(int argc, char **argv, const options *unless_given, options *out);

// What --help prints; `program` is the name to call it by.
void options_help(FILE *f, const char *program);

#endif
