// Decoders named on the command line, each under its spec: what verify, sweep, digest and profile
// make of them.
#include <criterion/criterion.h>
#include <string.h>

#include "bench/cost/profile.h"
#include "bench/curves/curves.h"
#include "bench/measure/measure.h"
#include "bench/subject/subject.h"
#include "bench/verify/digest.h"
#include "bench/verify/verify.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

#define MODEL "synthetic:L=2,C=40,H=2,T=140,V=33"
#define CLOSED "verdict: PASS: 0 of 4 decoders differ from their recompute"

TestSuite(subjects, .timeout = 120);

static void assert_says(const command_run *r, int exit_code, const char *part)
{
    cr_assert(!r->s, "%s", r->s);
    cr_assert_eq(r->exit_code, exit_code, "exit %d: %s", r->exit_code, r->out);
    cr_assert_not_null(strstr(r->out, part), "no \"%s\" in: %s", part, r->out);
}

static size_t times(const char *text, const char *part)
{
    size_t n = 0;
    while ((text = strstr(text, part)) && ++n)
        text += strlen(part);
    return n;
}

// W smaller and larger than a page, sinks, both at once; each against a judge under the same spec.
Test(subjects, verify_judges_each_under_its_own_spec)
{
    const command_run r =
        RUN(verify_command, "verify", "-m", MODEL, "-c", "1-140", "--kv", "window:8+3", "--kv",
            "f16", "-d", "kvcache:window:70,f16", "-d", "kvcache");
    assert_says(&r, 0, "verify kvcache:window:8+3 on " MODEL);
    assert_says(&r, 0, "verify kvcache:window:70,f16 on " MODEL);
    assert_says(&r, 0, CLOSED);
    cr_assert_eq(times(r.out, "verdict: PASS"), 5, "%s", r.out);
    cr_assert_eq(times(r.out, " 140 computed, 140 needed"), 4, "%s", r.out);
}

// Where a way has no step, there is nothing to look at behind it.
Test(subjects, verify_takes_a_single_token)
{
    static const char *const models[] = {MODEL, "synthetic:L=1,C=16,H=1,T=1,V=2"};
    for (size_t i = 0; i < 2; i++) {
        const command_run r = RUN(verify_command, "verify", "-m", models[i], "-c", "1", "-d",
                                  "kvcache", "-d", "naive", "--kv", "window:1");
        assert_says(&r, 0, "verdict: PASS: 0 of 3 decoders differ");
    }
}

// After an edit a decoder computes what has changed, and no more: but for a window, and for groups
// that are rounded together, which have to be made anew.
Test(subjects, verify_counts_work_after_edits_where_rows_stay)
{
    static const char *const specs[] = {"all", "q8", "kivi4:16", "window:8+3"};
    for (size_t i = 0; i < 4; i++) {
        const command_run r =
            RUN(verify_command, "verify", "-m", MODEL, "-c", "1-40", "--work", "--kv", specs[i]);
        assert_says(&r, 0, "verdict: PASS");
        cr_assert_eq(strstr(r.out, "rows, after edits") != NULL, i < 2, "%s: %s", specs[i], r.out);
    }
}

Test(subjects, verify_says_that_a_cache_never_hits)
{
    const char *const never = "but 820 rows were computed one by one where 40 were needed: this "
                              "cache never\n    hits\n";
    const command_run r = RUN(verify_command, "verify", "-m", MODEL, "-c", "1-40", "-d", "naive");
    assert_says(&r, 0, never);
    assert_says(&r, 0, "verdict: PASS");
    const command_run strict =
        RUN(verify_command, "verify", "-m", MODEL, "-c", "1-40", "-d", "naive", "--work");
    assert_says(&strict, 1, never);
    assert_says(&strict, 1, "verdict: FAIL");
    // Not a bit differs there, so the last line does not say that one does.
    const command_run two = RUN(verify_command, "verify", "-m", MODEL, "-c", "1-40", "-d", "naive",
                                "-d", "kvcache", "--work");
    assert_says(&two, 1, "verdict: FAIL: 1 of 2 decoders did not pass");
}

// Logits under a spec are others, and the digest tells.
Test(subjects, digests_differ_by_spec_and_not_by_decoder)
{
    const command_run both = RUN(digest_command, "digest", "-m", MODEL, "-c", "100", "-d",
                                 "naive:window:8", "-d", "kvcache:window:8");
    const command_run plain = RUN(digest_command, "digest", "-m", MODEL, "-c", "100");
    cr_assert(!both.s && !plain.s, "%s", both.s ? both.s : plain.s);
    cr_assert_str_neq(both.out, plain.out);
    const command_run mixed =
        RUN(digest_command, "digest", "-m", MODEL, "-c", "100", "-d", "naive", "--kv", "window:8");
    support_assert_refused(mixed.s, "naive gives|kvcache:window:8 gives");
    const command_run stages = RUN(digest_command, "digest", "--stages", "-m", MODEL, "-c", "100",
                                   "--kv", "window:8+3,f16");
    assert_says(&stages, 0, "sees");
    const command_run heavy =
        RUN(digest_command, "digest", "--stages", "-m", MODEL, "-c", "100", "--kv", "heavy:8+3");
    assert_says(&heavy, 0, "sees");
}

// Standard output is the plug-in's while it calls an observer: the digests are not printed there.
Test(subjects, stages_of_a_plug_in_are_those_of_ours)
{
    const command_run ours = RUN(digest_command, "digest", "--stages", "-m", MODEL, "-c", "30",
                                 "-d", "kvcache"),
                      its = RUN(digest_command, "digest", "--stages", "-m", MODEL, "-c", "30", "-d",
                                BUILD_DIR "/plugins/solution.so");
    assert_says(&ours, 0, "softmax");
    cr_assert_geq(command_lines(its.out), 20, "%s", its.out);
    for (const char *line = its.out, *end; *line; line = end + 1) { // it shows nothing of a store
        end = strchr(line, '\n');
        char one[128];
        snprintf(one, sizeof one, "%.*s", (int)(end - line), line);
        cr_assert_not_null(strstr(ours.out, one), "%s", one);
    }
}

// One column each, bytes from the decoder: a window keeps two pages, f16 half of what all takes.
Test(subjects, sweep_times_as_many_as_there_are)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    const command_run r = RUN(sweep_command, "sweep", "-m", MODEL, "-c", "16,120", "-n", "6", "-o",
                              dir, "--kv", "window:8,f16", "--kv", "f16", "-d", "kvcache");
    assert_says(&r, 0, "step kvcache:window:8,f16");
    assert_says(&r, 0, "step kvcache:f16");
    const char *summary = command_file(dir, "summary.csv");
    cr_assert_eq(command_lines(summary), 1 + 4 * 2 * 3);
    cr_assert_eq(times(summary, ",\"kvcache:window:8,f16\",step,"), 2, "%s", summary);
    support_remove_dir(dir);
}

// Two places of each of four decoders, and what the counts say of a window that is full.
Test(subjects, curves_draw_as_many_as_there_are)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    const char *const says[][2] = {{"attention", "  kvcache:window:8,f16 attention"},
                                   {"crossover", "  kvcache:window:8,f16              -"},
                                   {"memory", "  kvcache:f16 held"},
                                   {"generate", "The cache of kvcache:f16 has"}};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        const command_run r =
            RUN(curves_command, "curves", says[i][0], "-m", MODEL, "-c", "16,32,64,139", "-n", "6",
                "-o", dir, "--kv", "window:8,f16", "--kv", "f16", "-d", "kvcache");
        assert_says(&r, 0, says[i][1]);
    }
    const char *summary = command_file(dir, "attention-summary.csv"),
               *counts = command_file(dir, "attention-counts.csv");
    cr_assert_eq(command_lines(summary), 1 + 4 * 4, "%s", summary);
    // Of 140 positions a row sees 8: twice 8 multiply-adds for each of 40 channels and 2 layers.
    cr_assert_not_null(strstr(counts, ",\"kvcache:window:8,f16\",attention,139,1280\n"), "%s",
                       counts);
    cr_assert_not_null(strstr(counts, ",kvcache,attention,139,22400\n"), "%s", counts);
    support_remove_dir(dir);
}

// Its attention cannot be told from the rest of a step; its steps can be timed.
Test(subjects, curves_refuse_a_plug_in_where_a_part_is_timed)
{
    const char *const mine = BUILD_DIR "/plugins/solution.so";
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    const command_run refused =
        RUN(curves_command, "curves", "attention", "-m", MODEL, "-n", "6", "-o", dir, "-d", mine);
    support_assert_refused(refused.s, "attention times attention on its own|leave out");
    const command_run r = RUN(curves_command, "curves", "throughput", "-m", MODEL, "-c", "16-19",
                              "-n", "6", "-o", dir, "-d", mine);
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    cr_assert_eq(command_lines(command_file(dir, "throughput-summary.csv")), 1 + 2 * 4);
    support_remove_dir(dir);
}

Test(subjects, profile_takes_a_spec)
{
    const command_run r =
        RUN(profile_command, "profile", "-m", MODEL, "-c", "20", "-n", "1", "--kv", "window:8");
    assert_says(&r, 0, "step at 20 tokens (kvcache:window:8)");
    cr_assert_null(strstr(r.out, "overtakes the linear layers at 0"));
}

Test(subjects, what_is_no_subject_is_refused)
{
    static const struct {
        const char *subject, *parts;
    } cases[] = {
        {"kvcache:", "--kv|''|window:W"},
        {"kvcache:windows:3", "'windows:3'|window:W"},
        {"kvcache:window:0", "'window:0'|at least 1"},
        {"kvcache:f16,f32", "'f32'|second word"},
        {"kvcache:window:8,window:9", "'window:9'|second word"},
        {"cachekv", "cachekv|make mine"},
        {"nowhere.so:f16", "nowhere.so|make mine"},
        {"kvcache", "kvcache is asked for twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench_options o = {.subjects = 2};
        strcpy(o.subject[0], "kvcache:all");
        strcpy(o.subject[1], cases[i].subject);
        subjects of;
        support_assert_refused(subjects_open(&o, "naive", &of), cases[i].parts);
        subjects_free(&of);
    }
}
