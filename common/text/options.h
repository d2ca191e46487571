// The command line that all generating programs share.
#ifndef LOCKSTEP_OPTIONS_H
#define LOCKSTEP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/text/sampler.h"

typedef struct options {
    bool help, version; // then nothing else counts
    const char *model;  // a directory, or "synthetic:..."
    const char *prompt; // text, or "-" for standard input; NULL when ids are given
    const char *ids;    // "1,2,3" or "@FILE"; NULL when a prompt is given
    size_t tokens;      // to generate at most
    sampling sampling;
    const char *kv;       // how keys and values are kept (common/kv/spec.h), or NULL: plain
    bool ignore_eos;      // go on past the end of the text
    bool print_ids, json; // what standard output holds instead of text
    const char *logits;   // path of the matrix to write, or NULL
    const char *all_logits;
} options;

enum { OPTIONS_TOKENS = 128 }; // generated unless another number is given

// Reads the arguments (borrowed) with getopt_long. What they leave out is as in `unless_given`:
// with a prompt there, none has to be given. Every failure is a usage error.
status options_parse(int argc, char **argv, const options *unless_given, options *out);

// What --help prints; `program` is the name to call it by.
void options_help(FILE *f, const char *program);

#endif
