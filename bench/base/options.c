// The options that the commands of build/bench share, over getopt_long.
#include "bench/base/options.h"

#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/stats.h"
#include "common/base/format.h"
#include "common/base/input.h"
#include "common/file/file.h"
#include "common/model/model.h"

// What an option's value is, and where it goes.
typedef enum kind { TEXT, COUNT, WHOLE, SECONDS, FLAG, DECODER, KV, WEIGHTS } kind;

static const struct {
    const char *name;
    int letter;
    kind kind;
    size_t at; // in bench_options
} all_options[] = {
    {"model", 'm', TEXT, offsetof(bench_options, model)},
    {"weights", 'W', WEIGHTS, offsetof(bench_options, weights)},
    {"contexts", 'c', TEXT, offsetof(bench_options, contexts)},
    {"samples", 'n', COUNT, offsetof(bench_options, samples)},
    {"budget", 'b', SECONDS, offsetof(bench_options, budget)},
    {"seed", 's', WHOLE, offsetof(bench_options, seed)},
    {"out", 'o', TEXT, offsetof(bench_options, out)},
    {"quick", 'q', FLAG, offsetof(bench_options, quick)},
    {"decoder", 'd', DECODER, 0},
    {"kv", 'k', KV, 0},
    {"judge", 'J', TEXT, offsetof(bench_options, judge)},
    {"timeout", 't', SECONDS, offsetof(bench_options, timeout_s)},
    {"limit", 'l', SECONDS, offsetof(bench_options, limit_s)},
    {"json", 'j', FLAG, offsetof(bench_options, json)},
    {"work", 'w', FLAG, offsetof(bench_options, work)},
    {"stages", 'S', FLAG, offsetof(bench_options, stages)},
    {"trace", 'T', TEXT, offsetof(bench_options, trace)},
    {"blocks", 'B', COUNT, offsetof(bench_options, blocks)},
    {"presets", 'P', FLAG, offsetof(bench_options, presets)},
    {"users", 'u', TEXT, offsetof(bench_options, users)},
    {"mix", 'M', TEXT, offsetof(bench_options, mix)},
    {"requests", 'r', COUNT, offsetof(bench_options, requests)},
    {"memory", 'K', COUNT, offsetof(bench_options, memory_mib)},
    {"check", 'C', TEXT, offsetof(bench_options, check)},
    {"help", 'h', FLAG, offsetof(bench_options, help)},
};
enum { ALL_OPTIONS = sizeof all_options / sizeof *all_options };

// Which of them has this letter.
static size_t option_of(int letter)
{
    size_t i = 0;
    while (i + 1 < ALL_OPTIONS && all_options[i].letter != letter)
        i++;
    return i;
}

static const char *long_name(int letter)
{
    return all_options[option_of(letter)].name;
}

static status parse_whole(const char *text, uint64_t *out)
{
    return input_whole(text, strlen(text), INT64_MAX, out) // as JSON has it
               ? NULL
               : status_fail("'%s' is not a whole number below 2^63", text);
}

static status parse_positive(const char *text, double *out)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value <= 0)
        return status_fail("'%s' is not a number above 0", text);
    *out = value;
    return NULL;
}

static status add_subject(const char *before, const char *text, bench_options *o)
{
    if (o->subjects == OPTIONS_SUBJECTS)
        return status_fail("%d decoders at a time are enough", OPTIONS_SUBJECTS);
    if (strlen(before) + strlen(text) >= OPTIONS_SUBJECT)
        return status_fail("use fewer than %d characters", OPTIONS_SUBJECT - 10);
    snprintf(o->subject[o->subjects++], OPTIONS_SUBJECT, "%s%s", before, text);
    return NULL;
}

static status take_count(const char *text, size_t *out)
{
    uint64_t value = 0;
    status s = parse_whole(text, &value);
    *out = (size_t)value;
    return s;
}

// The value, optarg, of option i.
static status take_value(size_t i, bench_options *o)
{
    void *at = (char *)o + all_options[i].at;
    switch (all_options[i].kind) {
    case TEXT:
        *(const char **)at = optarg;
        return NULL;
    case COUNT:
        return take_count(optarg, at);
    case WHOLE:
        return parse_whole(optarg, at);
    case SECONDS:
        return parse_positive(optarg, at);
    case WEIGHTS:
        return model_parse_weights(optarg, at);
    case DECODER:
        return add_subject("", optarg, o);
    case KV:
        return add_subject("kvcache:", optarg, o);
    default:
        *(bool *)at = true;
        return NULL;
    }
}

static status take(int letter, bench_options *o)
{
    status s = take_value(option_of(letter), o);
    o->model_given |= letter == 'm';
    return s ? status_fail("--%s: %s", long_name(letter), s) : NULL;
}

// What getopt_long stumbled over: optopt is the letter, or 0 for an unknown long option.
static status misused(int result, char **argv)
{
    if (optopt == 0)
        return status_fail("unknown option %s", argv[optind - 1]);
    return result == ':' ? status_fail("--%s wants a value", long_name(optopt))
                         : status_fail("option -%c is unknown, or takes no value", optopt);
}

static status parse(int argc, char **argv, const char *accepted, bench_options *o)
{
    struct option accepted_long[ALL_OPTIONS + 1];
    char letters[64];
    size_t n = 0;
    bool words = *accepted == '*';
    accepted += words;
    for (size_t i = 0; i < ALL_OPTIONS; i++)
        if (all_options[i].letter == 'h' || strchr(accepted, all_options[i].letter))
            accepted_long[n++] = (struct option){
                all_options[i].name, all_options[i].kind == FLAG ? no_argument : required_argument,
                NULL, all_options[i].letter};
    accepted_long[n] = (struct option){0};
    snprintf(letters, sizeof letters, ":h%s", accepted);
    optind = 1;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, letters, accepted_long, NULL)) != -1;) {
        status s = letter == '?' || letter == ':' ? misused(letter, argv) : take(letter, o);
        if (s)
            return s;
    }
    o->words = argv + optind;
    o->word_count = (size_t)(argc - optind);
    return o->word_count > 0 && !words ? status_fail("unexpected argument '%s'", argv[optind])
                                       : NULL;
}

status bench_options_parse(int argc, char **argv, const char *accepted, const char *usage,
                           bench_options *out, int *exit_code)
{
    *out = (bench_options){.model = model_default(), .timeout_s = 60};
    status s = parse(argc, argv, accepted, out);
    if (s) {
        *exit_code = EXIT_USAGE;
        return status_fail("%s; build/bench %s --help lists the options", s, argv[0]);
    }
    if (out->help)
        fputs(usage, stdout);
    return NULL;
}

status bench_options_contexts(const char *contexts, size_t limit, size_t **list, size_t *n,
                              int *exit_code)
{
    status s = contexts_parse(contexts, limit, list, n);
    if (!s)
        return NULL;
    *exit_code = EXIT_USAGE;
    return status_fail("--contexts %s", s);
}

status bench_options_enough_samples(const bench_options *o, int *exit_code)
{
    if (o->samples == 0 || o->samples >= STATS_MIN_SAMPLES)
        return NULL;
    *exit_code = EXIT_USAGE;
    return status_fail("--samples %zu: fewer than %d give no 95 %% interval", o->samples,
                       STATS_MIN_SAMPLES);
}

void bench_options_print_model(FILE *f, const char *label)
{
    size_t n;
    const bool rounded = input_ends_in(label, MODEL_ROUNDED, &n);
    char name[FILE_PATH_SIZE];
    snprintf(name, sizeof name, "%.*s", (int)n, label);
    fputs(" -m ", f);
    format_word(f, name);
    if (rounded)
        fputs(" -W q8", f);
}
