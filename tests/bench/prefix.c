// Policies on a public trace: the integers that an index must count.
#include <criterion/criterion.h>
#include <string.h>

#include "bench/prefix/prefix.h"
#include "bench/prefix/replay.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

TestSuite(prefix_trace, .init = support_enter_folder, .fini = support_leave_folder, .timeout = 120);

static const char trace[] = SOURCE_DIR "/bench/prefix/traces/mooncake-synthetic.jsonl";

Test(prefix_trace, counts_what_is_known)
{
    static const struct {
        replay_way way;
        size_t hits;
    } cases[] = {
        {{.capacity = 0}, 77953},
        {{.capacity = 1000, .first_to_last = true}, 10050},
        {{.capacity = 10000, .first_to_last = true}, 51614},
        {{.capacity = 1000}, 10252},
        {{.capacity = 10000}, 51669},
        {{.policy.idle = 60000}, 39202},
        {{.policy.idle = 300000}, 71228},
        {{.policy.idle = 600000}, 77265},
    };
    replay_trace t;
    cr_assert_null(replay_read(trace, &t));
    cr_assert_eq(t.n, 3993);
    cr_assert_eq(t.blocks, 121877);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        replay_counts n;
        cr_assert_null(replay_run(&t, &cases[i].way, &n));
        cr_assert_eq(n.hits, cases[i].hits, "case %zu: %zu hits", i, n.hits);
        cr_assert_eq(n.hits + n.misses, 121877);
        // What has come is there or has gone.
        cr_assert(cases[i].way.first_to_last || n.evictions <= n.misses);
        cr_assert_leq(n.misses - n.evictions, i == 0 ? 43924 : n.misses);
        if (cases[i].way.capacity > 0 && !cases[i].way.first_to_last)
            cr_assert_eq(n.misses - n.evictions, cases[i].way.capacity);
    }
    replay_free(&t);
}

Test(prefix_trace, is_printed_and_written)
{
    const command_run r =
        RUN(prefix_command, "prefix", "--trace", trace, "--blocks", "1000", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    static const char *const lines[] = {
        ": 3,993 requests, 121,877 blocks of 512 tokens",
        "  all, no limit                        77,953   43,924          0     63.96 %",
        "  LRU, last to first, 1,000 blocks     10,252  111,625    110,625      8.41 %",
        "  LRU, first to last, 1,000 blocks     10,050"};
    for (size_t i = 0; i < 4; i++)
        cr_assert_not_null(strstr(r.out, lines[i]), "no \"%s\" in %s", lines[i], r.out);
    const char *csv = command_file(support_folder, "prefix-trace.csv");
    cr_assert_eq(command_lines(csv), 11);
    cr_assert_not_null(strstr(csv, "\n10000000,19531,0.596235,0.595328,0.5886\n"), "%s", csv);
    const char *json = command_file(support_folder, "prefix-trace.json");
    cr_assert_not_null(strstr(json, "\"hits\": 77953"), "%s", json);
}

Test(prefix_trace, what_is_no_trace_is_refused)
{
    static const struct {
        const char *text, *parts;
    } cases[] = {
        {"", "holds no request: one JSON object a line"},
        {"[1]\n", "x.jsonl, line 1"},
        {"{\"timestamp\": 0}\n", "x.jsonl, line 1: input_length is no whole number"},
        {"{\"timestamp\": -1}\n", "timestamp is no whole number"},
        {"{\"timestamp\": 0, \"input_length\": 5}\n", "hash_ids is no list"},
        {"{\"timestamp\": 0, \"input_length\": 5, \"hash_ids\": [1, 2]}\n",
         "2 hash_ids for 5 tokens: one for each 512 is wanted"},
        {"{\"timestamp\": 0, \"input_length\": 5, \"hash_ids\": [-1]}\n",
         "hash_ids[0] is no whole number below 2^31"},
        {"{\"timestamp\": 0, \"input_length\": 5, \"hash_ids\": [3000000000]}\n", "hash_ids[0]"},
        {"{\"timestamp\": 5, \"input_length\": 0, \"hash_ids\": []}\n"
         "{\"timestamp\": 4, \"input_length\": 0, \"hash_ids\": []}\n",
         "x.jsonl, line 2: timestamp is before that of the line above"},
        {"{\"timestamp\": 0, \"input_length\": 9223372036854775807, \"hash_ids\": []}\n",
         "0 hash_ids for"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        replay_trace t;
        support_write(support_folder, "x.jsonl", cases[i].text, strlen(cases[i].text));
        support_assert_refused(replay_read("x.jsonl", &t), cases[i].parts);
        replay_free(&t);
    }
    support_assert_refused(RUN(prefix_command, "prefix", "-T", "absent").s, "absent");
}

#define TINY "synthetic:L=1,C=16,H=1,T=128,V=32"

static void expect_lines(const char *out, const char *const *lines)
{
    for (; *lines; lines++)
        cr_assert_not_null(strstr(out, *lines), "no \"%s\" in %s", *lines, out);
}

// The figures are those of the providers' rules: a prompt of 2006 tokens reads 1920 of them again,
// and what nobody has used for 18 minutes is forgotten after 5 or 10, but not after 30.
Test(prefix_trace, presets_report_what_providers_would)
{
    static const char *const expected[] = {
        "1  system + A        86  {\"prompt_tokens\": 2006, \"prompt_tokens_details\": "
        "{\"cached_tokens\": 1920}}\n",
        "2  system + B       598  {\"prompt_tokens\": 2006, \"prompt_tokens_details\": "
        "{\"cached_tokens\": 1408}}\n"
        "                          20  system + A      2006  {",
        "2  system + B       502  {\"cache_creation_input_tokens\": 496, "
        "\"cache_read_input_tokens\": 1504, \"input_tokens\": 6}\n"
        "                          20  system + A      2006  {",
        "2  system + B       502  {\"prompt_tokens\": 2006, \"prompt_tokens_details\": "
        "{\"cached_tokens\": 1504, \"cache_write_tokens\": 496}}\n"
        "                          20  system + A         6  {",
        "\n0 of 640 logits differ from naive's\n",
        NULL};
    const command_run r = RUN(prefix_command, "prefix", "--presets");
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_eq(r.exit_code, 0);
    expect_lines(r.out, expected);
}

// GPT-2's 1024 positions never reach a smallest hit of 1024, since the last token is computed.
Test(prefix_trace, presets_need_a_context_that_reaches_them)
{
    const command_run r =
        RUN(prefix_command, "prefix", "-P", "-m", "synthetic:L=1,C=16,H=1,T=1024,V=32");
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_null(strstr(r.out, "\"prompt_tokens_details\": {\"cached_tokens\": 1"), "%s", r.out);
    cr_assert_null(strstr(r.out, "\"cache_read_input_tokens\": 1"), "%s", r.out);
    cr_assert_not_null(strstr(r.out, "\"cached_tokens\": 1008}"), "%s", r.out); // vllm
    const command_run both = RUN(prefix_command, "prefix", "-P", "-T", trace);
    support_assert_refused(both.s, "--trace");
    cr_assert_eq(both.exit_code, 2);
}

// Of 40 tokens 0, 0, 16, 16 and 32 are cached: whole pages. The command refuses to go on where as
// many were not reused, or not restored. A prompt of less than a page has nothing to restore.
Test(prefix_trace, times_prompts_of_which_a_share_is_cached)
{
    const command_run r =
        RUN(prefix_command, "prefix", "-m", TINY, "-c", "9,40,64", "-n", "6", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    expect_lines(r.out,
                 (const char *const[]){"\n         9         0         9  from a snapshot on disk ",
                                       "\n        40         0        40  in memory ",
                                       "\n        40        32         8 ",
                                       "\n        40        32         8  from a snapshot ",
                                       "\n        64        48        16  from the pool's disk ",
                                       "\n        64        48        16  from a snapshot on disk ",
                                       "rows alone: TTFT beside that", NULL});
    cr_assert_eq(command_lines(command_file(support_folder, "prefix-samples.csv")),
                 1 + 6 * 3 * 8 * 3);
    cr_assert_eq(command_lines(command_file(support_folder, "prefix-summary.csv")), 1 + 8 * 3 * 3);
    cr_assert_not_null(
        strstr(command_file(support_folder, "prefix-summary.csv"), ",from a snapshot,alone,64,"));
    const char *picture = command_file(support_folder, "prefix-shares.csv");
    cr_assert_eq(command_lines(picture), 1 + 17);
    cr_assert_not_null(strstr(picture, ",from a snapshot on disk,64,48,16,"));
    cr_assert_eq(support_count(support_folder), 7 + 1, "a state was left"); // and the lock
    const command_run few = RUN(prefix_command, "prefix", "-n", "3");
    support_assert_refused(few.s, "--samples 3: fewer than 6");
    cr_assert_eq(few.exit_code, EXIT_USAGE);
}

// n turns of 32 tokens: 32 n (n + 1) / 2 rows, or 32 n. The command refuses to go on where others
// were computed.
Test(prefix_trace, counts_and_times_a_conversation)
{
    const command_run r =
        RUN(prefix_command, "prefix", "-m", TINY, "-c", "1", "-n", "6", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    expect_lines(r.out, (const char *const[]){"\n       1            32            32 ",
                                              "\n       2            96            64 ",
                                              "\n       4           320           128 ",
                                              "\n  changing part first        128 ",
                                              "\n  changing part last          64 ", NULL});
    const char *csv = command_file(support_folder, "prefix-conversation-summary.csv");
    cr_assert_eq(command_lines(csv), 1 + 3 * 2);
    cr_assert_not_null(strstr(csv, ",metric,turns,median_ns,"), "%s", csv);
    cr_assert_not_null(strstr(csv, ",with,total,4,"), "%s", csv);
    csv = command_file(support_folder, "prefix-placement-summary.csv");
    cr_assert_eq(command_lines(csv), 1 + 2);
    cr_assert_not_null(strstr(csv, ",changing part last,ttft,128,"), "%s", csv);
}
