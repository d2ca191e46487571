// build/bench's own parts and commands, on models so small that a sweep takes milliseconds.
#define _XOPEN_SOURCE 700 // posix_openpt
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/base/contexts.h"
#include "bench/base/machine.h"
#include "bench/base/progress.h"
#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "bench/curves/curves.h"
#include "bench/measure/measure.h"
#include "bench/measure/probe.h"
#include "bench/subject/subject.h"
#include "bench/verify/digest.h"
#include "bench/verify/verify.h"
#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/kv/kv.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=1,C=32,H=2,T=64,V=64"

TestSuite(bench, .timeout = 120);

static void assert_contexts(const char *text, size_t limit, const size_t *expected, size_t n)
{
    size_t *list, count;
    cr_assert_null(contexts_parse(text, limit, &list, &count), "'%s'", text);
    cr_assert_eq(count, n, "'%s' gives %zu contexts instead of %zu", text, count, n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(list[i], expected[i], "'%s': number %zu is %zu instead of %zu", text, i,
                     list[i], expected[i]);
    memory_free(list);
}

Test(bench, contexts_are_sorted_and_unique)
{
    assert_contexts("1,2,15-17,31-33,1023", 1024, (size_t[]){1, 2, 15, 16, 17, 31, 32, 33, 1023},
                    9);
    assert_contexts("9,3-5,4,3", 9, (size_t[]){3, 4, 5, 9}, 4);
    assert_contexts("7-7", 7, (size_t[]){7}, 1);
}

Test(bench, contexts_refused)
{
    const char *wrong[] = {"",
                           ",",
                           "1,",
                           ",1",
                           "1,,2",
                           "0",
                           "65",
                           "1-65",
                           "5-3",
                           "1-2-3",
                           "-3",
                           "x",
                           "1x",
                           " 1",
                           "1 ",
                           "+1",
                           "99999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t *list, n;
        status s = contexts_parse(wrong[i], 64, &list, &n);
        cr_assert_not_null(s, "'%s' is accepted", wrong[i]);
        cr_assert_null(list);
        cr_assert(strstr(s, wrong[i]) && strstr(s, "64"),
                  "'%s' is refused without its text or its limit: %s", wrong[i], s);
    }
}

Test(bench, the_fixed_sequence)
{
    cr_assert_eq(fixed_token(0, 50257), 13);
    cr_assert_eq(fixed_token(1, 50257), 7932);
    cr_assert_eq(fixed_token(1023, 2048), (7919 * 1023 + 13) % 2048);
}

// The formulas of the design's section 9, written out; and a prefill is the sum of its cached
// steps, its other rows' logits apart.
Test(bench, cost_counts_multiply_adds)
{
    const config c = {.L = 3, .C = 48, .H = 2, .F = 100, .V = 1000, .T = 64};
    const double matrices = 4 * 48 * 48 + 2 * 48 * 100;
    cr_assert_eq(cost_multiply_adds(&c, NULL, 0, 10),
                 10 * matrices * 3 + 10 * 11 * 48 * 3 + 1000 * 48);
    cr_assert_eq(cost_multiply_adds(&c, NULL, 9, 10), matrices * 3 + 2 * 10 * 48 * 3 + 1000 * 48);
    double sum = 0;
    for (size_t t = 0; t < 10; t++)
        sum += cost_multiply_adds(&c, NULL, t, t + 1);
    cr_assert_eq(sum - 9 * 1000 * 48, cost_multiply_adds(&c, NULL, 0, 10));
    cr_assert_eq(cost_kv_bytes(&(config){.L = 12, .C = 768, .H = 12}, 1024), (size_t)72 << 20);
}

Test(bench, format_numbers)
{
    static const struct {
        double value;
        const char *time, *size;
    } cases[] = {{0, "0 ns", "0 B"},
                 {999, "999 ns", "999 B"},
                 {1234, "1.23 us", "1.21 KiB"},
                 {17500000, "17.5 ms", "16.7 MiB"},
                 {999600, "1.00 ms", "976 KiB"},
                 {1.87e9, "1.87 s", "1.74 GiB"},
                 {1e13, "10000 s", "9.09 TiB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[FORMAT_ROOM];
        cr_assert_str_eq(format_ns(cases[i].value, text), cases[i].time);
        cr_assert_str_eq(format_bytes(cases[i].value, text), cases[i].size);
    }
}

Test(bench, usage_errors_exit_2)
{
    command_run runs[] = {RUN(sweep_command, "sweep", "--nonsense"),
                          RUN(sweep_command, "sweep", "-x"),
                          RUN(sweep_command, "sweep", "--samples"),
                          RUN(sweep_command, "sweep", "--samples", "six"),
                          RUN(sweep_command, "sweep", "-n", "5"),
                          RUN(sweep_command, "sweep", "--budget", "-1"),
                          RUN(sweep_command, "sweep", "-b", "nan"),
                          RUN(sweep_command, "sweep", "--seed", "1e9"),
                          RUN(sweep_command, "sweep", "extra"),
                          RUN(sweep_command, "sweep", "-m", TINY, "-c", "64"),
                          RUN(digest_command, "digest", "-m", TINY, "-c", "65"),
                          RUN(verify_command, "verify", "-m", TINY, "-c", "0"),
                          RUN(curves_command, "curves", "throughput", "-m", TINY, "-c", "1,x"),
                          RUN(roofline_command, "roofline", "-m", TINY, "-c", "64"),
                          RUN(roofline_command, "roofline", "--seed", "3"),
                          RUN(roofline_command, "roofline", "-n", "1"),
                          RUN(all_command, "all", "--quick=yes")};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        cr_assert_not_null(runs[i].s, "case %zu is accepted", i);
        cr_assert_eq(runs[i].exit_code, EXIT_USAGE, "case %zu exits %d: %s", i, runs[i].exit_code,
                     runs[i].s);
        cr_assert_str_empty(runs[i].out, "case %zu prints '%s'", i, runs[i].out);
    }
}

Test(bench, the_program_exits_with_what_the_command_says)
{
    static const struct {
        const char *arguments;
        int exit_code;
    } cases[] = {{"", 2},
                 {"frobnicate", 2},
                 {"--help", 0},
                 {"sweep -h", 0},
                 {"sweep -m /nonexistent", 1},
                 {"all -x", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[1024];
        snprintf(line, sizeof line, "'" BUILD_DIR "/tested/bench' %s >/dev/null 2>&1",
                 cases[i].arguments);
        int result = system(line);
        cr_assert(WIFEXITED(result) && WEXITSTATUS(result) == cases[i].exit_code,
                  "bench %s exits %d instead of %d", cases[i].arguments, WEXITSTATUS(result),
                  cases[i].exit_code);
    }
}

// What is measured beside naive must be another one, and there must be one.
Test(bench, roofline_refuses_naive_as_the_other_decoder)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_run roof = RUN(roofline_command, "roofline", "-d", "naive", "-m",
                           "synthetic:L=1,C=16,H=1,T=64,V=32", "-n", "6", "-o", dir);
    support_assert_refused(roof.s, "naive is measured beside another|--decoder");
    support_remove_dir(dir);
}

Test(bench, help_names_every_option)
{
    command_run sweep = RUN(sweep_command, "sweep", "--help"),
                roofline = RUN(roofline_command, "roofline", "-h");
    cr_assert(!sweep.s && sweep.exit_code == 0);
    for (const char *const *o =
             (const char *const[]){"--model", "--contexts", "--samples", "--budget", "--seed",
                                   "--out", "--decoder", "--timeout", NULL};
         *o; o++)
        cr_assert(strstr(sweep.out, *o), "%s is missing in:\n%s", *o, sweep.out);
    for (const char *const *o =
             (const char *const[]){"--model", "--contexts", "--samples", "--out", NULL};
         *o; o++)
        cr_assert(!roofline.s && strstr(roofline.out, *o), "%s is missing in:\n%s", *o,
                  roofline.out);
}

Test(bench, failures_name_the_cure)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    support_write(dir, "taken", "", 0);
    char taken[SUPPORT_PATH + 8];
    snprintf(taken, sizeof taken, "%s/taken", dir);
    command_run r = RUN(sweep_command, "sweep", "-m", TINY, "-o", taken);
    support_assert_refused(r.s, "taken|--out");
    r = RUN(sweep_command, "sweep", "-m", TINY, "-o", dir, "-c", "64");
    support_assert_refused(r.s, "64|63");
    r = RUN(sweep_command, "sweep", "-m", "synthetic:L=1,C=32,H=2,T=1,V=64", "-o", dir);
    support_assert_refused(r.s, "T=1|another model");
    r = RUN(sweep_command, "sweep", "-m", "/nonexistent", "-o", dir);
    support_assert_refused(r.s, "/nonexistent");
    r = RUN(roofline_command, "roofline", "-m", TINY, "-o", taken);
    support_assert_refused(r.s, "taken|--out");
    r = RUN(roofline_command, "roofline", "-m", TINY, "-o", dir, "-c", "64");
    support_assert_refused(r.s, "64|63");
    r = RUN(roofline_command, "roofline", "-m", "synthetic:L=1,C=32,H=2,T=1,V=64", "-o", dir);
    support_assert_refused(r.s, "T=1|another model");
    support_remove_dir(dir);
}

Test(bench, sweep_writes_every_sample)
{
    enum { SAMPLES = 6, CONTEXTS = 3, METRICS = 3, ROWS = 2 * CONTEXTS * METRICS };
    char dir[SUPPORT_PATH], f[32][64];
    bool seen[2 * CONTEXTS * SAMPLES] = {0};
    support_make_dir(dir);
    command_run r = RUN(sweep_command, "sweep", "-m", TINY, "--samples", "6", "--out", dir);
    cr_assert(!r.s && r.exit_code == 0, "%d: %s", r.exit_code, r.s);

    const char *samples = command_file(dir, "samples.csv");
    cr_assert_eq(command_lines(samples), 1 + ROWS * SAMPLES);
    cr_assert(strncmp(samples, "model,decoder,metric,context,sample,order,ns,throttled\n", 55) == 0,
              "%.60s", samples);
    for (samples = strchr(samples, '\n') + 1; *samples; samples = strchr(samples, '\n') + 1) {
        cr_assert_eq(command_split(samples, f), 8, "%.100s", samples);
        cr_assert_str_eq(f[0], "\"" TINY "\"");
        size_t order = strtoull(f[5], NULL, 10), context = strtoull(f[3], NULL, 10);
        cr_assert(context == 16 || context == 32 || context == 63, "context %zu", context);
        cr_assert_lt(strtoull(f[4], NULL, 10), SAMPLES);
        cr_assert_gt(strtod(f[6], NULL), 0);
        seen[order] = true;
    }
    for (size_t i = 0; i < sizeof seen; i++)
        cr_assert(seen[i], "request %zu left no row", i);

    const char *summary = command_file(dir, "summary.csv");
    cr_assert_eq(command_lines(summary), 1 + ROWS);
    cr_assert(
        strncmp(summary,
                "model,decoder,metric,context,median_ns,ci_lo_ns,ci_hi_ns,samples,throttled\n",
                75) == 0,
        "%.80s", summary);
    for (summary = strchr(summary, '\n') + 1; *summary; summary = strchr(summary, '\n') + 1) {
        cr_assert_eq(command_split(summary, f), 9, "%.100s", summary);
        double median = strtod(f[4], NULL), lo = strtod(f[5], NULL), hi = strtod(f[6], NULL);
        cr_assert(0 < lo && lo <= median && median <= hi, "%.100s", summary);
        cr_assert_str_eq(f[7], "6");
    }

    const char *memory = command_file(dir, "memory.csv");
    cr_assert_eq(command_lines(memory), 1 + 2 * CONTEXTS);
    cr_assert(strstr(memory, "model,decoder,context,kv_bytes,naive_activation_bytes\n\"" TINY
                             "\",naive,16,0,") == memory &&
                  strstr(memory, "\",kvcache,16,16384,"),
              "%.100s", memory);
    support_remove_dir(dir);
}

Test(bench, context_tells_the_circumstances)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_run r = RUN(sweep_command, "sweep", "-m", TINY, "-n", "6", "-s", "7", "-o", dir);
    cr_assert_null(r.s, "%s", r.s);
    json_t *context = json_loads(command_file(dir, "context.json"), 0, NULL);
    const char *compiler, *flags, *digest;
    int seed, partial, cores, vocabulary;
    json_error_t error;
    int failed = json_unpack_ex(
        context, &error, 0, "{s:{s:s, s:s}, s:{s:s, s:i}, s:{s:i, s:b}, s:{s:i}}", "build",
        "compiler", &compiler, "flags", &flags, "model", "sha256", &digest, "vocabulary",
        &vocabulary, "sweep", "seed", &seed, "partial", &partial, "machine", "cores", &cores);
    cr_assert_eq(failed, 0, "%s", error.text);
    cr_assert(strstr(flags, "-ffp-contract=off"), "%s", flags);
    cr_assert_eq(strlen(digest), 64);
    cr_assert(seed == 7 && !partial && vocabulary == 64 && cores >= 1);
    json_decref(context);
    support_remove_dir(dir);
}

Test(bench, the_seed_sets_the_order)
{
    char dir[SUPPORT_PATH], first[4096], again[4096], other[4096], *into[] = {first, again, other};
    const char *seeds[] = {"1", "1", "2"};
    support_make_dir(dir);
    for (size_t i = 0; i < 3; i++) {
        char f[32][64];
        RUN(sweep_command, "sweep", "-m", TINY, "-n", "6", "-s", seeds[i], "-o", dir);
        const char *row = strchr(command_file(dir, "samples.csv"), '\n') + 1;
        for (*into[i] = '\0'; *row; row = strchr(row, '\n') + 1) {
            command_split(row, f);
            if (strcmp(f[2], "step") == 0)
                sprintf(into[i] + strlen(into[i]), "%c%s ", f[1][0], f[3]);
        }
    }
    cr_assert_str_eq(first, again);
    cr_assert_str_neq(first, other);
    support_remove_dir(dir);
}

Test(bench, ctrl_c_keeps_what_is_there)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_interrupt_in(500);
    command_run r = RUN(sweep_command, "sweep", "-m", TINY, "-n", "1000000", "-o", dir);
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_eq(r.exit_code, 128 + SIGINT);
    cr_assert(strstr(r.out, "PARTIAL"), "%s", r.out);
    cr_assert_eq(command_lines(command_file(dir, "summary.csv")), 1 + 2 * 3 * 3);
    cr_assert(strstr(command_file(dir, "context.json"), "\"partial\": true"));
    char f[32][64];
    const char *samples = command_file(dir, "samples.csv"), *last = samples + strlen(samples) - 1;
    cr_assert_eq(*last, '\n', "the last row is cut");
    while (last > samples && last[-1] != '\n')
        last--;
    cr_assert_eq(command_split(last, f), 8, "%s", last);
    cr_assert_eq(command_lines(samples), 1 + 3 * (strtoull(f[5], NULL, 10) + 1),
                 "rows are missing");
    support_remove_dir(dir);
}

static void record_verified(const model *m, bool passed, size_t longest)
{
    verification_record found = {.decoder = "kvcache",
                                 .passed = passed,
                                 .contexts = 1,
                                 .longest = longest,
                                 .logits_sha256 = ""};
    cr_assert_null(results_record_verified(m, &found));
}

Test(bench, a_speedup_stands_only_beside_a_verification)
{
    char dir[SUPPORT_PATH], name[64], other_name[80];
    support_make_dir(dir);
    snprintf(name, sizeof name, "synthetic:L=1,C=32,H=2,T=64,V=64,seed=%ld",
             (long)getpid()); // no earlier run has recorded it
    command_run before = RUN(sweep_command, "sweep", "-m", name, "-n", "6", "-o", dir);
    cr_assert_null(before.s, "%s", before.s);
    cr_assert(strstr(before.out, "so far 0 tokens"), "%s", before.out);

    model *m, *other;
    cr_assert_null(model_load(name, &m));
    snprintf(other_name, sizeof other_name, "%s0", name);
    cr_assert_null(model_load(other_name, &other));
    cr_assert_eq(results_verified(m, NULL), 0);
    record_verified(m, true, 20);
    record_verified(m, true, 10);
    cr_assert_eq(results_verified(m, NULL), 20);
    cr_assert_eq(results_verified(other, NULL), 0, "another seed is another model");

    command_run after = RUN(sweep_command, "sweep", "-m", name, "-n", "6", "-o", dir);
    cr_assert_null(after.s, "%s", after.s);
    cr_assert(strstr(after.out, "so far 20 tokens"), "%s", after.out);
    cr_assert(strstr(after.out, " - "), "a longer context is not verified: %s", after.out);
    record_verified(m, false, 9);
    record_verified(m, false, 5); // the longer failure stays
    cr_assert_eq(results_verified(m, NULL), 0, "a failure counts, however short");
    record_verified(m, true, 8);
    cr_assert_eq(results_verified(m, NULL), 0,
                 "what is shorter than a failure does not make it undone");
    record_verified(m, true, 64);
    command_run whole = RUN(sweep_command, "sweep", "-m", name, "-n", "6", "-o", dir);
    cr_assert_null(whole.s, "%s", whole.s);
    cr_assert_not(strstr(whole.out, "so far"), "%s", whole.out);
    cr_assert_not(strstr(whole.out, " - "), "%s", whole.out);
    cr_assert_null(results_forget_verified(m, NULL));
    cr_assert_eq(results_verified(m, NULL), 0);
    model_free(m);
    model_free(other);
    support_remove_dir(dir);
}

// Several programs verify at once in `make mutants`: none fails for the others, and no record is
// lost.
Test(bench, verifications_at_once_are_all_recorded)
{
    enum { CHILDREN = 4, RECORDS = 10 };
    char plugin[48];
    model *m;
    cr_assert_null(model_load(TINY, &m));
    for (int c = 0; c < CHILDREN; c++)
        if (fork() == 0) {
            status s = NULL;
            for (int i = 0; i < RECORDS && !s; i++) {
                snprintf(plugin, sizeof plugin, "%ld-%d-%d", (long)getppid(), c, i);
                const verification_record found = {.decoder = "mine",
                                                   .subject = plugin,
                                                   .passed = true,
                                                   .longest = (size_t)(1 + i),
                                                   .logits_sha256 = ""};
                s = results_record_verified(m, &found);
            }
            _exit(s != NULL);
        }
    for (int c = 0, result; c < CHILDREN; c++)
        cr_assert(wait(&result) > 0 && WIFEXITED(result) && WEXITSTATUS(result) == 0,
                  "a record failed");
    for (int c = 0; c < CHILDREN; c++)
        for (int i = 0; i < RECORDS; i++) {
            snprintf(plugin, sizeof plugin, "%ld-%d-%d", (long)getpid(), c, i);
            cr_assert_eq(results_verified(m, plugin), (size_t)(1 + i), "%s is lost", plugin);
            cr_assert_null(results_forget_verified(m, plugin));
        }
    model_free(m);
}

static status print_text(FILE *f, const void *what)
{
    fputs(what, f);
    return NULL;
}

static status print_and_fail(FILE *f, const void *what)
{
    fputs(what, f);
    return status_fail("no");
}

Test(bench, files_appear_whole_or_not_at_all)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    cr_assert_null(results_write(dir, "x", print_text, "old"));
    cr_assert_not_null(results_write(dir, "x", print_and_fail, "new"));
    cr_assert_str_eq(command_file(dir, "x"), "old");
    char path[FILE_PATH_SIZE];
    cr_assert_null(file_path(dir, "x.part", path));
    cr_assert_neq(access(path, F_OK), 0, "the unfinished file is left beside");
    support_remove_dir(dir);
}

Test(bench, csv_quotes_what_it_must)
{
    static const char *const cases[][2] = {
        {"gpt2", "gpt2"}, {"a,b", "\"a,b\""}, {"say \"x\"", "\"say \"\"x\"\"\""}, {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64] = "";
        FILE *f = fmemopen(text, sizeof text, "w");
        results_csv_text(f, cases[i][0]);
        fclose(f);
        cr_assert_str_eq(text, cases[i][1]);
    }
}

// What a progress bar writes to a terminal, as standard error.
static void bar_on_terminal(char *text, size_t size)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    FILE *terminal = fdopen(open(ptsname(master), O_RDWR | O_NOCTTY), "r+");
    int before = command_redirect(STDERR_FILENO, terminal);
    progress p = progress_begin("testing");
    p.begin_ns -= 3000000000u;
    progress_update(&p, 0.5);
    progress_end(&p);
    command_restore(STDERR_FILENO, before);
    ssize_t n = read(master, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    fclose(terminal);
    close(master);
}

Test(bench, progress_on_a_terminal)
{
    char text[512];
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    bar_on_terminal(text, sizeof text);
    cr_assert(strstr(text, "testing") && strstr(text, "50 %") && strstr(text, "0:03 left"), "%s",
              text);
    cr_assert(strstr(text, "\033["), "no colour: %s", text);
    setenv("NO_COLOR", "1", 1);
    bar_on_terminal(text, sizeof text);
    cr_assert(strstr(text, "50 %") && !strstr(text, "\033"), "%s", text);
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    bar_on_terminal(text, sizeof text);
    cr_assert(strstr(text, "50 %") && !strstr(text, "\033"), "%s", text);
}

Test(bench, progress_is_silent_elsewhere)
{
    FILE *caught = tmpfile();
    int before = command_redirect(STDERR_FILENO, caught);
    progress p = progress_begin("testing");
    progress_update(&p, 0.5);
    progress_end(&p);
    command_restore(STDERR_FILENO, before);
    cr_assert_eq(lseek(fileno(caught), 0, SEEK_END), 0);
    fclose(caught);
}

Test(bench, probes_measure_something)
{
    probe_block block;
    cr_assert_null(probe_block_create((1 << 20) + 1, &block));
    cr_assert_eq(block.n * sizeof *block.at, 2 << 20);
    for (size_t i = 0; i < PROBES_FMA; i++) {
        double rate = probe_fma(i);
        cr_assert(isfinite(rate) && rate > 0, "%s: %g", probe_fma_name(i), rate);
    }
    for (size_t i = 0; i < PROBES_READ; i++) {
        double rate = probe_read(i, &block);
        cr_assert(isfinite(rate) && rate > 0, "%s: %g", probe_read_name(i), rate);
    }
    for (size_t bytes = 1000; bytes <= 2 << 20; bytes *= 16) {
        double rate = probe_read_again(&block, bytes);
        cr_assert(isfinite(rate) && rate > 0, "%zu bytes again and again: %g", bytes, rate);
    }
    probe_block_free(&block);
}

Test(bench, roofline_prints_shares)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_run r = RUN(roofline_command, "roofline", "-m", TINY, "-n", "6", "-o", dir);
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    static const char *const targets[] = {"prefill of 63 tokens", "its linear layers alone",
                                          "step at 63 tokens"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        const char *line = strstr(r.out, targets[i]);
        const char *percent = line ? strchr(line, '%') : NULL;
        cr_assert(percent, "'%s' has no share in:\n%s", targets[i], r.out);
        while (percent[-1] == ' ' || percent[-1] == '.' ||
               (percent[-1] >= '0' && percent[-1] <= '9'))
            percent--;
        cr_assert_gt(strtod(percent, NULL), 0, "%.100s", line);
    }
    support_remove_dir(dir);
}

Test(bench, every_allocation_may_fail)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_assert_survives_failed_allocations(
        sweep_command,
        (const char *const[]){"sweep", "-m", TINY, "-n", "6", "-c", "16", "-o", dir, NULL}, NULL);
    command_assert_survives_failed_allocations(
        roofline_command, (const char *const[]){"roofline", "-m", TINY, "-n", "6", "-o", dir, NULL},
        NULL);
    support_remove_dir(dir);
}
