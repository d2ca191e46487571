// Somebody else's decoder: whatever a plug-in does, verify says it in one line and exits with 1.
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/shell.h"

#define PLUGINS BUILD_DIR "/plugins"
// A crash is to look as it does without a sanitizer.
#define VERIFY                                                                                     \
    "ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 " BUILD_DIR                                          \
    "/tested/bench verify -m synthetic:L=2,C=48,H=3,T=64,V=100 -c 1-8 "
#define SWEEP                                                                                      \
    "ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 " BUILD_DIR                                          \
    "/tested/bench sweep -m synthetic:L=1,C=32,H=2,T=40,V=50 -c 1,2,30 -n 50 "
enum { COMMAND = 2048 };

TestSuite(plugin, .init = shell_make_folder, .fini = shell_remove_folder, .timeout = 120);

// Runs a line of shell; what it writes goes to the files out and err. Returns the exit status.
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char line[COMMAND];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return shell_run(line);
}

// FILE.so with this VICE is refused in one line that holds each of `parts` (see support.h).
static void expect_refused(const char *file, const char *vice, const char *parts)
{
    size_t n;
    int code = run("VICE='%s' " VERIFY "--timeout 1 --decoder %s", vice, file);
    char *err = support_read(support_folder, "err", &n);
    cr_assert_eq(code, 1, "%s %s: exit %d, not 1: %s", file, vice, code, err);
    cr_assert(n > 0 && strchr(err, '\n') == err + n - 1, "%s %s: not one line: \"%s\"", file, vice,
              err);
    err[n - 1] = '\0';
    support_assert_refused(err, parts);
    free(err);
}

// The same for misbehaving.so, with these options.
static void expect_failure(const char *vice, const char *options, const char *parts)
{
    size_t n;
    int code = run("VICE='%s' " VERIFY "%s --decoder " PLUGINS "/misbehaving.so", vice, options);
    char *err = support_read(support_folder, "err", &n);
    cr_assert_eq(code, 1, "%s: exit %d, not 1: %s", vice, code, err);
    err[n > 0 ? n - 1 : 0] = '\0';
    support_assert_refused(err, parts);
    free(err);
}

// Lines are wrapped where they happen to be: any white space is one space here.
static void join_lines(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++)
        if (!isspace((unsigned char)*from))
            *to++ = *from;
        else if (to == text || to[-1] != ' ')
            *to++ = ' ';
    *to = '\0';
}

static void expect_in_report(const char *part)
{
    size_t n;
    char *out = support_read(support_folder, "out", &n), wanted[256];
    snprintf(wanted, sizeof wanted, "%s", part);
    join_lines(out);
    join_lines(wanted);
    cr_assert_not_null(strstr(out, wanted), "no \"%s\" in: %s", wanted, out);
    free(out);
}

// How often the folder's file `name` holds `part`.
static size_t count_in(const char *name, const char *part)
{
    size_t n, found = 0;
    char *text = support_read(support_folder, name, &n);
    for (const char *at = text; (at = strstr(at, part)); at++)
        found++;
    free(text);
    return found;
}

Test(plugin, crashes_hangs_and_exits_are_findings)
{
    expect_refused(PLUGINS "/misbehaving.so", "crashes",
                   "crashed|Segmentation fault|step(3 tokens)|make mine SRC=FILE.c SANITIZE=1");
    expect_refused(PLUGINS "/misbehaving.so", "hangs", "hangs|step(2 tokens)|1 s");
    expect_refused(PLUGINS "/misbehaving.so", "exits", "ended its process|step(1 token)");
}

// A judge of one's own: one that is right passes kvcache; one that does not agree with itself is
// told so.
Test(plugin, can_be_the_judge)
{
    cr_assert_eq(run(VERIFY "--decoder kvcache --judge " PLUGINS "/solution.so"), 0);
    expect_in_report("mine     recomputed, the judge");
    expect_in_report("verdict: PASS");
    cr_assert_eq(
        run("VICE='counts wrong' " VERIFY "--decoder kvcache --judge " PLUGINS "/misbehaving.so"),
        1);
    expect_in_report("verdict: FAIL");
    expect_in_report("the judge does not agree with itself");
    // Nothing rests on what another judge found.
    char model[64];
    snprintf(model, sizeof model, "synthetic:L=1,C=32,H=2,T=40,V=50,seed=%ld", 7000000L + getpid());
    cr_assert_eq(run(BUILD_DIR "/tested/bench verify -m %s --judge " PLUGINS "/solution.so", model),
                 0);
    cr_assert_eq(run(BUILD_DIR "/tested/bench sweep -m %s -c 8 -n 6 -o %s", model, support_folder),
                 0);
    expect_in_report("so far 0 tokens");
}

Test(plugin, weights_cannot_be_written)
{
    expect_refused(PLUGINS "/misbehaving.so", "writes weights",
                   "wrote to the model's weights|step(3 tokens)|a copy");
}

Test(plugin, failures_name_the_call)
{
    expect_refused(PLUGINS "/misbehaving.so", "fails",
                   "step(4 tokens) failed|four is a number?that I do not like");
    expect_refused(PLUGINS "/misbehaving.so", "returns nothing",
                   "step(1 token)|neither logits nor an error");
    expect_refused(PLUGINS "/misbehaving.so", "creates nothing",
                   "create|neither a decoder nor an error");
}

Test(plugin, tables_are_checked_before_they_are_used)
{
    expect_refused(PLUGINS "/another-version.so", "",
                   "another-version.so|version 3|this is 2|make mine");
    expect_refused(PLUGINS "/first-version.so", "",
                   "first-version.so|version 1|this is 2|decoder_options|wanted|holds|bytes|make "
                   "mine");
    expect_refused(PLUGINS "/under-another-name.so", "",
                   "under-another-name.so|no symbol lockstep_decoder");
    expect_refused(PLUGINS "/without-reset.so", "",
                   "without-reset.so|create, step, reset and destroy");
}

Test(plugin, files_that_are_no_plugins_are_refused)
{
    char text[SUPPORT_PATH + 16];
    support_write(support_folder, "text.so", "int x;\n", 7);
    snprintf(text, sizeof text, "%s/text.so", support_folder);
    expect_refused(text, "", "text.so|make mine");
    expect_refused(PLUGINS "/missing.so", "", "missing.so|make mine");
    expect_refused(PLUGINS, "", "plugins|make mine");
}

Test(plugin, a_changed_floating_point_mode_is_reported_and_undone)
{
    cr_assert_eq(run("VICE='rounds upward' " VERIFY "--decoder " PLUGINS "/misbehaving.so"), 1);
    expect_in_report("environment: step switched on another rounding mode");
    expect_in_report("verdict: FAIL: 0 of");
}

Test(plugin, logits_alone_are_compared_and_cannot_be_located)
{
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/misbehaving.so"), 0);
    expect_in_report("logits only");
    cr_assert_eq(run("VICE='counts wrong' " VERIFY "--decoder " PLUGINS "/misbehaving.so"), 1);
    expect_in_report("first difference: context 1, reached at once, logit 7");
    expect_in_report("located: no observable row differs");
}

Test(plugin, state_that_two_decoders_share_is_met)
{
    cr_assert_eq(run("VICE='shares state' " VERIFY "--decoder " PLUGINS "/misbehaving.so"), 1);
    expect_in_report("first difference: context 8, reached beside another one, logit 3");
    expect_in_report("verdict: FAIL: 1 of ");
}

// Many calls that are quick enough each are too slow together.
Test(plugin, a_run_has_a_limit_as_each_call_has)
{
    expect_failure("is slow", "--limit 1", "has not ended after 1 s|--limit|--contexts");
}

#define UNREACHED "-m synthetic:L=1,C=32,H=2,T=1100,V=50 --budget 1 " // beyond the walk's texts
// A page that the plug-in has unlocked itself: no number differs, the digest does.
Test(plugin, weights_that_changed_unseen_are_a_failure)
{
    cr_assert_eq(
        run("VICE='unlocks weights' " VERIFY UNREACHED "--decoder " PLUGINS "/misbehaving.so"), 1);
    expect_in_report("; the weights were changed");
    expect_in_report("weights: the model's weights are not what they were before the plug-in ran");
    cr_assert_eq(
        run("VICE='unlocks weights' " VERIFY UNREACHED "-j --decoder " PLUGINS "/misbehaving.so"),
        1);
    expect_in_report("\"weights\": \"the model's weights are not");
}

// What a student's mistake looks like: the report says what it is, and fits 80 columns.
static void expect_told(const char *mistake, const char *const *parts)
{
    cr_assert_eq(run(VERIFY "-c 1-24 --decoder " PLUGINS "/%s.so", mistake), 1, "%s", mistake);
    for (; *parts; parts++)
        expect_in_report(*parts);
    size_t n;
    char *out = support_read(support_folder, "out", &n);
    for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n"))
        cr_assert_leq(strlen(line), 80, "%s: more than 80 columns: %s", mistake, line);
    free(out);
}

Test(plugin, students_mistakes_are_told_as_what_they_are)
{
    expect_told("restarts",
                (const char *const[]){"where: not at once: where rows are used again",
                                      "embed, position 1", "by step(1); step(2)\n",
                                      "right token, wrong position 0; later, position 0 for",
                                      "positions that start from 0 again", NULL});
    expect_told("one-slot-late",
                (const char *const[]){"cached v, position 0, head 0 (context 1)",
                                      "position 1 holds what belongs here, exact to the last bit",
                                      "stored one slot too late", NULL});
    expect_told("no-own-key", (const char *const[]){"0 keys seen, 1 expected",
                                                    "where: at context 1 already", NULL});
    expect_told("unscaled",
                (const char *const[]){"is 4 times what it should be", "1/sqrt(D)", NULL});
    expect_told("short-length",
                (const char *const[]){"rows are held wrongly", "length: layer 0 holds 1 row, not 2",
                                      "looks like: a length that is one too few, in all layers",
                                      NULL});
    expect_told("counts-refused", (const char *const[]){"rows are held wrongly",
                                                        "after a step that was refused", NULL});
    expect_told("few-bytes", (const char *const[]){"rows are held wrongly", "bytes: 1 rows of keys",
                                                   "and bytes says 1", NULL});
    expect_told("flickering", (const char *const[]){"the same calls, made again, do not go wrong",
                                                    "looks like: not repeatable", NULL});
    expect_told("all-reused", (const char *const[]){"logits were asked for", "all T rows reused",
                                                    "where: after rollbacks", NULL});
}

// Right in every bit, but each edit costs the whole text.
Test(plugin, rows_that_are_dropped_without_need_are_counted)
{
    cr_assert_eq(run(VERIFY "-c 1-24 --decoder " PLUGINS "/drops-all.so"), 0);
    expect_in_report("verdict: PASS");
    expect_in_report("it drops more than has changed");
    cr_assert_eq(run(VERIFY "-c 1-24 --work --decoder " PLUGINS "/drops-all.so"), 1);
    expect_in_report("verdict: FAIL");
}

// A table that shows a cache which is never said to hold a row.
Test(plugin, a_cache_that_is_never_counted_is_not_said_to_be_hidden)
{
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/never-counted.so"), 0);
    expect_in_report("says of no row that it is held: logits only");
    expect_in_report("this cache never hits");
}

Test(plugin, json_says_the_same)
{
    cr_assert_eq(run("VICE='counts wrong' " VERIFY "--json --decoder " PLUGINS "/misbehaving.so"),
                 1);
    expect_in_report("\"decoder\": \"misbehaving\"");
    expect_in_report("\"identical\": false");
    cr_assert_eq(run(VERIFY "--json --decoder " PLUGINS "/misbehaving.so"), 0);
    expect_in_report("\"identical\": true");
}

Test(plugin, a_sweep_times_it_beside_naive)
{
    cr_assert_eq(run(SWEEP "-o %s --decoder " PLUGINS "/solution.so", support_folder), 0);
    expect_in_report("step naive");
    expect_in_report("step mine");
    expect_in_report("TTFT is that of mine");
    for (const char *const *name = (const char *const[]){"naive", "mine", NULL}; *name; name++)
        for (const char *const *metric = (const char *const[]){"ttft", "tpot", "step", NULL};
             *metric; metric++) {
            char part[64];
            snprintf(part, sizeof part, ",%s,%s,", *name, *metric);
            cr_assert_eq(count_in("samples.csv", part), 3 * 50, "%s", part);
            cr_assert_eq(count_in("summary.csv", part), 3, "%s", part);
        }
    cr_assert_eq(count_in("summary.csv", "\n"), 1 + 2 * 3 * 3);
    cr_assert_eq(count_in("memory.csv", "\n"), 1 + 2 * 3);
    cr_assert_eq(count_in("context.json", "\"plugin_sha256\": \""), 1);
}

// A passed verification counts for the very file, the very model, and as far as it went.
Test(plugin, its_speed_up_stands_only_beside_its_verification)
{
    char model[64], line[COMMAND];
    snprintf(model, sizeof model, "synthetic:L=1,C=32,H=2,T=40,V=50,seed=%ld",
             (long)getpid()); // never verified before
    snprintf(line, sizeof line,
             BUILD_DIR "/tested/bench sweep -m %s -c 8,16 -n 6 -o %s --decoder " PLUGINS, model,
             support_folder);
    cr_assert_eq(run("%s/solution.so", line), 0);
    expect_in_report("/solution.so`: so far 0 tokens");
    cr_assert_eq(
        run(BUILD_DIR "/tested/bench verify -m %s -c 9 --decoder " PLUGINS "/solution.so", model),
        0);
    cr_assert_eq(run("%s/solution.so", line), 0);
    expect_in_report("so far 9 tokens");
    cr_assert_eq(
        run(BUILD_DIR "/tested/bench verify -m %s --decoder " PLUGINS "/solution.so", model), 0);
    cr_assert_eq(run("%s/solution.so", line), 0);
    cr_assert_eq(count_in("out", "so far") + count_in("out", " - "), 0, "all is verified");
    cr_assert_eq(run("%s/template.so", line), 0);
    expect_in_report("/template.so`: so far 0 tokens");
    cr_assert_eq(
        run(BUILD_DIR "/tested/bench sweep -m %s -c 8,16 -n 6 -o %s", model, support_folder), 0);
    expect_in_report("so far 0 tokens");
    cr_assert_eq(run("VICE='counts wrong' " BUILD_DIR
                     "/tested/bench verify -m %s --decoder " PLUGINS "/misbehaving.so",
                     model),
                 1);
    cr_assert_eq(run("%s/misbehaving.so", line), 0);
    expect_in_report("so far 0 tokens");
}

// The fixed ways up to 2 tokens are right; the walk meets the call of 4. What was found is printed,
// and takes back what was verified before.
Test(plugin, a_call_that_fails_in_the_walk_is_reported_and_recorded)
{
    char model[64];
    snprintf(model, sizeof model, "synthetic:L=1,C=32,H=2,T=40,V=50,seed=%ld", (long)getpid() + 1);
    char whole[COMMAND];
    snprintf(whole, sizeof whole,
             BUILD_DIR "/tested/bench verify -m %s -c 1-2 -d " PLUGINS "/misbehaving.so", model);
    cr_assert_eq(run("%s", whole), 0);
    expect_in_report("verdict: PASS");
    cr_assert_eq(run("VICE=fails %s", whole), 1);
    expect_in_report("verdict: FAIL: 0 of ");
    expect_in_report("; a call failed in the random walk");
    expect_in_report("this is enough:");
    cr_assert_eq(run(BUILD_DIR "/tested/bench sweep -m %s -c 1,2 -n 6 -o %s -d " PLUGINS
                               "/misbehaving.so",
                     model, support_folder),
                 0);
    expect_in_report("/misbehaving.so`: so far 0 tokens");
}

// What a plug-in does after some rounds ends the sweep, and the samples taken before stay, whole.
static void expect_swept_until(const char *vice, const char *parts)
{
    size_t n;
    char message[1024] = "";
    int code =
        run("VICE='%s' FROM=60 " SWEEP "-o %s --timeout 1 --decoder " PLUGINS "/misbehaving.so",
            vice, support_folder);
    char *err = support_read(support_folder, "err", &n), *last = strstr(err, "bench sweep: ");
    cr_assert(code == 1 && last, "%s: exit %d: %s", vice, code, err);
    snprintf(message, sizeof message, "%.*s", (int)strcspn(last, "\n"), last);
    support_assert_refused(message, parts);
    free(err);
    char *samples = support_read(support_folder, "samples.csv", &n);
    cr_assert(n > 0 && samples[n - 1] == '\n', "%s: the last row is cut", vice);
    free(samples);
    const size_t rows = count_in("samples.csv", "\n") - 1,
                 own = count_in("samples.csv", ",misbehaving,step,");
    cr_assert(rows % 3 == 0 && own >= 3 && own < 3 * 50, "%s: %zu rows, %zu of its steps", vice,
              rows, own);
}

Test(plugin, findings_end_a_sweep_and_samples_stay)
{
    expect_swept_until("crashes", "crashed|Segmentation fault|step(3 tokens)");
    expect_swept_until("hangs", "hangs|step(2 tokens)|1 s");
    expect_swept_until("exits", "ended its process|step(");
    expect_swept_until("rounds upward", "step switched on another rounding mode|-ffast-math");
}

// A figure of arithmetic that is not the contract's would be another thing's.
Test(plugin, curves_do_not_time_another_rounding_mode)
{
    size_t n;
    cr_assert_eq(run("VICE='rounds upward' " BUILD_DIR "/tested/bench curves generate -n 6 -c 4 "
                     "-o %s -d " PLUGINS "/misbehaving.so -m synthetic:L=1,C=32,H=2,T=40,V=50",
                     support_folder),
                 1);
    char *err = support_read(support_folder, "err", &n);
    cr_assert(strstr(err, "switched on another rounding mode"), "%s", err);
    free(err);
}

Test(plugin, a_sweep_refuses_names_that_hide_whose_a_row_is)
{
    size_t n;
    cr_assert_eq(run(SWEEP "-o %s --decoder " PLUGINS "/called-naive.so", support_folder), 1);
    char *err = support_read(support_folder, "err", &n);
    err[strcspn(err, "\n")] = '\0';
    support_assert_refused(err, "'naive'|lockstep_decoder");
    free(err);
    cr_assert_eq(run(SWEEP "-o %s --decoder " PLUGINS "/missing.so", support_folder), 1);
    cr_assert_eq(run(SWEEP "-o %s -c 40 --decoder " PLUGINS "/solution.so", support_folder), 2);
}

// What notes/07-your-own-cache.md builds up: the template is right as it stands, and with its
// solution it is a cache.
Test(plugin, the_template_and_its_solution_are_right)
{
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/template.so"), 0);
    expect_in_report("no keys and values were compared");
    expect_refused(PLUGINS "/template.so -m synthetic:L=1,C=32,H=2,G=1,T=40,V=50", "",
                   "a K/V head for each query head: use such a model");
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/solution.so"), 0);
    expect_in_report("keys and values held");
    cr_assert_eq(run(BUILD_DIR "/tested/bench verify -m %s -c 1-12 --decoder " PLUGINS
                               "/solution.so",
                     SOURCE_DIR "/tests/faults/overflow"),
                 0);
}
