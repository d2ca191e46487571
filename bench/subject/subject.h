// The decoders that a command looks at: ours or a plug-in, each under a spec.
#ifndef LOCKSTEP_BENCH_SUBJECT_H
#define LOCKSTEP_BENCH_SUBJECT_H

#include <jansson.h>

#include "bench/base/options.h"
#include "bench/subject/plugin.h"
#include "common/decoder.h"

enum { SUBJECT_NAME = 224, SUBJECT_KEY = 256 };

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
    "                                 all, window:W[+S] or heavy:R+H;\n"                           \
    "                                 " KV_FORM_WORDS ";\n"                                        \
    "                                 and where: file:DIR[:MIB] in a file, MIB of it in memory;\n" \
    "                                 as in window:256+4,f16\n"

// Opens SUBJECT.
status subject_open(const char *text, subject *out);

// Opens `first`, one that the others are compared with, or nothing if it is NULL; and behind it the
// subjects given with -d and -k, in their order. Where none were, naive and kvcache. Two of one
// name are refused, and two plug-ins. Free the list with subjects_free, also after a failure.
status subjects_open(const bench_options *o, const char *first, subjects *out);
void subjects_free(subjects *s);

// The same behind naive, where another one is measured beside it: refused if there is none.
status subjects_open_beside_naive(const bench_options *o, subjects *out);

// A decoder of this subject for T_max tokens.
status subject_create(const subject *of, const model *m, size_t T_max, decoder **out);

// What a command is about to allocate.
typedef struct subjects_need {
    const char *model, *first; // as for model_load and subjects_open
    const char *contexts;      // a list: decoders are made for its longest; NULL: for all of n_ctx
    size_t firsts, others;     // how many decoders of `first`, and of each other subject, at once
    size_t all_logits;         // how many times (T, V) logits besides
    size_t blocks;             // how many times as much as the weights take, besides
} subjects_need;

// Refuses what needs more memory than is there, before anything is allocated. A plug-in is taken to
// need what kvcache does.
status subjects_check_memory(const bench_options *o, const subjects_need *need);

// Under which name the record of verifications knows it (bench/base/results.h): NULL for kvcache
// itself, otherwise `text`.
const char *subject_key(const subject *of, char text[SUBJECT_KEY]);

// All names with their keys, "kvcache" for that itself, as a new object; NULL without memory.
json_t *subjects_json(const subjects *s);

// Runs body(options), in a process of its own if a plug-in is among the subjects.
status subjects_contain(plugin_body *body, bench_options *o, int *exit_code);

#endif
