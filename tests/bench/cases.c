// Inputs that once came out wrong, of the kinds that no other suite is about: names that are not
// UTF-8 or hold spaces and commas, and files that cannot be written (notes/21-cases.md).
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/shell.h"

#define MODEL "-m synthetic:L=2,C=48,H=3,T=64,V=100 "
#define BENCH BUILD_DIR "/tested/bench "
enum { COMMAND = 4096 };

TestSuite(cases, .init = shell_make_folder, .fini = shell_remove_folder, .timeout = 120);

// Runs a line of shell, which has to end with this status.
static void expect(int code, const char *line)
{
    const int got = shell_run(line);
    cr_assert_eq(got, code, "`%s`: status %d, not %d", line, got, code);
}

// A small model in the folder $N.
static void write_model(void)
{
    char path[SUPPORT_PATH + 3];
    support_model *m = support_model_make(
        (config){.L = 1, .C = 8, .H = 2, .F = 32, .V = 20, .T = 32, .eps = 1e-5f}, "F32", "");
    snprintf(path, sizeof path, "%s/n\377", support_folder);
    expect(0, "mkdir \"$N\"");
    support_model_write(m, path);
    support_model_free(m);
}

Test(cases, names_that_are_not_utf8_are_written_with_a_sign_in_their_place)
{
    write_model();
    expect(0, "cp " BUILD_DIR "/tested/bench \"$N\"");
    expect(0, "\"$N/bench\" verify " MODEL "-c 1-4 --json --kv \"file:$N\"");
    shell_expect_in("out", "n\xef\xbf\xbd\",\n");
    expect(0, "\"$N/bench\" verify -m \"$N\" -c 1-2 --json");
    shell_expect_in("out", "n\xef\xbf\xbd\",\n");
    expect(0, "grep -q 'n?/bench' \"$N/results/verified.json\"");
    expect(0, BENCH "sweep " MODEL "-c 1,2 -n 6 --out $D/r --kv \"file:$N\"");
    expect(0, "iconv -f utf-8 -t utf-8 $D/r/context.json");
    shell_expect_in("out", "kvcache:file:");
    expect(0, BENCH "curves attention -m \"$N\" -c 4,8,16 -n 6 --out $D/r");
    expect(0, BENCH "curves attention -m \"$N\" -c 4,8,16 -n 6 --out $D/r"); // goes on there
    shell_expect_in("err", "6 rounds stand in");
    expect(0, BENCH "strategies -q " MODEL "-c 4 -n 6 --out $D/r --kv \"file:$N:1\"");
    expect(0, "iconv -f utf-8 -t utf-8 $D/r/strategies.json");
    expect(0, "head -n 40 bench/prefix/traces/mooncake-synthetic.jsonl >\"$N/t\"; " BENCH
              "prefix --trace \"$N/t\" --out $D/r");
    expect(0, "cat $D/r/prefix-trace.json");
    shell_expect_in("out", "n\xef\xbf\xbd/t\"");
}

Test(cases, a_report_of_a_folder_that_is_not_utf8_is)
{
    expect(0, "mkdir -p \"$N/results\"; echo a,b >\"$N/results/roofline.csv\"");
    expect(1, BENCH "report \"$N\"");
    shell_expect_in("err", "roofline.csv: the columns are not");
    expect(0, "cd \"$N/report\" && iconv -f utf-8 -t utf-8 index.html results.json >$D/page");
    shell_expect_in("page", "results/roofline.csv: the columns are not");
}

Test(cases, what_cannot_be_written_is_said_before_anything_is_measured)
{
    static const char *const lines[][2] = {
        {"sweep " MODEL "-c 1,2 -n 6", "summary.csv"},
        {"sweep " MODEL "-c 1,2 -n 6", "context.json"},
        {"roofline " MODEL "-c 4", "roofs.csv"},
        {"curves attention " MODEL "-c 4,8 -n 6", "attention-fits.csv"},
        {"prefix " MODEL "-c 8 -n 6", "prefix-summary.csv"},
        {"prefix -T bench/prefix/traces/mooncake-synthetic.jsonl", "prefix-trace.json"},
        {"speculate -q", "speculate.json"},
        {"strategies -q", "strategies.csv"},
        {"all --quick", "context.json"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[COMMAND], said[256];
        snprintf(line, sizeof line, "mkdir -p $D/%zu/%s; " BENCH "%s --out $D/%zu", i, lines[i][1],
                 lines[i][0], i);
        snprintf(said, sizeof said, "/%zu/%s: it is a folder; remove it", i, lines[i][1]);
        expect(1, line);
        shell_expect_in("err", said);
        expect(0, "! test -s $D/out && ! ls $D/*/*samples.csv");
    }
    expect(1, "touch $D/plain; " BENCH "all --quick --out $D/plain");
    shell_expect_in("err", "plain: Not a directory; name another directory with --out");
    expect(0, "! grep about $D/err");
}

Test(cases, prefix_and_speculate_take_their_folder_for_themselves)
{
    if (system("command -v flock >/dev/null") != 0)
        cr_skip_test("there is no flock");
    static const char *const lines[] = {"prefix " MODEL "-c 8 -n 6", "speculate -q", "all --quick"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[COMMAND];
        snprintf(line, sizeof line, "mkdir -p $D/r; flock $D/r/.lock " BENCH "%s --out $D/r",
                 lines[i]);
        expect(1, line);
        shell_expect_in("err", "measures into this folder: wait for its end");
    }
}

Test(cases, prefix_and_speculate_refuse_a_model_that_does_not_fit)
{
    expect(1, BENCH "prefix -m synthetic:L=999,C=99968,H=8,T=1024,V=50000 -n 6 --out $D/r");
    shell_expect_in("err", "of memory, and");
    expect(1, BENCH "speculate -m synthetic:L=999,C=99968,H=8,T=1024,V=50000 -q --out $D/r");
    shell_expect_in("err", "of memory, and");
}

// gnuplot ends a word at a space, and a field at a comma, whether it is quoted or not.
Test(cases, decoders_whose_names_have_spaces_and_commas_are_drawn)
{
    static const char *const names[] = {"my cache", "\"kvcache:window:4+1,f16\"", "\"a, b\"",
                                        "it's"};
    if (system("command -v gnuplot >/dev/null") != 0)
        cr_skip_test("there is no gnuplot");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 "D=$D/%zu; mkdir $D; echo model,decoder,metric,context,median_ns,ci_lo_ns,"
                 "ci_hi_ns,samples,throttled >$D/summary.csv\n"
                 "for m in ttft step; do for d in naive \"$(cat <<'END'\n%s\nEND\n)\"; do "
                 "for c in 1 2 4; do echo \"m,$d,$m,$c,${c}0,${c}0,${c}1,6,0\"; done; done; done "
                 ">>$D/summary.csv\n"
                 "{ echo model,decoder,context,kv_bytes,naive_activation_bytes; grep ttft "
                 "$D/summary.csv | sed 's/,ttft,\\([0-9]*\\).*/,\\1,9,9/'; } >$D/memory.csv\n"
                 "plots/draw.sh $D $D/p svg && test -s $D/p/speedup-light.svg",
                 i, names[i]);
        expect(0, line);
    }
    expect(0, "cat $D/0/p/step-light.svg");
    shell_expect_in("out", ">my cache<");
    expect(0, "cat $D/1/p/step-light.svg");
    shell_expect_in("out", ">kvcache:window:4+1\xe2\x80\x9a"
                           "f16<");
}

// Whatever CC holds: what is not a compiler with its flags is refused, and nothing of it is run or
// asked of apt-get.
Test(cases, what_a_compiler_is_called_reaches_no_shell)
{
    static const char *const bad[] = {
        "x; touch $D/hit", "$(touch $D/hit)", "`touch $D/hit`", "gcc|touch $D/hit", "-h", "*"};
    expect(0, "mkdir $D/bin; printf '#!/bin/sh\\ntouch %s/asked\\n' $D >$D/bin/apt-get; "
              "chmod +x $D/bin/apt-get");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 "CC=$(cat <<'END'\n%s\nEND\n); export CC D; "
                 "PATH=$D/bin:$PATH OPENMP= OPENMP_LIBS= .ci/deps run",
                 bad[i]);
        expect(1, line);
        shell_expect_in("err", "is no compiler and its flags");
        expect(0, "! test -e $D/hit && ! test -e $D/asked");
    }
    expect(1, "PATH=$D/bin:$PATH CC='ccache none -m64' OPENMP= OPENMP_LIBS= .ci/deps run");
    shell_expect_in("out", "none libc6-dev");
}
