// bench serve: requests as they are asked for, counts that can be known, and what is refused.
#include "bench/serve/serve.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/serve/load.h"
#include "common/base/memory.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=2,C=32,H=2,T=256,V=300"

TestSuite(serve, .init = support_enter_folder, .fini = support_leave_folder, .timeout = 120);

static void expect(status s)
{
    cr_assert_null(s, "%s", s);
}

// ---- mixes ----

static model *open_mix(const char *name, uint64_t seed, mix *x)
{
    model *m;
    expect(model_load(TINY, &m));
    expect(mix_open(name, m, seed, x));
    return m;
}

static size_t common_prefix(const int *a, const int *b, size_t n)
{
    size_t t = 0;
    while (t < n && a[t] == b[t])
        t++;
    return t;
}

Test(serve, a_system_prompt_is_shared_and_questions_are_not)
{
    mix x, other;
    int first[256], ids[256];
    size_t most;
    model *m = open_mix("system", 1, &x);
    model_free(open_mix("system", 2, &other));
    const size_t n = mix_request(&x, 0, NULL, 0, first, &most);
    for (size_t i = 0; i < 100; i++) {
        const size_t T = mix_request(&x, i, NULL, 0, ids, &most);
        cr_assert(T >= 64 + 24 && T <= 64 + 40, "%zu", T);
        cr_assert(most - T >= 72 && most - T <= 120, "%zu", most - T);
        cr_assert(i == 0 || common_prefix(first, ids, n) < 64 + 4);
        cr_assert_eq(common_prefix(first, ids, 64), 64);
        cr_assert_eq(mix_request(&x, i, NULL, 0, ids, &most), T);
    }
    mix_request(&other, 0, NULL, 0, ids, &most);
    cr_assert_lt(common_prefix(first, ids, 64), 4, "another seed, the same prompt");
    mix_free(&x);
    mix_free(&other);
    model_free(m);
}

Test(serve, a_conversation_goes_on_until_the_context_ends)
{
    mix x;
    int ids[256] = {0}, before[256];
    size_t most = 0, turns = 0;
    model *m = open_mix("conversation", 0, &x);
    for (size_t i = 0, T = 0; i < 40; i++) {
        memcpy(before, ids, sizeof ids);
        const size_t n = mix_request(&x, i, ids, T, ids, &most);
        cr_assert_leq(most, 256);
        if (n > T && T > 0) {
            cr_assert_eq(common_prefix(before, ids, T), T);
            turns++;
        } else
            cr_assert(n <= 64 + 20, "a new one of %zu tokens", n);
        for (size_t t = n; t < most; t++)
            ids[t] = (int)i;
        T = most;
    }
    cr_assert(turns >= 20 && turns < 36, "%zu", turns);
    mix_free(&x);
    model_free(m);
}

// The first of 16 documents has a share of 1 / (1 + 1/2 + ... + 1/16) = 0.296.
Test(serve, documents_are_asked_about_by_zipfs_law)
{
    enum { N = 4000 };
    mix x;
    int ids[256], known[16][4];
    size_t most, documents = 0, asked[16] = {0}, highest = 0;
    model *m = open_mix("documents", 3, &x);
    for (size_t i = 0; i < N; i++) {
        size_t d = 0;
        mix_request(&x, i, NULL, 0, ids, &most);
        while (d < documents && memcmp(known[d], ids, sizeof known[d]) != 0)
            d++;
        cr_assert_lt(d, 16, "more than 16 documents");
        documents += d == documents;
        memcpy(known[d], ids, sizeof known[d]);
        asked[d]++;
        highest = asked[d] > highest ? asked[d] : highest;
    }
    cr_assert_eq(documents, 16);
    cr_assert_float_eq((double)highest / N, 0.2958, 0.03, "%zu", highest);
    mix_free(&x);
    model_free(m);
}

Test(serve, a_file_is_read_or_refused_by_its_line)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "x.jsonl holds no request: one JSON object a line is wanted"},
        {"[1]\n", "x.jsonl, line 1"},
        {"{\"max_tokens\": 3}\n", "line 1: prompt is neither a text nor a list"},
        {"{\"prompt\": \"To be\", \"max_tokens\": 3}\n", "line 1|has no tokenizer|list of ids"},
        {"{\"prompt\": [1, 300], \"max_tokens\": 3}\n", "prompt[1] is no id below 300"},
        {"{\"prompt\": [1, -1], \"max_tokens\": 3}\n", "prompt[1] is no id"},
        {"{\"prompt\": [1, 2.5], \"max_tokens\": 3}\n", "prompt[1] is no id"},
        {"{\"prompt\": [1]}\n", "line 1: max_tokens is no whole number above 0"},
        {"{\"prompt\": [1], \"max_tokens\": 0}\n", "max_tokens is no whole number above 0"},
        {"{\"prompt\": [], \"max_tokens\": 5}\n", "a prompt of 0 tokens and 5 more"},
        {"{\"prompt\": [1], \"max_tokens\": 4}\n{\"prompt\": [1], \"max_tokens\": 256}\n",
         "x.jsonl, line 2: a prompt of 1 tokens and 256 more do not fit|1 to 256"},
        {"{\"prompt\": [1], \"max_tokens\": 9223372036854775807}\n", "do not fit"},
    };
    mix x;
    model *m;
    expect(model_load(TINY, &m));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        support_write(support_folder, "x.jsonl", wrong[i].text, strlen(wrong[i].text));
        support_assert_refused(mix_open("x.jsonl", m, 0, &x), wrong[i].says);
        mix_free(&x);
    }
    support_assert_refused(mix_open("absent", m, 0, &x), "absent");
    model_free(m);
    static const char good[] = "{\"prompt\": [7, 8, 9], \"max_tokens\": 2, \"user\": \"a\"}\n"
                               "{\"prompt\": \"To be\", \"max_tokens\": 30}\n";
    int ids[256];
    size_t most;
    expect(model_load(model_default(), &m));
    support_write(support_folder, "x.jsonl", good, strlen(good));
    expect(mix_open("x.jsonl", m, 0, &x));
    cr_assert_eq(mix_request(&x, 2, NULL, 0, ids, &most), 3);
    cr_assert_arr_eq(ids, ((int[]){7, 8, 9}), 3 * sizeof *ids);
    cr_assert_eq(most, 5);
    const size_t n = mix_request(&x, 1, NULL, 0, ids, &most);
    cr_assert(n >= 1 && n <= 5);
    cr_assert_eq(most, n + 30);
    mix_free(&x);
    model_free(m);
}

// ---- loads ----

static bool go_on(void *user, double done)
{
    cr_assert(done >= *(double *)user && done <= 1);
    *(double *)user = done;
    return true;
}

static load_result serve_mix(const model *m, const mix *x, size_t users, size_t texts, bool cache)
{
    double done = 0;
    load_result n;
    expect(load_run(&(load){.m = m,
                            .mix = x,
                            .users = users,
                            .requests = 40,
                            .budget = texts * load_text_bytes(m, x->T),
                            .cache = cache},
                    go_on, &done, &n));
    cr_assert_eq(done, 1);
    cr_assert_eq(n.requests, 40);
    cr_assert_leq(n.kv_peak, texts * load_text_bytes(m, x->T));
    // Every row of a text but its last was computed once, or found.
    cr_assert_eq(n.rows - n.recomputed + n.cached, n.prompt + n.generated - 40);
    cr_assert(n.ns > 0 && n.ttft_ns[0] > 0 && n.tpot_ns[0] > 0);
    for (size_t i = 1; i < LOAD_PERCENTILES; i++)
        cr_assert(n.ttft_ns[i] >= n.ttft_ns[i - 1] && n.tpot_ns[i] >= n.tpot_ns[i - 1]);
    return n;
}

Test(serve, a_cache_and_more_users_change_rows_and_passes_and_no_text)
{
    static const char *const mixes[] = {"system", "conversation", "documents"};
    for (size_t i = 0; i < 3; i++) {
        mix x;
        model *m = open_mix(mixes[i], 5, &x);
        const load_result one = serve_mix(m, &x, 1, 20, false),
                          cached = serve_mix(m, &x, 1, 20, true),
                          many = serve_mix(m, &x, 8, 20, true),
                          crowded = serve_mix(m, &x, 8, 2, false);
        cr_assert_eq(one.cached, 0);
        cr_assert_eq(one.prompt, cached.prompt, "%s", mixes[i]);
        cr_assert_eq(one.generated, cached.generated);
        // 39 of 40 find the system prompt's four pages; conversations and documents find more.
        cr_assert(i == 0 ? cached.cached == 39 * 64 : cached.cached > 39 * 64, "%s: %zu", mixes[i],
                  cached.cached);
        cr_assert_eq(one.preemptions + cached.preemptions + many.preemptions, 0);
        cr_assert_eq(one.recomputed, 0);
        cr_assert_gt(crowded.preemptions, 0, "%s", mixes[i]);
        cr_assert_gt(crowded.recomputed, 0);
        cr_assert_lt(many.passes * 4, one.passes);
        cr_assert_gt(many.kv_peak, cached.kv_peak);
        mix_free(&x);
        model_free(m);
    }
}

static bool stop(void *user, double done)
{
    (void)user;
    return done < 0.5;
}

Test(serve, stops_when_it_is_told_to)
{
    mix x;
    load_result n;
    model *m = open_mix("system", 0, &x);
    support_assert_refused(load_run(&(load){.m = m,
                                            .mix = &x,
                                            .users = 4,
                                            .requests = 20,
                                            .budget = 4 * load_text_bytes(m, x.T)},
                                    stop, NULL, &n),
                           "interrupted");
    mix_free(&x);
    model_free(m);
}

// ---- the command ----

Test(serve, prints_and_writes_what_was_served)
{
    const command_run r = RUN(serve_command, "serve", "-m", TINY, "-u", "2,5", "-r", "7", "-s", "3",
                              "-K", "3", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    static const char *const parts[] = {
        TINY ", mix system, seed 3: texts of up to 256 tokens, pages of 3.00 MiB in all\n",
        "\n  Without a prompt cache\n",
        "\n  With a prompt cache\n",
        "\n      1 ",
        "\n      2 ",
        "\n      5 "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_assert_not_null(strstr(r.out, parts[i]), "no \"%s\" in %s", parts[i], r.out);
    char *csv = command_file(support_folder, "serve.csv"), fields[32][64];
    cr_assert_eq(command_lines(csv), 1 + 2 * 3);
    for (size_t i = 0; i < 7; i++, csv = strchr(csv, '\n') + 1) {
        cr_assert_eq(command_split(csv, fields), 24);
        if (i == 0)
            continue;
        cr_assert_str_eq(fields[0], "\"" TINY "\"");
        cr_assert_str_eq(fields[1], i <= 3 ? "no prompt cache" : "prompt cache");
        cr_assert_str_eq(fields[5], "7");
        cr_assert(i > 3 || strcmp(fields[7], "0") == 0);
        cr_assert(i != 4 || atoi(fields[7]) == 6 * 64, "%s", fields[7]);
        cr_assert_str_eq(fields[23], "3145728");
    }
    const char *json = command_file(support_folder, "serve.json");
    cr_assert_not_null(strstr(json, "\"mix\": \"system\""));
    cr_assert_not_null(strstr(json, "\"kv_budget_bytes\": 3145728"));
}

Test(serve, times_passes_of_many_users)
{
    const command_run r = RUN(serve_command, "serve", "-m", TINY, "-u", "3", "-c", "100,17", "-n",
                              "6", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_not_null(strstr(r.out, "medians of 6"), "%s", r.out);
    cr_assert_not_null(strstr(r.out, "\n        17     1 "), "%s", r.out);
    cr_assert_not_null(strstr(r.out, "\n       100     3 "), "%s", r.out);
    const char *csv = command_file(support_folder, "serve-passes.csv");
    cr_assert_eq(command_lines(csv), 1 + 4);
    cr_assert_not_null(strstr(csv, ",context 17,17,1,"));
    cr_assert_not_null(strstr(csv, ",context 100,100,3,"));
    cr_assert_not_null(strstr(command_file(support_folder, "serve-passes.json"), "\"passes\": ["));
}

// 16 keys and values of 8 channels, of one K/V head in place of four.
Test(serve, passes_of_grouped_heads_take_what_these_hold)
{
    const command_run r = RUN(serve_command, "serve", "-m", "synthetic:L=1,C=32,H=4,G=1,T=32,V=9",
                              "-u", "1", "-c", "16", "-n", "6", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_not_null(strstr(r.out, " 1.00 KiB\n"), "%s", r.out);
}

Test(serve, wrong_use_is_refused)
{
    static const struct {
        const char *option, *value, *says;
        int exit_code;
    } wrong[] = {{"--users", "0", "--users '0'|from 1 to 64", EXIT_USAGE},
                 {"--users", "65", "--users '65'|from 1 to 64", EXIT_USAGE},
                 {"--contexts", "257", "--contexts '257'|within 1 and 256", EXIT_USAGE},
                 {"--samples", "5", "--samples 5: fewer than 6", EXIT_USAGE},
                 {"--requests", "x", "--requests: 'x' is not a whole number", EXIT_USAGE},
                 {"--memory", "-1", "--memory: '-1' is not a whole number", EXIT_USAGE},
                 {"--memory", "99999999999", "memory|needs", 0},
                 {"--mix", "absent.jsonl", "--mix|absent.jsonl|give system", 0},
                 {"--model", "synthetic:L=1,C=16,H=1,T=8,V=9", "a mix needs a context of 16", 0},
                 {"--model", "absent", "absent", 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const command_run r = RUN(serve_command, "serve", "-m", TINY, "-o", support_folder,
                                  wrong[i].option, wrong[i].value);
        support_assert_refused(r.s, wrong[i].says);
        cr_assert_eq(r.exit_code, wrong[i].exit_code, "%s", r.s);
    }
    const command_run small = RUN(serve_command, "serve", "-m", "synthetic:L=8,C=256,H=4,T=256,V=9",
                                  "-K", "1", "-o", support_folder);
    support_assert_refused(small.s, "--memory 1: one text of 256 tokens takes 5 MiB");
}

Test(serve, is_interrupted)
{
    command_interrupt_in(300);
    const command_run r =
        RUN(serve_command, "serve", "-m", TINY, "-r", "100000", "-o", support_folder);
    support_assert_refused(r.s, "interrupted");
    cr_assert_eq(r.exit_code, 128 + SIGINT);
}

// Every allocation fails once. Where it is a page's or a newcomer's, sequences wait for one another
// and nothing is lost; any other is told.
Test(serve, survives_failed_allocations)
{
    const char *const arguments[] = {"serve", "-m",           "synthetic:L=1,C=16,H=1,T=32,V=8",
                                     "-q",    "-u",           "2",
                                     "-o",    support_folder, NULL};
    size_t allocations = 1, waited = 0;
    for (size_t n = 0; n <= allocations; n++) {
        memory_fail_at(n);
        const command_run r = command_call(serve_command, arguments);
        const size_t made = memory_fail_at(0);
        allocations = n == 0 ? made : allocations;
        cr_assert(n > 0 || !r.s, "%s", r.s);
        if (r.s)
            support_assert_refused(r.s, "memory");
        waited += n > 0 && !r.s;
    }
    cr_assert(waited > 0 && waited < allocations / 2, "%zu of %zu", waited, allocations);
    const char *const timed[] = {"serve", "-m",           "synthetic:L=1,C=16,H=1,T=32,V=8",
                                 "-q",    "-c",           "20",
                                 "-o",    support_folder, NULL};
    command_assert_survives_failed_allocations(serve_command, timed, NULL);
}
