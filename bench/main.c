// build/bench: checks that the decoders agree, and measures them. Finds the command and exits with
// what it says.
#include <stdio.h>
#include <string.h>

#include "bench/base/options.h"
#include "bench/compare/compare.h"
#include "bench/cost/count.h"
#include "bench/cost/profile.h"
#include "bench/curves/curves.h"
#include "bench/measure/measure.h"
#include "bench/measure/race.h"
#include "bench/prefix/prefix.h"
#include "bench/report/report.h"
#include "bench/serve/serve.h"
#include "bench/snapshot/snapshot.h"
#include "bench/speculate/speculate.h"
#include "bench/strategies/strategies.h"
#include "bench/verify/digest.h"
#include "bench/verify/verify.h"
#include "common/base/streams.h"
#include "common/number/numeric.h"

static const struct {
    const char *name;
    command *run;
    const char *what;
} commands[] = {
    {"verify", verify_command, "compare every logit and every cached key and value, bit for bit"},
    {"digest", digest_command, "one SHA-256 of the logits: the same on every machine"},
    {"compare", compare_command,
     "two .npy files of logits, of any implementations: rounding, or a bug"},
    {"sweep", sweep_command,
     "time both decoders, or your own, over the contexts, with confidence intervals"},
    {"count", count_command,
     "multiply-adds, exps and bytes of every stage, counted from what is computed"},
    {"profile", profile_command, "where the time of a pass goes, stage by stage"},
    {"curves", curves_command,
     "how time and memory grow with context, tokens and layers, with fits"},
    {"snapshot", snapshot_command, "a state restored from a file beside the rows computed"},
    {"speculate", speculate_command,
     "drafts verified in one pass: acceptance, tokens a pass, and where they pay"},
    {"race", race_command,
     "both decoders generate the same text, one above the other: see it first"},
    {"roofline", roofline_command,
     "each stage beside what arithmetic and memory allow, and shares of both"},
    {"prefix", prefix_command,
     "TTFT with a prompt cache, and what one finds again on a trace of requests"},
    {"serve", serve_command,
     "many users at once: throughput, TTFT and TPOT, with and without a prompt cache"},
    {"strategies", strategies_command,
     "ways to keep keys and values side by side: bytes, loss, time"},
    {"report", report_command,
     "one page of what was verified and measured, and one file of it for programs"},
    {"all", all_command, "verify, then sweep: what `make bench` runs"},
};

static void print_usage(FILE *to)
{
    fputs("build/bench COMMAND [options]: checks that the decoders agree, and measures them\n\n",
          to);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].what);
    fputs("\nbuild/bench COMMAND --help lists the options of each.\n", to);
}

static int run(size_t i, int argc, char **argv)
{
    int exit_code = 0;
    status s = numeric_ready("bench");
    if (!s)
        s = commands[i].run(argc, argv, &exit_code);
    if (!s)
        s = streams_written();
    if (s)
        fprintf(stderr, "bench %s: %s\n", commands[i].name, s);
    return s && exit_code == 0 ? 1 : exit_code;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    streams_hold();
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) {
        print_usage(stdout);
        status s = streams_written();
        if (s)
            fprintf(stderr, "bench: %s\n", s);
        return s ? 1 : 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return run(i, argc - 1, argv + 1);
    if (argc > 1)
        fprintf(stderr, "bench: there is no command '%s'\n", name);
    print_usage(stderr);
    return EXIT_USAGE;
}
