// Parsing with getopt_long, but with messages of our own: one line that says what to do.
#include "common/generate/options.h"

#include <float.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/input.h"
#include "common/file/file.h"
#include "common/file/replacement.h"
#include "common/generate/state.h"
#include "common/kv/spec.h"

enum { MOST = 2147483647 };

// Options without a short form.
enum {
    IGNORE_EOS = 256,
    WEIGHTS,
    KV,
    DRAFT,
    SAVE_STATE,
    LOAD_STATE,
    REQUESTS,
    SERVE,
    ANSWERS,
    EMBED,
    HIDDEN,
    FROM_HIDDEN,
    CONTEXT_END,
    IDS,
    PRINT_IDS,
    LOGITS,
    ALL_LOGITS,
    JSON,
    VERSION
};

static const char short_options[] = ":m:n:t:k:p:s:h";

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"tokens", required_argument, NULL, 'n'},
    {"temperature", required_argument, NULL, 't'},
    {"top-k", required_argument, NULL, 'k'},
    {"top-p", required_argument, NULL, 'p'},
    {"seed", required_argument, NULL, 's'},
    {"ignore-eos", no_argument, NULL, IGNORE_EOS},
    {"weights", required_argument, NULL, WEIGHTS},
    {"kv", required_argument, NULL, KV},
    {"draft", required_argument, NULL, DRAFT},
    {"save-state", required_argument, NULL, SAVE_STATE},
    {"load-state", required_argument, NULL, LOAD_STATE},
    {"requests", required_argument, NULL, REQUESTS},
    {"serve", required_argument, NULL, SERVE},
    {"answers", required_argument, NULL, ANSWERS},
    {"embed", required_argument, NULL, EMBED},
    {"hidden", required_argument, NULL, HIDDEN},
    {"from-hidden", required_argument, NULL, FROM_HIDDEN},
    {"context-end", required_argument, NULL, CONTEXT_END},
    {"ids", required_argument, NULL, IDS},
    {"print-ids", no_argument, NULL, PRINT_IDS},
    {"logits", required_argument, NULL, LOGITS},
    {"all-logits", required_argument, NULL, ALL_LOGITS},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

static void help_text(FILE *f, const char *program)
{
    fprintf(
        f,
        "Usage: %s [OPTION]... PROMPT\n"
        "Writes the text with which a GPT-2 continues PROMPT to standard output, as it comes,\n"
        "and how long that took to standard error. With - as PROMPT, standard input is read.\n"
        "\n"
        "  -m, --model MODEL       a directory as Hugging Face publishes it (model_type gpt2 or\n"
        "                          gpt_bigcode), synthetic:124M, or synthetic: and some of L=,\n"
        "                          C=, H=, G= (K/V heads), F=, V=, T=, seed=, as in "
        "synthetic:G=1;\n"
        "                          dtype=f16 or bf16 rounds its numbers, as in\n"
        "                          synthetic:124M,dtype=bf16\n"
        "                          (default: the embedded model, a small Shakespeare)\n"
        "  -n, --tokens N          generate at most N tokens (default %d)\n"
        "  -t, --temperature X     0: always take the best token (default); above: draw one,\n"
        "                          the more freely the larger X is\n"
        "  -k, --top-k K           draw among the K best tokens only (default 0: off)\n"
        "  -p, --top-p P           draw among the fewest best tokens that together have\n"
        "                          probability P (default 1: off)\n"
        "  -s, --seed S            make other draws (default 0)\n"
        "      --ignore-eos        do not stop at the end of the text (eos_token_id)\n",
        program, OPTIONS_TOKENS);
}

static void help_strategies(FILE *f)
{
    fputs(
        "      --weights q8        round the matrices to 8 bits when they are loaded: a quarter "
        "of\n"
        "                          the bytes a step reads, and other logits (default: as they are\n"
        "                          stored, 16 bits stay 16 bits)\n"
        "      --kv SPEC           which rows of keys and values are kept, and how: all,\n"
        "                          window:W[+S] or heavy:R+H;\n"
        "                          " KV_FORM_WORDS ";\n"
        "                          and where:\n"
        "                          file:DIR[:MIB] for a file in DIR and MIB of it in memory\n"
        "                          (default 16), as in window:256+4,f16,file:/var/tmp:64\n"
        "      --draft DIR[:K]     kvcache: let the model in DIR propose K tokens (default 4) for\n"
        "                          each pass; the text does not change, only its speed\n"
        "      --draft lookup[:N,K]\n"
        "                          propose the K tokens behind the latest earlier place with the\n"
        "                          last N (default 3,4)\n"
        "      --save-state FILE[,hidden]\n"
        "                          kvcache: save keys and values at the end, or, in half the\n"
        "                          bytes, each layer's input, from which they are computed again\n"
        "      --load-state FILE   kvcache: go on from there, as far as the prompt begins with "
        "the\n"
        "                          same tokens; model and --kv must be those it was saved with\n"
        "      --requests FILE     kvcache: answer each line of FILE (- is standard input), a\n"
        "                          request in OpenAI's JSON, with a line of JSON, many at a time\n"
        "      --serve PORT        kvcache: answer such requests over HTTP on 127.0.0.1:PORT\n"
        "      --answers DIR       kvcache: look in DIR for the answer to the same request, and\n"
        "                          keep it there if it is none yet (above temperature 0 with a\n"
        "                          --seed only)\n"
        "      --embed POOLING     kvcache: write the prompt's embedding in place of text, one\n"
        "                          JSON object: the mean or the last of its final hidden states\n"
        "      --context-end END   where the context is full: stop (default); shift:S keeps the\n"
        "                          first S tokens and the last half of the rest; crop keeps the\n"
        "                          last tokens. Tokens that move are computed again\n",
        f);
}

static void help_output(FILE *f, const char *program)
{
    fprintf(
        f,
        "      --ids LIST          token ids instead of a PROMPT: 1,2,3, or @FILE to read them\n"
        "                          from FILE, separated by commas or white space\n"
        "      --print-ids         write the generated ids, one a line, instead of the text\n"
        "                          (a model without a tokenizer always does)\n"
        "      --from-hidden FILE.npy\n"
        "                          rows instead of a PROMPT, as --hidden writes them\n"
        "      --hidden FILE.npy   also write the prompt's rows as they enter the first layer,\n"
        "                          embeddings of tokens and positions added up\n"
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
        program, program);
}

void options_help(FILE *f, const char *program)
{
    help_text(f, program);
    help_strategies(f);
    help_output(f, program);
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

static status port(size_t *out)
{
    uint64_t value = 0;
    const bool is_number = input_whole(optarg, strlen(optarg), 65535, &value);
    *out = (size_t)value;
    return is_number && value > 0
               ? NULL
               : status_fail("--serve '%s': give a port, a whole number from 1 to 65535", optarg);
}

static status number(const char *option, float least, float most, const char *range, float *out)
{
    char *end;
    *out = strtof(optarg, &end);
    if (end != optarg && *end == '\0' && *out >= least && *out <= most) // which NaN is not
        return NULL;
    return status_fail("%s '%s': give a number %s", option, optarg, range);
}

static status weights(model_weights *out)
{
    status s = model_parse_weights(optarg, out);
    return s ? status_fail("--weights %s", s) : NULL;
}

static status file(const char *option, const char **out)
{
    *out = optarg;
    return *optarg ? NULL : status_fail("%s '': give the name of a file", option);
}

static status pooling(const char **out)
{
    *out = optarg;
    if (strcmp(optarg, "mean") == 0 || strcmp(optarg, "last") == 0)
        return NULL;
    return status_fail("--embed '%s': give mean or last", optarg);
}

// getopt's own two failures. argv[optind - 1] is the long option meant, or the short one that wants
// an argument.
static status misused(int code, char **argv)
{
    if (code == ':')
        return status_fail("option '%s' wants an argument: --help shows which", argv[optind - 1]);
    if (optopt != 0 && (optopt >= IGNORE_EOS || (optopt != ':' && strchr(short_options, optopt))))
        return status_fail("option '%s' takes no argument: leave out the '=' and what follows",
                           argv[optind - 1]);
    if (optopt != 0)
        return status_fail("unknown option '-%c': --help lists the options", optopt);
    return status_fail("unknown or ambiguous option '%s': --help lists the options",
                       argv[optind - 1]);
}

// What is done besides writing a text, or in place of it, and how.
static status parse_strategy(int code, char **argv, options *o)
{
    switch (code) {
    case KV:
        o->kv = optarg;
        return NULL;
    case DRAFT:
        return file("--draft", &o->draft);
    case SAVE_STATE:
        return file("--save-state", &o->save_state);
    case LOAD_STATE:
        return file("--load-state", &o->load_state);
    case REQUESTS:
        return file("--requests", &o->requests);
    case SERVE:
        return port(&o->serve);
    case ANSWERS:
        o->answers = optarg;
        return *optarg ? NULL : status_fail("--answers '': give the name of a directory");
    case EMBED:
        return pooling(&o->embed);
    case HIDDEN:
        return file("--hidden", &o->hidden);
    case FROM_HIDDEN:
        return file("--from-hidden", &o->from_hidden);
    case CONTEXT_END:
        return context_end_parse(optarg, &o->context_end);
    default:
        return misused(code, argv);
    }
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
        o->seeded = true;
        return whole("--seed", UINT64_MAX, &o->sampling.seed);
    case IGNORE_EOS:
        o->ignore_eos = true;
        return NULL;
    case WEIGHTS:
        return weights(&o->weights);
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
        return parse_strategy(code, argv, o);
    }
}

// Each file that is written has a name of its own.
static status check_files(const options *o)
{
    bool is_hidden;
    char state[FILE_PATH_SIZE];
    const struct {
        const char *option, *path;
    } files[] = {
        {"--save-state", o->save_state ? state : NULL},
        {"--hidden", o->hidden},
        {"--logits", o->logits},
        {"--all-logits", o->all_logits},
    };
    if (o->save_state)
        snprintf(state, sizeof state, "%.*s", (int)state_file(o->save_state, &is_hidden),
                 o->save_state);
    for (size_t i = 1; i < sizeof files / sizeof *files; i++)
        for (size_t j = 0; files[i].path && j < i; j++)
            if (files[j].path && replacement_is_same(files[i].path, files[j].path))
                return status_fail("%s and %s both name '%s': give two files", files[j].option,
                                   files[i].option, files[i].path);
    return NULL;
}

// What no option can tell alone: that there is one prompt, and that no file is written twice.
static status check(int argc, char **argv, const options *unless_given, options *o)
{
    if (argc - optind > 1)
        return status_fail("'%s' and '%s': give one PROMPT, in quotation marks", argv[optind],
                           argv[optind + 1]);
    o->prompt = argv[optind]; // NULL after the last
    if (o->prompt && o->ids)
        return status_fail("both a PROMPT, '%s', and --ids: give one of them", o->prompt);
    if ((o->prompt || o->ids) && o->from_hidden)
        return status_fail("both %s and --from-hidden: give one of them",
                           o->prompt ? "a PROMPT" : "--ids");
    if (o->requests || o->serve)
        return NULL;
    if (!o->prompt && !o->ids && !o->from_hidden)
        o->prompt = unless_given->prompt;
    if (!o->prompt && !o->ids && !o->from_hidden)
        return status_fail(
            "no prompt: give a PROMPT in quotation marks, - to read standard input, or --ids");
    return check_files(o);
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
