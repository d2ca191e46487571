// The points of the roofline picture: counted as bench count counts, and under the roof that the
// limits make.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cost/points.h"
#include "bench/measure/measure.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/command.h"
#include "tests/support/subjects.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=1,C=32,H=2,T=64,V=64"

TestSuite(points, .timeout = 120);

Test(points, a_roof_is_the_lower_of_two_limits)
{
    const limits l = {.peak = 200e9, .memory = 40e9};
    cr_assert_eq(limits_roof(&l, 0.5), 20e9);
    cr_assert_eq(limits_roof(&l, 5), 200e9);
    cr_assert_eq(limits_roof(&l, 100), 200e9);
}

// Reads roofs.csv: what it says of arithmetic and memory, in FLOP/s and bytes/s. The caches must
// have some speed, too.
static limits read_limits(const char *dir)
{
    limits l = {0};
    char f[32][64];
    const char *row = command_file(dir, "roofs.csv");
    cr_assert(strncmp(row, "kind,value,unit\n", 16) == 0, "%.80s", row);
    for (row = strchr(row, '\n') + 1; *row; row = strchr(row, '\n') + 1) {
        cr_assert_eq(command_split(row, f), 3, "%.100s", row);
        const double value = strtod(f[1], NULL) * 1e9;
        cr_assert(isfinite(value) && value > 0, "%.100s", row);
        if (strcmp(f[0], "peak") == 0)
            l.peak = value;
        else if (strcmp(f[0], "memory") == 0)
            l.memory = value;
        else
            cr_assert(strcmp(f[0], "L2") == 0 || strcmp(f[0], "L3") == 0, "%.100s", row);
        cr_assert_str_eq(f[2], strcmp(f[0], "peak") == 0 ? "GFLOP/s" : "GB/s");
    }
    cr_assert(l.peak > 0 && l.memory > 0);
    return l;
}

enum {
    CONTEXT = 3,
    STAGE,
    MULTIPLY_ADDS,
    BYTES,
    INTENSITY,
    MEDIAN,
    LOW,
    HIGH,
    GFLOPS,
    ROOF,
    SHARE,
    COLUMNS
};

static void assert_near(const char *got, double expected, const char *row)
{
    cr_assert(fabs(strtod(got, NULL) - expected) <= 1e-4 * expected, "%s is not %g in %.150s", got,
              expected, row);
}

// A row with this work to do: the same counts, and a speed, a roof and a share that follow from
// them.
static void assert_point(const char *row, char f[32][64], const work *done, const limits *l)
{
    const double flop = 2 * (double)done->multiply_adds,
                 intensity = flop / (double)count_bytes(done);
    const double low = strtod(f[LOW], NULL), median = strtod(f[MEDIAN], NULL),
                 high = strtod(f[HIGH], NULL);
    const double gflops = strtod(f[GFLOPS], NULL);
    cr_assert_eq(strtoull(f[MULTIPLY_ADDS], NULL, 10), done->multiply_adds, "%.150s", row);
    cr_assert_eq(strtoull(f[BYTES], NULL, 10), count_bytes(done), "%.150s", row);
    cr_assert(0 < low && low <= median && median <= high, "%.150s", row);
    cr_assert(flop / (median + 1) < gflops * 1.0001 && gflops < 1.0001 * flop / (median - 1),
              "%.150s", row);
    assert_near(f[INTENSITY], intensity, row);
    assert_near(f[ROOF], limits_roof(l, intensity) * 1e-9, row);
    assert_near(f[SHARE], gflops / strtod(f[ROOF], NULL), row);
}

static const struct {
    const char *name;
    unsigned stages;
} expected[] = {{"qkv", 1 << STAGE_Q | 1 << STAGE_K | 1 << STAGE_V},
                {"scores", 1 << STAGE_SCORES},
                {"attend", 1 << STAGE_ATTEND},
                {"proj", 1 << STAGE_PROJ},
                {"fc", 1 << STAGE_FC},
                {"fcproj", 1 << STAGE_FCPROJ},
                {"logits", 1 << STAGE_LOGITS},
                {"linear", COUNT_LINEAR},
                {"attention", COUNT_ATTENTION},
                {"everything", COUNT_EVERYTHING}};
enum { EXPECTED = sizeof expected / sizeof *expected };

// The rows of one pass at context t; returns what comes after them.
static const char *assert_pass(passes *p, pass which, size_t t, const char *row, const limits *l)
{
    char f[32][64];
    count c;
    cr_assert_null(count_pass(p, which, t, &c));
    for (size_t i = 0; i < EXPECTED; i++, row = strchr(row, '\n') + 1) {
        const work done = count_sum(&c, expected[i].stages);
        cr_assert_eq(command_split(row, f), COLUMNS, "%.150s", row);
        cr_assert_str_eq(f[0], "\"" TINY "\"");
        cr_assert_str_eq(f[1], which == PASS_NAIVE_STEP ? "naive" : "kvcache");
        cr_assert_str_eq(f[2], which == PASS_PREFILL ? "prefill" : "step");
        cr_assert_eq(strtoull(f[CONTEXT], NULL, 10), t);
        cr_assert_str_eq(f[STAGE], expected[i].name);
        assert_point(row, f, &done, l);
    }
    return row;
}

Test(points, stand_where_counts_and_limits_say)
{
    const char header[] = "model,decoder,pass,context,stage,multiply_adds,bytes,intensity,median_"
                          "ns,ci_lo_ns,ci_hi_ns,"
                          "gflops,roof_gflops,share\n";
    const size_t contexts[] = {5, 63};
    char dir[SUPPORT_PATH];
    model *m;
    passes p;
    support_make_dir(dir);
    command_run r =
        RUN(roofline_command, "roofline", "-m", TINY, "-n", "6", "-c", "5,63", "-o", dir);
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    cr_assert_null(model_load(TINY, &m));
    cr_assert_null(passes_create(m, &support_ours[0], &support_ours[1], 63, &p));

    const limits l = read_limits(dir);
    const char *row = command_file(dir, "roofline.csv");
    cr_assert_eq(command_lines(row), 1 + 2 * PASSES * EXPECTED);
    cr_assert(strncmp(row, header, sizeof header - 1) == 0, "%.150s", row);
    row += sizeof header - 1;
    for (size_t i = 0; i < 2 * PASSES; i++)
        row = assert_pass(&p, i % PASSES, contexts[i / PASSES], row, &l);
    passes_free(&p);
    model_free(m);
    support_remove_dir(dir);
}

// Every pass has its table, and the last one a step's times.
Test(points, are_printed_pass_by_pass)
{
    static const char *const parts[] = {"\nroofs: ",
                                        "\nprefill of 7 tokens (kvcache)\n",
                                        "\nstep at 7 tokens (naive)\n",
                                        "\nstep at 7 tokens (kvcache)\n",
                                        "\n  everything ",
                                        "showing them all: ",
                                        "all at their roofs",
                                        "so far 0 tokens"};
    char dir[SUPPORT_PATH], name[64];
    snprintf(name, sizeof name, "synthetic:L=1,C=32,H=2,T=64,V=64,seed=%ld",
             (long)getpid()); // verified by nobody
    support_make_dir(dir);
    command_run r = RUN(roofline_command, "roofline", "-m", name, "-n", "6", "-c", "7", "-o", dir);
    cr_assert_null(r.s, "%s", r.s);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_assert(strstr(r.out, parts[i]), "'%s' is not in\n%s", parts[i], r.out);
    support_remove_dir(dir);
}
