// bench compare: its command line.
#include <getopt.h>
#include <stdio.h>

#include "bench/compare/compare.h"

static const char USAGE[] =
    "build/bench compare [options] A.npy B.npy: the logits of any two\n"
    "implementations, A being the reference. Rows are positions, columns the\n"
    "vocabulary; '<f4' or '<f8', as numpy.save writes them. Bits and ulps are those\n"
    "of float32 unless both are float64.\n"
    "Exit status 0: identical, or rounding; 1: a bug; 2: usage, or files that cannot\n"
    "be compared.\n"
    "\n"
    "  -p, --precision NAME  the roughest arithmetic that either side uses on\n"
    "                        purpose: exact (any difference is a bug), float64,\n"
    "                        float32 (the default), float16 or bfloat16\n"
    "  -a, --again B2.npy    what B's implementation gave when it ran once more:\n"
    "                        whether it is repeatable at all\n"
    "  -r, --rows            every row, not only the first and the worst\n"
    "  -j, --json            one JSON object instead; with --rows it has a \"per_row\"\n"
    "  -h, --help            show this and exit\n"
    "\n"
    "The verdict rests on each row's distance (the root mean square of B - A over\n"
    "the standard deviation of A's row), KL divergence and largest logit. What is\n"
    "masked in both is left out. notes/07-your-own-cache.md shows why.\n";

typedef struct choices {
    const char *a, *b, *again; // paths
    const compare_precision *precision;
    bool rows, json, help;
} choices;

static status take_option(int letter, char **argv, choices *o)
{
    switch (letter) {
    case 'p':
        o->precision = compare_precision_find(optarg);
        return o->precision
                   ? NULL
                   : status_fail("--precision %s: use exact, float64, float32, float16 or bfloat16",
                                 optarg);
    case 'a':
        o->again = optarg;
        return NULL;
    case 'r':
        o->rows = true;
        return NULL;
    case 'j':
        o->json = true;
        return NULL;
    case 'h':
        o->help = true;
        return NULL;
    default:
        return status_fail("option %s is unknown, or lacks its value", argv[optind - 1]);
    }
}

static status parse(int argc, char **argv, choices *o)
{
    static const struct option options[] = {{"precision", required_argument, NULL, 'p'},
                                            {"again", required_argument, NULL, 'a'},
                                            {"rows", no_argument, NULL, 'r'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    *o = (choices){.precision = compare_precision_find("float32")};
    optind = 1;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, ":p:a:rjh", options, NULL)) != -1;) {
        status s = take_option(letter, argv, o);
        if (s)
            return s;
    }
    if (!o->help && argc - optind != 2)
        return status_fail("%d files where two are needed, A.npy and B.npy", argc - optind);
    o->a = o->help ? NULL : argv[optind];
    o->b = o->help ? NULL : argv[optind + 1];
    return NULL;
}

static status compare_files(const choices *o, verdict *found)
{
    npy_matrix a, b = {0}, again = {0};
    comparison c = {0};
    status s = npy_read(o->a, &a);
    if (!s)
        s = npy_read(o->b, &b);
    if (!s && (s = compare_matrices(&a, &b, o->precision, &c)))
        s = status_fail("A = %s, B = %s: %s", o->a, o->b, s);
    if (!s && o->again)
        s = npy_read(o->again, &again);
    if (!s && o->again && (s = compare_again(&c, &b, &again)))
        s = status_fail("--again %s: %s", o->again, s);
    npy_free(&a);
    npy_free(&b);
    npy_free(&again);
    if (s) {
        compare_free(&c);
        return s;
    }
    c.a_path = o->a;
    c.b_path = o->b;
    *found = c.verdict;
    if (o->json)
        s = compare_print_json(stdout, &c, o->rows);
    else
        compare_print(stdout, &c, o->rows);
    compare_free(&c);
    return s;
}

status compare_command(int argc, char **argv, int *exit_code)
{
    choices o;
    verdict found = VERDICT_IDENTICAL;
    status s = parse(argc, argv, &o);
    if (s)
        s = status_fail("%s; build/bench compare --help lists the options", s);
    else if (o.help)
        fputs(USAGE, stdout);
    else
        s = compare_files(&o, &found);
    *exit_code = s ? EXIT_USAGE : found == VERDICT_BUG ? 1 : 0;
    return s;
}
