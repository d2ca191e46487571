// The options that the commands of build/bench share, over getopt_long.
#include "bench/base/options.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/stats.h"
#include "common/base/input.h"
#include "common/model/model.h"

static const struct option all_options[] = {
    {"model", required_argument, NULL, 'm'},   {"contexts", required_argument, NULL, 'c'},
    {"samples", required_argument, NULL, 'n'}, {"budget", required_argument, NULL, 'b'},
    {"seed", required_argument, NULL, 's'},    {"out", required_argument, NULL, 'o'},
    {"quick", no_argument, NULL, 'q'},         {"decoder", required_argument, NULL, 'd'},
    {"timeout", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
    {"stages", no_argument, NULL, 'S'},        {"check", required_argument, NULL, 'C'},
    {"kv", required_argument, NULL, 'k'},      {"work", no_argument, NULL, 'w'},
    {"judge", required_argument, NULL, 'J'},   {"help", no_argument, NULL, 'h'},
};
enum { ALL_OPTIONS = sizeof all_options / sizeof *all_options };

static const char *long_name(int letter)
{
    for (size_t i = 0; i < ALL_OPTIONS; i++)
        if (all_options[i].val == letter)
            return all_options[i].name;
    return NULL;
}

static status parse_whole(const char *text, uint64_t *out)
{
    return input_whole(text, strlen(text), UINT64_MAX, out)
               ? NULL
               : status_fail("'%s' is not a whole number below 2^64", text);
}

static status parse_seconds(const char *text, double *out)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value <= 0)
        return status_fail("'%s' is not a number of seconds above 0", text);
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

static status take(int letter, bench_options *o)
{
    uint64_t samples = 0;
    status s = NULL;
    switch (letter) {
    case 'm':
        o->model = optarg;
        o->model_given = true;
        break;
    case 'c':
        o->contexts = optarg;
        break;
    case 'n':
        s = parse_whole(optarg, &samples);
        o->samples = (size_t)samples;
        break;
    case 'b':
        s = parse_seconds(optarg, &o->budget_s);
        break;
    case 's':
        s = parse_whole(optarg, &o->seed);
        break;
    case 'o':
        o->out = optarg;
        break;
    case 'd':
    case 'k':
        s = add_subject(letter == 'k' ? "kvcache:" : "", optarg, o);
        break;
    case 't':
        s = parse_seconds(optarg, &o->timeout_s);
        break;
    case 'j':
        o->json = true;
        break;
    case 'J':
        o->judge = optarg;
        break;
    case 'w':
        o->work = true;
        break;
    case 'q':
        o->quick = true;
        break;
    case 'S':
        o->stages = true;
        break;
    case 'C':
        o->check = optarg;
        break;
    default:
        o->help = true;
    }
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
        if (all_options[i].val == 'h' || strchr(accepted, all_options[i].val))
            accepted_long[n++] = all_options[i];
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
    if (s)
        *exit_code = EXIT_USAGE;
    return s;
}

status bench_options_enough_samples(const bench_options *o, int *exit_code)
{
    if (o->samples == 0 || o->samples >= STATS_MIN_SAMPLES)
        return NULL;
    *exit_code = EXIT_USAGE;
    return status_fail("--samples %zu: fewer than %d give no 95 %% interval", o->samples,
                       STATS_MIN_SAMPLES);
}
