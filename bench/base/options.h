// The options that the commands of build/bench share, parsed in one place.
#ifndef LOCKSTEP_BENCH_OPTIONS_H
#define LOCKSTEP_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/model/model.h"

enum { EXIT_USAGE = 2 };

// GPT-2 124M's shape with nothing to download: what speed is measured on.
#define BENCH_MODEL "synthetic:124M"

// Decoders that one command can be given, and the characters of one.
enum { OPTIONS_SUBJECTS = 16, OPTIONS_SUBJECT = 512 };

typedef struct bench_options {
    const char *model; // -m; model_default() unless given
    bool model_given;
    model_weights weights; // -W, how its matrices are kept; MODEL_AS_STORED unless given
    const char *contexts;  // -c, a list for contexts_parse; NULL unless given
    size_t samples;        // -n; 0 unless given
    double budget;         // -b, in seconds; of verify, in calls; 0 unless given
    uint64_t seed;         // -s; 0 unless given
    const char *out;       // -o, a directory; NULL unless given
    bool quick;            // -q
    char subject[OPTIONS_SUBJECTS][OPTIONS_SUBJECT]; // -d and -k, as for subject_open
    size_t subjects;                                 // how many were given
    const char *judge;                               // -J, a subject; NULL unless given
    double timeout_s;                                // -t; 60 unless given
    double limit_s;                                  // -l; 0 unless given
    bool json;                                       // -j
    bool work;                                       // -w
    bool stages;                                     // -S
    const char *trace;                               // -T, a file; NULL unless given
    size_t blocks;                                   // -B; 0 unless given
    bool presets;                                    // -P
    const char *users;                               // -u, a list as of -c; NULL unless given
    const char *mix;                                 // -M; NULL unless given
    size_t requests;                                 // -r; 0 unless given
    size_t memory_mib;                               // -K; 0 unless given
    const char *check; // -C, a file of golden digests; NULL unless given
    char **words;      // *: arguments that are no options, (word_count)
    size_t word_count;
    bool help; // -h: the usage has been printed, and the command has nothing left to do
} bench_options;

// Every command of build/bench is one of these: argv[0] is its name. NULL is done, and the program
// exits with *exit_code (0 unless set). Otherwise the message is printed and the program exits with
// *exit_code, or with 1 where that is 0. *exit_code is 0 on entry.
typedef status command(int argc, char **argv, int *exit_code);

// Parses argv with those options whose letters `accepted` holds, in getopt's notation ("m:c:q"; h
// goes without saying); words besides are taken if it begins with a *. `usage` is what --help
// prints. A failure sets *exit_code to EXIT_USAGE.
status bench_options_parse(int argc, char **argv, const char *accepted, const char *usage,
                           bench_options *out, int *exit_code);

// The list of --contexts, as contexts_parse takes it; a wrong one is refused with EXIT_USAGE.
status bench_options_contexts(const char *contexts, size_t limit, size_t **list, size_t *n,
                              int *exit_code);

// Prints the options that choose a model: " -m NAME", and " -W q8" where its label, which
// model_label gives, says that its matrices are rounded.
void bench_options_print_model(FILE *f, const char *label);

// Refuses, with EXIT_USAGE, a number of --samples that gives no interval.
status bench_options_enough_samples(const bench_options *o, int *exit_code);

#endif
