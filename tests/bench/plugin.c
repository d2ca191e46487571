// Somebody else's decoder: whatever a plug-in does, verify says it in one line and exits with 1.
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support.h"

#define PLUGINS BUILD_DIR "/plugins"
// A crash is to look as it does without a sanitizer.
#define VERIFY                                                                                     \
    "ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 " BUILD_DIR                                          \
    "/bench verify -m synthetic:L=2,C=48,H=3,T=64,V=100 -c 1-8 "
#define SWEEP                                                                                      \
    "ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 " BUILD_DIR                                          \
    "/bench sweep -m synthetic:L=1,C=32,H=2,T=40,V=50 -c 1,2,30 -n 50 "
enum { COMMAND = 2048 };

static char folder[SUPPORT_PATH];

static void enter_folder(void)
{
    support_make_dir(folder);
}

static void leave_folder(void)
{
    support_remove_dir(folder);
}

TestSuite(plugin, .init = enter_folder, .fini = leave_folder, .timeout = 120);

// Runs a line of shell; what it writes goes to the files out and err. Returns the exit status.
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char line[COMMAND], whole[COMMAND + 2 * SUPPORT_PATH + 32];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof whole, "exec >%s/out 2>%s/err\n%s", folder, folder, line);
    int result = system(whole);
    cr_assert(WIFEXITED(result), "`%s` ended by a signal", line);
    return WEXITSTATUS(result);
}

// FILE.so with this VICE is refused in one line that holds each of `parts` (see support.h).
static void expect_refused(const char *file, const char *vice, const char *parts)
{
    size_t n;
    int code = run("VICE='%s' " VERIFY "--timeout 1 --decoder %s", vice, file);
    char *err = support_read(folder, "err", &n);
    cr_assert_eq(code, 1, "%s %s: exit %d, not 1: %s", file, vice, code, err);
    cr_assert(n > 0 && strchr(err, '\n') == err + n - 1, "%s %s: not one line: \"%s\"", file, vice,
              err);
    err[n - 1] = '\0';
    support_assert_refused(err, parts);
    free(err);
}

static void expect_in_report(const char *part)
{
    size_t n;
    char *out = support_read(folder, "out", &n);
    cr_assert_not_null(strstr(out, part), "no \"%s\" in: %s", part, out);
    free(out);
}

// How often the folder's file `name` holds `part`.
static size_t count_in(const char *name, const char *part)
{
    size_t n, found = 0;
    char *text = support_read(folder, name, &n);
    for (const char *at = text; (at = strstr(at, part)); at++)
        found++;
    free(text);
    return found;
}

Test(plugin, crashes_hangs_and_exits_are_findings)
{
    expect_refused(PLUGINS "/misbehaving.so", "crashes",
                   "crashed|Segmentation fault|step(3 tokens)");
    expect_refused(PLUGINS "/misbehaving.so", "hangs", "hangs|step(2 tokens)|1 s");
    expect_refused(PLUGINS "/misbehaving.so", "exits", "ended its process|step(1 tokens)");
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
    cr_assert_eq(run(BUILD_DIR "/bench verify -m %s --judge " PLUGINS "/solution.so", model), 0);
    cr_assert_eq(run(BUILD_DIR "/bench sweep -m %s -c 8 -n 6 -o %s", model, folder), 0);
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
                   "step(1 tokens)|neither logits nor an error");
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
    support_write(folder, "text.so", "int x;\n", 7);
    snprintf(text, sizeof text, "%s/text.so", folder);
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
    cr_assert_eq(run(SWEEP "-o %s --decoder " PLUGINS "/solution.so", folder), 0);
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
    cr_assert_eq(count_in("memory.csv", "\n"), 1 + 3);
    cr_assert_eq(count_in("context.json", "\"plugin_sha256\": \""), 1);
}

// A passed verification counts for the very file, the very model, and as far as it went.
Test(plugin, its_speed_up_stands_only_beside_its_verification)
{
    char model[64], line[COMMAND];
    snprintf(model, sizeof model, "synthetic:L=1,C=32,H=2,T=40,V=50,seed=%ld",
             (long)getpid()); // never verified before
    snprintf(line, sizeof line,
             BUILD_DIR "/bench sweep -m %s -c 8,16 -n 6 -o %s --decoder " PLUGINS, model, folder);
    cr_assert_eq(run("%s/solution.so", line), 0);
    expect_in_report("/solution.so`: so far 0 tokens");
    cr_assert_eq(run(BUILD_DIR "/bench verify -m %s -c 9 --decoder " PLUGINS "/solution.so", model),
                 0);
    cr_assert_eq(run("%s/solution.so", line), 0);
    expect_in_report("so far 9 tokens");
    cr_assert_eq(run(BUILD_DIR "/bench verify -m %s --decoder " PLUGINS "/solution.so", model), 0);
    cr_assert_eq(run("%s/solution.so", line), 0);
    cr_assert_eq(count_in("out", "so far") + count_in("out", " - "), 0, "all is verified");
    cr_assert_eq(run("%s/template.so", line), 0);
    expect_in_report("/template.so`: so far 0 tokens");
    cr_assert_eq(run(BUILD_DIR "/bench sweep -m %s -c 8,16 -n 6 -o %s", model, folder), 0);
    expect_in_report("so far 0 tokens");
    cr_assert_eq(run("VICE='counts wrong' " BUILD_DIR "/bench verify -m %s --decoder " PLUGINS
                     "/misbehaving.so",
                     model),
                 1);
    cr_assert_eq(run("%s/misbehaving.so", line), 0);
    expect_in_report("so far 0 tokens");
}

// What a plug-in does after some rounds ends the sweep, and the samples taken before stay, whole.
static void expect_swept_until(const char *vice, const char *parts)
{
    size_t n;
    char message[1024] = "";
    int code =
        run("VICE='%s' FROM=60 " SWEEP "-o %s --timeout 1 --decoder " PLUGINS "/misbehaving.so",
            vice, folder);
    char *err = support_read(folder, "err", &n), *last = strstr(err, "bench sweep: ");
    cr_assert(code == 1 && last, "%s: exit %d: %s", vice, code, err);
    snprintf(message, sizeof message, "%.*s", (int)strcspn(last, "\n"), last);
    support_assert_refused(message, parts);
    free(err);
    char *samples = support_read(folder, "samples.csv", &n);
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

Test(plugin, a_sweep_refuses_names_that_hide_whose_a_row_is)
{
    size_t n;
    cr_assert_eq(run(SWEEP "-o %s --decoder " PLUGINS "/called-naive.so", folder), 1);
    char *err = support_read(folder, "err", &n);
    err[strcspn(err, "\n")] = '\0';
    support_assert_refused(err, "'naive'|lockstep_decoder");
    free(err);
    cr_assert_eq(run(SWEEP "-o %s --decoder " PLUGINS "/missing.so", folder), 1);
    cr_assert_eq(run(SWEEP "-o %s -c 40 --decoder " PLUGINS "/solution.so", folder), 2);
}

// What notes/07-your-own-cache.md builds up: the template is right as it stands, and with its
// solution it is a cache.
Test(plugin, the_template_and_its_solution_are_right)
{
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/template.so"), 0);
    expect_in_report("keys and values are not shown");
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/solution.so"), 0);
    expect_in_report("keys and values held");
    cr_assert_eq(run(BUILD_DIR "/bench verify -m %s -c 1-12 --decoder " PLUGINS "/solution.so",
                     SOURCE_DIR "/tests/faults/overflow"),
                 0);
}
