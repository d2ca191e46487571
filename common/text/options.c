// Parsing with getopt_long, but with messages of our own: one line that says what to do.
#include "common/text/options.h"

#include <float.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/input.h"

enum { MOST = 2147483647 };

// Options without a short form.
enum { IGNORE_EOS = 256, KV, IDS, PRINT_IDS, LOGITS, ALL_LOGITS, JSON, VERSION };

static const char short_options[] = ":m:n:t:k:p:s:h";

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"tokens", required_argument, NULL, 'n'},
    {"temperature", required_argument, NULL, 't'},
    {"top-k", required_argument, NULL, 'k'},
    {"top-p", required_argument, NULL, 'p'},
    {"seed", required_argument, NULL, 's'},
    {"ignore-eos", no_argument, NULL, IGNORE_EOS},
    {"kv", required_argument, NULL, KV},
    {"ids", required_argument, NULL, IDS},
    {"print-ids", no_argument, NULL, PRINT_IDS},
    {"logits", required_argument, NULL, LOGITS},
    {"all-logits", required_argument, NULL, ALL_LOGITS},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

void options_help(FILE *f, const char *program)
{
    fprintf(
        f,
        "Usage: %s [OPTION]... PROMPT\n"
        "Writes the text with which a GPT-2 continues PROMPT to standard output, as it comes,\n"
        "and how long that took to standard error. With - as PROMPT, standard input is read.\n"
        "\n"
        "  -m, --model MODEL       a directory as Hugging Face publishes it, or synthetic:124M\n"
        "                          (default: the embedded model, a small Shakespeare)\n"
        "  -n, --tokens N          generate at most N tokens (default %d)\n"
        "  -t, --temperature X     0: always take the best token (default); above: draw one,\n"
        "                          the more freely the larger X is\n"
        "  -k, --top-k K           draw among the K best tokens only (default 0: off)\n"
        "  -p, --top-p P           draw among the fewest best tokens that together have\n"
        "                          probability P (default 1: off)\n"
        "  -s, --seed S            make other draws (default 0)\n"
        "      --ignore-eos        do not stop at the end of the text (eos_token_id)\n"
        "      --kv SPEC           which rows of keys and values are kept, and how: all or\n"
        "                          window:W[+S], f32 or f16, as in window:256+4,f16\n"
        "      --ids LIST          token ids instead of a PROMPT: 1,2,3, or @FILE to read them\n"
        "                          from FILE, separated by commas or white space\n"
        "      --print-ids         write the generated ids, one a line, instead of the text\n"
        "                          (a model without a tokenizer always does)\n"
        "      --logits FILE.npy   also write the logits that chose each generated token\n"
        "      --all-logits FILE.npy\n"
        "                          also write the logits after each token of the prompt\n"
        "      --json              write one JSON object with text, ids and times instead;\n"
        "                          bytes that are not UTF-8 become U+FFFD in its text\n"
        "  -h, --help              show this and exit\n"
        "      --version           show the version and exit\n"
        "\n"
        "Examples:\n"
        "  %s -n 60 \"ROMEO:\"\n"
        "  %s -t 0.8 -p 0.95 -s 7 - < opening.txt\n",
        program, OPTIONS_TOKENS, program, program);
}

static status whole(const char *option, uint64_t most, uint64_t *out)
{
    if (input_whole(optarg, strlen(optarg), most, out))
        return NULL;
    return status_fail("%s '%s': give a whole number from 0 to %llu", option, optarg,
                       (unsigned long long)most);
}

static status size(const char *option, size_t *out)
{
    uint64_t value = 0;
    status s = whole(option, MOST, &value);
    *out = (size_t)value;
    return s;
}

static status number(const char *option, float least, float most, const char *range, float *out)
{
    char *end;
    *out = strtof(optarg, &end);
    if (end != optarg && *end == '\0' && *out >= least && *out <= most) // which NaN is not
        return NULL;
    return status_fail("%s '%s': give a number %s", option, optarg, range);
}

static status file(const char *option, const char **out)
{
    *out = optarg;
    return *optarg ? NULL : status_fail("%s '': give the name of a file", option);
}

// getopt's own two failures. argv[optind - 1] is the long option meant, or the short one that wants
// an argument.
static status misused(int code, char **argv)
{
    if (code == ':')
        return status_fail("option '%s' wants an argument: --help shows which", argv[optind - 1]);
    if (optopt != 0 && (optopt >= IGNORE_EOS || strchr(short_options, optopt)))
        return status_fail("option '%s' takes no argument: leave out the '=' and what follows",
                           argv[optind - 1]);
    if (optopt != 0)
        return status_fail("unknown option '-%c': --help lists the options", optopt);
    return status_fail("unknown or ambiguous option '%s': --help lists the options",
                       argv[optind - 1]);
}

static status parse_one(int code, char **argv, options *o)
{
    switch (code) {
    case 'm':
        return file("--model", &o->model);
    case 'n':
        return size("--tokens", &o->tokens);
    case 't':
        return number("--temperature", 0, FLT_MAX, "from 0 on", &o->sampling.temperature);
    case 'k':
        return size("--top-k", &o->sampling.top_k);
    case 'p':
        return number("--top-p", FLT_TRUE_MIN, 1, "above 0 and at most 1", &o->sampling.top_p);
    case 's':
        return whole("--seed", UINT64_MAX, &o->sampling.seed);
    case IGNORE_EOS:
        o->ignore_eos = true;
        return NULL;
    case KV:
        o->kv = optarg;
        return NULL;
    case IDS:
        o->ids = optarg;
        return NULL;
    case PRINT_IDS:
        o->print_ids = true;
        return NULL;
    case LOGITS:
        return file("--logits", &o->logits);
    case ALL_LOGITS:
        return file("--all-logits", &o->all_logits);
    case JSON:
        o->json = true;
        return NULL;
    case 'h':
        o->help = true;
        return NULL;
    case VERSION:
        o->version = true;
        return NULL;
    default:
        return misused(code, argv);
    }
}

// What no option can tell alone: that there is one prompt, and a file of its own for each matrix.
static status check(int argc, char **argv, const options *unless_given, options *o)
{
    if (argc - optind > 1)
        return status_fail("'%s' and '%s': give one PROMPT, in quotation marks", argv[optind],
                           argv[optind + 1]);
    o->prompt = argv[optind]; // NULL after the last
    if (o->prompt && o->ids)
        return status_fail("both a PROMPT, '%s', and --ids: give one of them", o->prompt);
    if (!o->prompt && !o->ids)
        o->prompt = unless_given->prompt;
    if (!o->prompt && !o->ids)
        return status_fail(
            "no prompt: give a PROMPT in quotation marks, - to read standard input, or --ids");
    if (o->logits && o->all_logits && strcmp(o->logits, o->all_logits) == 0)
        return status_fail("--logits and --all-logits both name '%s': give two files", o->logits);
    return NULL;
}

status options_parse(int argc, char **argv, const options *unless_given, options *out)
{
    *out = *unless_given;
    optind = 1;
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, short_options, long_options, NULL)) != -1;) {
        status s = parse_one(code, argv, out);
        if (s || out->help || out->version)
            return s;
    }
    return check(argc, argv, unless_given, out);
}
