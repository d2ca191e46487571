// build/tokenize: standard input to token ids, one a line, and with --decode back to the same
// bytes. With --check: what was understood of a model's tokenizer.
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/streams.h"
#include "common/file/file.h"
#include "common/model/model.h"
#include "common/text/check.h"
#include "common/text/tokenizer.h"

enum { USAGE_ERROR = 2 };

typedef struct options {
    const char *model;
    const char *checked; // the model of --check, or NULL
    bool decode, help;
} options;

static status print_help(void)
{
    printf(
        "Usage: tokenize [-m DIR] [--decode] < INPUT\n"
        "       tokenize --check DIR\n"
        "Prints the token ids of standard input, one a line. Any bytes will do; none is lost.\n\n"
        "  -m, --model DIR  whose tokenizer: tokenizer.json, or else vocab.json and merges.txt\n"
        "                   (default: %s)\n"
        "      --decode     read ids, print the bytes they stand for\n"
        "      --check DIR  say what was understood of that model's tokenizer and whether it fits\n"
        "                   the model, and try texts of each kind there and back; reads no input\n"
        "  -h, --help       show this and exit\n",
        model_default());
    return NULL;
}

// False after a mistake, which has been named on standard error.
static bool parse(int argc, char **argv, options *o)
{
    static const struct option known[] = {
        {"model", required_argument, NULL, 'm'},
        {"decode", no_argument, NULL, 'd'},
        {"check", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "m:h", known, NULL)) != -1;) {
        if (c == '?')
            return false; // getopt_long has named it
        if (c == 'm')
            o->model = optarg;
        if (c == 'c')
            o->checked = optarg;
        o->decode |= c == 'd';
        o->help |= c == 'h';
    }
    if (optind < argc)
        fprintf(stderr, "%s: '%s' is one argument too many: the input is standard input\n", argv[0],
                argv[optind]);
    return optind == argc;
}

static status print_ids(const tokenizer *t, const char *text, size_t n)
{
    int *ids;
    size_t count;
    status s = tokenizer_encode(t, text, n, &ids, &count);
    for (size_t i = 0; !s && i < count; i++)
        printf("%d\n", ids[i]);
    memory_free(ids);
    return s;
}

// All ids are read before the first byte is written: a mistake leaves no half of the text behind.
static status print_bytes(const tokenizer *t, const char *text, size_t n)
{
    int *ids;
    size_t count, length;
    status s = input_ids(text, n, tokenizer_size(t), &ids, &count);
    for (size_t i = 0; !s && i < count; i++) {
        const char *bytes = tokenizer_decode(t, ids[i], &length);
        fwrite(bytes, 1, length, stdout);
    }
    memory_free(ids);
    return s;
}

static status run(const options *o)
{
    tokenizer *t;
    char *input;
    size_t n;
    status s = tokenizer_load(o->model, &t);
    if (s)
        return s;
    s = file_read_stream(stdin, "standard input", &input, &n);
    if (!s)
        s = o->decode ? print_bytes(t, input, n) : print_ids(t, input, n);
    memory_free(input);
    tokenizer_free(t);
    return s;
}

int main(int argc, char **argv)
{
    options o = {.model = model_default()};
    streams_hold();
    if (!parse(argc, argv, &o))
        return USAGE_ERROR;
    status s = o.help ? print_help() : o.checked ? check_tokenizer(o.checked, stdout) : run(&o);
    if (!s)
        s = streams_written();
    if (s)
        fprintf(stderr, "%s: %s\n", argv[0], s);
    return s ? EXIT_FAILURE : EXIT_SUCCESS;
}
