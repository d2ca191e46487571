// The decoders that a command looks at: ours or a plug-in, each under a spec.
#ifndef LOCKSTEP_BENCH_SUBJECT_H
#define LOCKSTEP_BENCH_SUBJECT_H

#include "bench/base/options.h"
#include "bench/subject/plugin.h"
#include "common/decoder.h"

enum { SUBJECT_NAME = 160, SUBJECT_KEY = 192 };

typedef struct subject {
    const decoder_api *api;
    kv_spec kv;
    bool plugin;
    char text[OPTIONS_SUBJECT]; // as it was asked for
    char name[SUBJECT_NAME];    // "naive", "kvcache", "kvcache:window:256+4,f16", "mine"
} subject;

// As many as were asked for.
typedef struct subjects {
    subject *at; // (n)
    size_t n;
} subjects;

// What --help says of the options -d and -k.
#define SUBJECT_USAGE                                                                              \
    "  -d, --decoder SUBJECT          naive, kvcache, kvcache:SPEC, FILE.so or FILE.so:SPEC "      \
    "(make "                                                                                       \
    "mine\n"                                                                                       \
    "                                 SRC=yours.c builds one); may be given again\n"               \
    "  -k, --kv SPEC                  short for -d kvcache:SPEC. SPEC says which rows are kept "   \
    "and how:\n"                                                                                   \
    "                                 all or window:W[+S], f32 or f16, as in window:256+4,f16\n"

// Opens SUBJECT for a model of this config.
status subject_open(const char *text, const config *c, subject *out);

// Opens `first`, one that the others are compared with, or nothing if it is NULL; and behind it the
// subjects given with -d and -k, in their order. Where none were, naive and kvcache. Two of one
// name are refused, and two plug-ins. Free the list with subjects_free, also after a failure.
status subjects_open(const bench_options *o, const char *first, const config *c, subjects *out);
void subjects_free(subjects *s);

// A decoder of this subject for T_max tokens.
status subject_create(const subject *of, const model *m, size_t T_max, decoder **out);

// Under which name the record of verifications knows it (bench/base/results.h): NULL for kvcache
// itself, otherwise `text`.
const char *subject_key(const subject *of, char text[SUBJECT_KEY]);

// Runs body(options), in a process of its own if a plug-in is among the subjects.
status subjects_contain(plugin_body *body, bench_options *o, int *exit_code);

#endif
