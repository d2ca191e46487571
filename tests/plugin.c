// Somebody else's decoder: whatever a plug-in does, verify says it in one line and exits with 1.
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support.h"

#define PLUGINS BUILD_DIR "/plugins"
// A crash is to look as it does without a sanitizer.
#define VERIFY                                                                                                         \
    "ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 " BUILD_DIR "/bench verify -m synthetic:L=2,C=48,H=3,T=64,V=100 -c 1-8 "
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
    cr_assert(n > 0 && strchr(err, '\n') == err + n - 1, "%s %s: not one line: \"%s\"", file, vice, err);
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

Test(plugin, crashes_hangs_and_exits_are_findings)
{
    expect_refused(PLUGINS "/misbehaving.so", "crashes", "crashed|Segmentation fault|step(3 tokens)");
    expect_refused(PLUGINS "/misbehaving.so", "hangs", "hangs|step(2 tokens)|1 s");
    expect_refused(PLUGINS "/misbehaving.so", "exits", "ended its process|step(1 tokens)");
}

Test(plugin, failures_name_the_call)
{
    expect_refused(PLUGINS "/misbehaving.so", "fails", "step(4 tokens) failed|four is a number?that I do not like");
    expect_refused(PLUGINS "/misbehaving.so", "returns nothing", "step(1 tokens)|neither logits nor an error");
    expect_refused(PLUGINS "/misbehaving.so", "creates nothing", "create|neither a decoder nor an error");
}

Test(plugin, tables_are_checked_before_they_are_used)
{
    expect_refused(PLUGINS "/another-version.so", "", "another-version.so|version 2|this is 1|make mine");
    expect_refused(PLUGINS "/under-another-name.so", "", "under-another-name.so|no symbol lockstep_decoder");
    expect_refused(PLUGINS "/without-reset.so", "", "without-reset.so|create, step, reset and destroy");
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
    expect_in_report("verdict: 0 of");
}

Test(plugin, logits_alone_are_compared_and_cannot_be_located)
{
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/misbehaving.so"), 0);
    expect_in_report("logits only");
    cr_assert_eq(run("VICE='counts wrong' " VERIFY "--decoder " PLUGINS "/misbehaving.so"), 1);
    expect_in_report("first difference: context 5, reached one by one, logit 7");
    expect_in_report("located: no observable row differs");
}

Test(plugin, json_says_the_same)
{
    cr_assert_eq(run("VICE='counts wrong' " VERIFY "--json --decoder " PLUGINS "/misbehaving.so"), 1);
    expect_in_report("\"decoder\": \"misbehaving\"");
    expect_in_report("\"identical\": false");
    cr_assert_eq(run(VERIFY "--json --decoder " PLUGINS "/misbehaving.so"), 0);
    expect_in_report("\"identical\": true");
}

// What notes/07-your-own-cache.md builds up: the template is right as it stands, and with its solution it is a cache.
Test(plugin, the_template_and_its_solution_are_right)
{
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/template.so"), 0);
    expect_in_report("0 of 0 keys and values differ");
    cr_assert_eq(run(VERIFY "--decoder " PLUGINS "/solution.so"), 0);
    expect_in_report("keys and values held");
    cr_assert_eq(run(BUILD_DIR "/bench verify -m %s -c 1-12 --decoder " PLUGINS "/solution.so",
                     SOURCE_DIR "/tests/faults/overflow"),
                 0);
}
