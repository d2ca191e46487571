// The command lines of build/naive and build/kvcache, run as a user runs them.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/generate/generate.h"
#include "common/model/model.h"
#include "common/text/tokenizer.h"
#include "naive/naive.h"
#include "tests/support/support.h"

#define TINY "-m synthetic:L=2,C=48,H=3,T=64,V=100"
#define PROMPT SOURCE_DIR "/tests/reference/prompt.txt"

static const char *const programs[] = {"naive", "kvcache"};
enum { PROGRAMS = 2, GREEDY = 96, COMMAND = 2048 };

static void enter_folder(void)
{
    char path[4096];
    const char *old = getenv("PATH");
    snprintf(path, sizeof path, "%s:%s", BUILD_DIR, old ? old : "");
    setenv("PATH", path, 1);
    support_enter_folder();
}

TestSuite(cli, .init = enter_folder, .fini = support_leave_folder);

// Runs a line of shell with standard output and error going to the files out and err, unless the
// line says otherwise.
__attribute__((format(printf, 2, 3))) static void expect_exit(int code, const char *format, ...)
{
    char line[COMMAND], whole[COMMAND + 64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof whole, "exec >out 2>err\n%s", line);
    int result = system(whole);
    size_t n;
    char *err = support_read(support_folder, "err", &n);
    cr_assert(WIFEXITED(result) && WEXITSTATUS(result) == code, "`%s` ended with %d, not %d: %s",
              line, WIFEXITED(result) ? WEXITSTATUS(result) : -WTERMSIG(result), code, err);
    free(err);
}

// Bad input: this exit code, nothing on standard output, one line on standard error that holds each
// of `parts` (see support.h).
static void expect_refusal(int code, const char *parts, const char *line)
{
    size_t out_bytes, err_bytes;
    expect_exit(code, "%s", line);
    char *out = support_read(support_folder, "out", &out_bytes),
         *err = support_read(support_folder, "err", &err_bytes);
    cr_assert_eq(out_bytes, 0, "`%s` wrote \"%s\"", line, out);
    cr_assert(err_bytes > 0 && strchr(err, '\n') == err + err_bytes - 1,
              "`%s` does not say one line: \"%s\"", line, err);
    err[err_bytes - 1] = '\0';
    support_assert_refused(err, parts);
    free(out);
    free(err);
}

static void expect_same(const char *a, const char *b)
{
    size_t a_bytes, b_bytes;
    char *in_a = support_read(support_folder, a, &a_bytes),
         *in_b = support_read(support_folder, b, &b_bytes);
    cr_assert_eq(a_bytes, b_bytes, "%s has %zu bytes, %s %zu", a, a_bytes, b, b_bytes);
    for (size_t i = 0; i < a_bytes; i++)
        cr_assert_eq(in_a[i], in_b[i], "%s and %s differ at byte %zu", a, b, i);
    free(in_a);
    free(in_b);
}

static void expect_in_err(const char *part)
{
    size_t n;
    char *err = support_read(support_folder, "err", &n);
    cr_assert_not_null(strstr(err, part), "no \"%s\" in: %s", part, err);
    free(err);
}

// Reads the whole numbers, one a line, that the last command wrote; returns how many.
static size_t read_ids(int *ids, size_t most)
{
    size_t n, count = 0;
    char *out = support_read(support_folder, "out", &n), *at = out;
    for (char *end; at < out + n; at = end + 1) {
        cr_assert_lt(count, most);
        ids[count++] = (int)strtol(at, &end, 10);
        cr_assert_eq(*end, '\n', "not one id a line: %s", out);
    }
    free(out);
    return count;
}

static json_t *read_json(void)
{
    size_t n;
    json_error_t error;
    char *out = support_read(support_folder, "out", &n);
    json_t *o = json_loadb(out, n, JSON_ALLOW_NUL, &error);
    cr_assert_not_null(o, "%s in: %s", error.text, out);
    free(out);
    return o;
}

static size_t integer(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    cr_assert(json_is_integer(value), "%s is not a whole number", key);
    return (size_t)json_integer_value(value);
}

static void expect_ids(const json_t *array, const int *ids, size_t n)
{
    cr_assert_eq(json_array_size(array), n, "%zu ids, not %zu", json_array_size(array), n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(json_integer_value(json_array_get(array, i)), ids[i], "id %zu", i);
}

// The reference's continuation of the prompt (see tests/reference/README.md).
static void read_greedy(int ids[GREEDY])
{
    size_t n;
    char *file = support_read(SOURCE_DIR "/tests/reference", "shakespeare.safetensors", &n);
    uint64_t header;
    memcpy(&header, file, sizeof header);
    json_t *tensors = json_loadb(file + sizeof header, header, 0, NULL);
    const json_t *offsets =
        json_object_get(json_object_get(tensors, "prompt.greedy"), "data_offsets");
    cr_assert_eq(json_array_size(offsets), 2);
    size_t from = (size_t)json_integer_value(json_array_get(offsets, 0));
    memcpy(ids, file + sizeof header + header + from, GREEDY * sizeof *ids);
    json_decref(tensors);
    free(file);
}

// A text goes on from a saved state with the tokens that it would have had, and computes no more
// than the prompt's own end.
Test(cli, a_saved_state_goes_on_where_it_was)
{
    expect_exit(0, "kvcache -n 12 --save-state a.state 'ROMEO: But soft' && cp out whole");
    expect_exit(0, "kvcache -n 12 --save-state b.state,hidden 'ROMEO: But soft'");
    for (const char *file = "ab"; *file; file++) {
        expect_exit(0, "kvcache -n 12 --load-state %c.state 'ROMEO: But soft'", *file);
        expect_same("out", "whole");
        expect_in_err("; the first pass computed 1 for 9 tokens");
        expect_exit(0, "kvcache -n 3 --json --load-state %c.state 'ROMEO: My lord, no'", *file);
        json_t *o = read_json();
        const json_t *restored = json_object_get(o, "restored");
        const json_int_t computed = json_integer_value(json_object_get(restored, "computed")),
                         prompt = json_integer_value(json_object_get(o, "prompt_tokens"));
        cr_assert(computed > 1 && computed < prompt, "%lld rows", (long long)computed);
        json_decref(o);
    }
    expect_refusal(1, "a.state|spec|f16", "kvcache --kv f16 --load-state a.state hi");
    expect_refusal(1, "naive|build/kvcache", "naive --load-state a.state hi");
    expect_refusal(1, "naive|build/kvcache", "naive --save-state a.state hi");
    expect_refusal(2, "--save-state|name of a file", "kvcache --save-state '' hi");
}

Test(cli, greedy_continuation_is_the_reference)
{
    int expected[GREEDY], ids[GREEDY];
    read_greedy(expected);
    for (size_t p = 0; p < PROGRAMS; p++) {
        expect_exit(0, "%s -n %d --print-ids - < %s", programs[p], GREEDY, PROMPT);
        cr_assert_eq(read_ids(ids, GREEDY), GREEDY);
        for (size_t i = 0; i < GREEDY; i++)
            cr_assert_eq(ids[i], expected[i], "%s: id %zu is %d, not %d", programs[p], i, ids[i],
                         expected[i]);
    }
}

Test(cli, a_prompt_is_the_same_however_it_is_given)
{
    expect_exit(0, "kvcache -n 9 \"$(cat %s)\n\" && mv out argument", PROMPT);
    expect_exit(0, "kvcache -n 9 - < %s", PROMPT);
    expect_same("out", "argument");
    expect_exit(0, "tokenize < %s >ids && kvcache -n 9 --ids @ids", PROMPT);
    expect_same("out", "argument");
    expect_exit(0, "kvcache -n 9 --ids $(paste -sd, ids)");
    expect_same("out", "argument");
    expect_exit(0, "kvcache -n 9 -- --help && printf 'a\\0b' | kvcache --json - && kvcache -- -x");
}

Test(cli, text_is_the_bytes_of_the_ids)
{
    enum { N = 300 };
    int ids[N];
    tokenizer *t;
    cr_assert_null(tokenizer_load(model_default(), &t));
    expect_exit(0, "kvcache -t 1e30 -n %d --ignore-eos --print-ids hi", N);
    cr_assert_eq(read_ids(ids, N), N);
    expect_exit(0, "kvcache -t 1e30 -n %d --ignore-eos hi", N);
    size_t n, at = 0, length;
    char *out = support_read(support_folder, "out", &n);
    for (size_t i = 0; i < N; i++, at += length) {
        const char *bytes = tokenizer_decode(t, ids[i], &length);
        cr_assert(at + length <= n && memcmp(out + at, bytes, length) == 0, "token %zu, id %d", i,
                  ids[i]);
    }
    cr_assert_eq(at, n);
    free(out);
    tokenizer_free(t);
}

Test(cli, json_replaces_what_is_not_utf8)
{
    // at this temperature every byte is as likely as any word, so the text holds stray bytes
    expect_exit(0, "kvcache -t 1e30 -n 300 --ignore-eos --json hi");
    json_t *o = read_json();
    cr_assert_not_null(strstr(json_string_value(json_object_get(o, "text")), "\xef\xbf\xbd"));
    json_decref(o);
}

Test(cli, json_tells_all)
{
    int ids[GREEDY];
    expect_exit(0, "kvcache -n 7 --print-ids hello");
    cr_assert_eq(read_ids(ids, GREEDY), 7);
    expect_exit(0, "kvcache -n 7 hello");
    size_t n;
    char *text = support_read(support_folder, "out", &n);
    for (size_t p = 0; p < PROGRAMS; p++) {
        expect_exit(0, "%s -n 7 --json hello", programs[p]);
        json_t *o = read_json();
        size_t prompt = json_array_size(json_object_get(o, "prompt_ids"));
        expect_ids(json_object_get(o, "ids"), ids, 7);
        cr_assert_str_eq(json_string_value(json_object_get(o, "text")), text);
        cr_assert_str_eq(json_string_value(json_object_get(o, "decoder")), programs[p]);
        cr_assert_str_eq(json_string_value(json_object_get(o, "model")),
                         "common/models/shakespeare");
        cr_assert_str_eq(json_string_value(json_object_get(o, "stop")), "tokens");
        cr_assert_eq(integer(o, "prompt_tokens"), prompt);
        cr_assert_eq(integer(o, "generated_tokens"), 7);
        cr_assert(integer(o, "load_ns") > 0 && integer(o, "tokenize_ns") > 0 &&
                  integer(o, "ttft_ns") > 0);
        double ttft = (double)integer(o, "ttft_ns"), latency = (double)integer(o, "latency_ns");
        cr_assert_float_eq(json_real_value(json_object_get(o, "tpot_ns")), (latency - ttft) / 6,
                           0.01);
        cr_assert_float_eq(json_real_value(json_object_get(o, "tokens_per_s")), 7e9 / latency,
                           1e-6 * 7e9 / latency);
        const size_t held = p == 0 ? 0 : prompt + 6; // the last token is not fed back
        const size_t pages = (held + 63) / 64;       // 64 positions each
        cr_assert_eq(integer(o, "kv_bytes"), 2 * 6 * 192 * sizeof(float) * 64 * pages);
        json_decref(o);
    }
    free(text);
}

Test(cli, json_has_null_for_what_does_not_exist)
{
    static const char *const missing[][6] = {
        {"text", "tokenize_ns", "ttft_ns", "latency_ns", "tpot_ns", "tokens_per_s"},
        {"text", "tokenize_ns", "tpot_ns"}};
    for (size_t tokens = 0; tokens < 2; tokens++) {
        expect_exit(0, "kvcache " TINY " --ids 1 --json -n %zu", tokens);
        json_t *o = read_json();
        for (size_t i = 0; i < 6 && missing[tokens][i]; i++)
            cr_assert(json_is_null(json_object_get(o, missing[tokens][i])), "%zu tokens: %s",
                      tokens, missing[tokens][i]);
        cr_assert_eq(json_array_size(json_object_get(o, "ids")), tokens);
        json_decref(o);
    }
}

Test(cli, the_context_may_be_filled_to_the_brim)
{
    int ids[64];
    for (size_t p = 0; p < PROGRAMS; p++) {
        expect_exit(0, "%s " TINY " --ids \"$(seq 60)\"", programs[p]);
        cr_assert_eq(read_ids(ids, 64), 5, "60 + 4 are fed back, and the fifth is not");
        expect_in_err("the context of 64 tokens is full");
        expect_exit(0, "%s " TINY " --ids \"$(seq 64)\" --json", programs[p]);
        json_t *o = read_json();
        cr_assert_str_eq(json_string_value(json_object_get(o, "stop")), "context");
        cr_assert_eq(integer(o, "generated_tokens"), 1);
        json_decref(o);
        expect_exit(0, "%s " TINY " --ids \"$(seq 64)\" -n 1 --json", programs[p]);
        cr_assert_str_eq(json_string_value(json_object_get(o = read_json(), "stop")), "tokens");
        json_decref(o);
    }
    expect_refusal(1, "65 tokens|only 64|shorten", "kvcache " TINY " --ids \"$(seq 65)\"");
}

// The id drawn for a position where all ids are equally likely: the one of the largest hash, whose
// logarithm is nearest to 0.
static size_t uniform_draw(uint64_t seed, size_t position, size_t ids)
{
    const uint64_t stream = random_splitmix64(random_splitmix64(seed) + position);
    size_t largest = 0;
    for (size_t i = 1; i < ids; i++)
        if (random_splitmix64(stream + i * RANDOM_GAMMA) >> 11 >
            random_splitmix64(stream + largest * RANDOM_GAMMA) >> 11)
            largest = i;
    return largest;
}

Test(cli, a_draft_changes_the_speed_alone)
{
    static const char *const settings[] = {"", "-t 1 -s 5", "-t 0.9 -k 40 -p 0.9 --kv window:32+4"};
    static const char *const drafts[] = {SOURCE_DIR "/common/models/draft:6", "lookup:2,9"};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 2; j++) {
            const char *how = settings[i];
            expect_exit(0, "kvcache %s -n 90 --logits plain.npy ROMEO: && mv out plain", how);
            expect_exit(0,
                        "kvcache --draft %s %s -n 90 --logits a.npy ROMEO: && cmp out plain && "
                        "cmp a.npy plain.npy && grep -q '^passes .* tokens each' err",
                        drafts[j], how);
        }
    expect_exit(0, "kvcache --draft lookup -n 90 --json ROMEO:");
    json_t *o = read_json();
    const json_t *told = json_object_get(o, "speculation");
    cr_assert_str_eq(json_string_value(json_object_get(told, "draft")), "lookup");
    cr_assert(integer(told, "passes") > 10 && integer(told, "passes") < 90);
    cr_assert_eq(json_array_size(json_object_get(told, "judged")), 4);
    json_decref(o);
    expect_refusal(1, "--draft 'lookup'|naive takes one token a pass|build/kvcache",
                   "naive --draft lookup hi");
    expect_refusal(1, "lookup:9,9|N from 1 to 3", "kvcache --draft lookup:9,9 hi");
}

// What a draft reaches beyond the end of the text is dropped.
Test(cli, a_draft_stops_at_the_end_of_text)
{
    const char *made = "kvcache -t 1.5 -s 2 -n 300 --print-ids hi";
    expect_exit(
        0,
        "%s && id=$(sed -n 40p out) && sed \"s/eos_token_id\\\": .*/eos_token_id\\\": $id/\" "
        "%s/config.json > config.json && cp %s/m* . && "
        "%s -m . > plain && %s -m . --draft %s:8 > drafted && cmp plain drafted && "
        "test $(wc -l < plain) -le 40",
        made, model_default(), model_default(), made, made, SOURCE_DIR "/common/models/draft");
}

Test(cli, end_of_text_ends_it)
{
    enum { TOKENS = 2048, END = TOKENS - 1, GIVEN = 2 }; // "hi" has two tokens
    uint64_t seed = 0; // whose third draw is the first to be the end
    while (uniform_draw(seed, GIVEN, TOKENS) == END ||
           uniform_draw(seed, GIVEN + 1, TOKENS) == END ||
           uniform_draw(seed, GIVEN + 2, TOKENS) != END)
        seed++;
    expect_exit(0, "naive -t 1e30 -s %llu --json hi", (unsigned long long)seed);
    json_t *o = read_json();
    const json_t *ids = json_object_get(o, "ids");
    cr_assert_str_eq(json_string_value(json_object_get(o, "stop")), "eos");
    cr_assert_eq(json_array_size(ids), 3);
    cr_assert_eq(json_integer_value(json_array_get(ids, 2)), END);
    cr_assert_null(strstr(json_string_value(json_object_get(o, "text")), "endoftext"));
    json_decref(o);
    expect_exit(0, "naive -t 1e30 -s %llu hi && ! grep -q endoftext out", (unsigned long long)seed);
    expect_exit(0, "naive -t 1e30 -s %llu -n 5 --ignore-eos --json hi", (unsigned long long)seed);
    o = read_json();
    cr_assert_eq(integer(o, "generated_tokens"), 5);
    cr_assert_not_null(strstr(json_string_value(json_object_get(o, "text")), "<|endoftext|>"));
    json_decref(o);
}

// (rows, columns) as the header says, and the floats behind it.
static float *read_npy(const char *name, size_t *rows, size_t *columns)
{
    size_t n;
    char *file = support_read(support_folder, name, &n);
    const char *shape = strstr(file + 10, "'shape'");
    cr_assert(shape && sscanf(shape, "'shape': (%zu, %zu)", rows, columns) == 2, "%s has no shape",
              name);
    cr_assert_eq(n, 128 + *rows * *columns * sizeof(float), "%s has %zu bytes", name, n);
    memmove(file, file + 128, n - 128);
    return (float *)(void *)file;
}

static void expect_logits(const char *arguments, size_t prompt, size_t V)
{
    enum { N = 12 };
    int ids[N];
    for (size_t p = 0; p < PROGRAMS; p++) {
        expect_exit(
            0, "%s -n %d --print-ids --logits %s.npy --all-logits %s-all.npy %s && cp out %s.ids",
            programs[p], N, programs[p], programs[p], arguments, programs[p]);
        cr_assert_eq(read_ids(ids, N), N);
        size_t rows, columns, all_rows, all_columns;
        float *logits = read_npy(p ? "kvcache.npy" : "naive.npy", &rows, &columns);
        float *all = read_npy(p ? "kvcache-all.npy" : "naive-all.npy", &all_rows, &all_columns);
        cr_assert(rows == N && columns == V && all_rows == prompt && all_columns == V);
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < V; j++)
                cr_assert_leq(logits[i * V + j], logits[i * V + (size_t)ids[i]],
                              "row %zu did not choose its token", i);
        cr_assert_arr_eq(logits, all + (prompt - 1) * V,
                         V * sizeof *logits); // both follow the whole prompt
        free(logits);
        free(all);
    }
    expect_same("naive.ids", "kvcache.ids");
    expect_same("naive.npy", "kvcache.npy");
    expect_same("naive-all.npy", "kvcache-all.npy");
}

Test(cli, both_programs_write_the_same_logits)
{
    expect_logits("- < " PROMPT, 41, 2048);
    expect_logits(TINY " --ids 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", 17, 100);
}

Test(cli, the_prompts_logits_alone_are_fine)
{
    size_t rows, columns;
    expect_exit(
        0, "naive " TINY
           " --ids 5,6 -n 0 --all-logits a.npy --logits b.npy && ! grep -q 'prompt logits' err");
    free(read_npy("a.npy", &rows, &columns));
    cr_assert_eq(rows, 2);
    free(read_npy("b.npy", &rows, &columns));
    cr_assert_eq(rows, 0);
    cr_assert_eq(support_count(support_folder), 4, "more than out, err and the two");
}

Test(cli, sampling_options_arrive)
{
    expect_exit(0, "kvcache -n 20 -k 1 -t 5 hi && mv out a");
    expect_exit(0, "kvcache -n 20 -p 1e-9 -t 5 hi && mv out b");
    expect_exit(0, "kvcache -n 20 hi");
    expect_same("out", "a");
    expect_same("out", "b");
    expect_exit(0, "kvcache -n 20 --temperature 1 --seed 5 hi && mv out a");
    expect_exit(0, "naive -n 20 -t1 -s5 hi");
    expect_same("out", "a");
    expect_exit(1, "kvcache -n 20 -t1 -s6 hi && cmp -s out a");
}

Test(cli, figures_go_to_standard_error)
{
    static const char *const labels[] = {"load ", "tokenize ", "TTFT ",
                                         "TPOT ", "speed ",    "KV held "};
    expect_exit(0, "kvcache -n 3 hi");
    expect_in_err("tokens     2 prompt + 3 generated\n");
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        expect_in_err(labels[i]);
    expect_exit(0, "kvcache -n 1 hi");
    expect_in_err("TPOT       n/a\n");
}

Test(cli, help_and_version)
{
    static const char *const named[] = {"--model", "--tokens",    "--temperature", "--top-k",
                                        "--top-p", "--seed",      "--ignore-eos",  "--ids",
                                        "--draft", "--print-ids", "--logits",      "--all-logits",
                                        "--json",  "--help",      "--version",     "Examples:\n"};
    size_t n;
    expect_exit(0, "naive --help && test ! -s err && naive -h | cmp - out");
    char *out = support_read(support_folder, "out", &n);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        cr_assert_not_null(strstr(out, named[i]), "--help does not mention %s", named[i]);
    free(out);
    expect_exit(0, "kvcache --version");
    out = support_read(support_folder, "out", &n);
    cr_assert_str_eq(out, "lockstep kvcache 0.1.0 (arithmetic contract 1)\n");
    free(out);
}

typedef struct refusal {
    const char *line, *parts;
} refusal;

Test(cli, usage_errors)
{
    static const refusal cases[] = {
        {"kvcache", "no prompt|--ids"},
        {"kvcache one two", "'one'|'two'|quotation"},
        {"kvcache --ids 1 one", "PROMPT|'one'|--ids"},
        {"kvcache --frobnicate hi", "--frobnicate|--help"},
        {"kvcache --t 1 hi", "ambiguous|--t"},
        {"kvcache -x hi", "'-x'|--help"},
        {"kvcache --json -xq hi", "'-x'"},
        {"kvcache --json=1 hi", "--json=1|no argument"},
        {"kvcache -: hi", "unknown option '-:'"},
        {"kvcache hi -n", "'-n'|argument"},
        {"kvcache hi --model", "'--model'|argument"},
        {"kvcache hi -m ''", "--model"},
        {"kvcache hi -n ten", "--tokens|'ten'|whole number"},
        {"kvcache hi -n 10x", "--tokens|'10x'"},
        {"kvcache hi -n -1", "--tokens|'-1'"},
        {"kvcache hi -n ''", "--tokens"},
        {"kvcache hi -n 2147483648", "--tokens|2147483647"},
        {"kvcache hi -n 99999999999999999999", "--tokens|2147483647"},
        {"kvcache hi -k 1.5", "--top-k|'1.5'"},
        {"kvcache hi -s 18446744073709551616", "--seed|18446744073709551615"},
        {"kvcache hi -t warm", "--temperature|'warm'"},
        {"kvcache hi -t 1x", "--temperature|'1x'"},
        {"kvcache hi -t -0.1", "--temperature|from 0 on"},
        {"kvcache hi -t inf", "--temperature"},
        {"kvcache hi -t nan", "--temperature"},
        {"kvcache hi -t 1e39", "--temperature"},
        {"kvcache hi -p 0", "--top-p|above 0"},
        {"kvcache hi -p 1.01", "--top-p|at most 1"},
        {"kvcache hi -p nan", "--top-p"},
        {"kvcache hi --logits ''", "--logits|file"},
        {"kvcache hi --logits a.npy --all-logits a.npy", "--logits|--all-logits|a.npy|two files"},
        {"kvcache hi --hidden a.npy --logits a.npy", "--hidden|--logits|a.npy|two files"},
        {"kvcache hi --logits a.npy --all-logits ./a.npy", "--all-logits|./a.npy|two files"},
        {"kvcache hi --save-state ./a,hidden --logits .//a", "--save-state|--logits|two files"},
        {"kvcache hi --save-state a,hidden --all-logits a", "--save-state|--all-logits|'a'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(2, cases[i].parts, cases[i].line);
    expect_exit(0, "kvcache " TINY " --ids 1 -n 1 -s 18446744073709551615");
}

Test(cli, bad_input)
{
    static const refusal cases[] = {
        {"kvcache ''", "prompt is empty|give"},
        {"kvcache - < /dev/null", "prompt is empty"},
        {"kvcache - <&-", "standard input"},
        {"kvcache - < .", "standard input"},
        {"kvcache --ids ''", "prompt is empty|id"},
        {"kvcache --ids ' , '", "prompt is empty"},
        {"kvcache --ids 1,2048,3", "item 2|'2048'|from 0 to 2047"},
        {"kvcache --ids -1", "item 1|'-1'|from 0 to 2047"},
        {"kvcache --ids '7 8 9x'", "item 3|'9x'"},
        {"kvcache --ids 99999999999999999999", "item 1|from 0 to 2047"},
        {"kvcache --ids @missing", "missing|No such file"},
        {"kvcache --ids @.", ".|directory"},
        {"printf '1\\0' > ids; kvcache --ids @ids", "item 1|'1'"},
        {"kvcache -m missing hi", "missing"},
        {"kvcache -m synthetic:124M hi", "synthetic:124M|--ids"},
        {"kvcache -m synthetic:X=1 --ids 1", "synthetic:X=1"},
        {"kvcache --logits no/a.npy hi", "no/a.npy|No such file|another file"},
        {"kvcache --all-logits . hi", ".|regular file"},
        {"kvcache hi --save-state no/a", "no/a|No such file|another file"},
        {"kvcache hi --save-state .", ".|regular file"},
        {"kvcache hi --kv q8 --save-state a", "--save-state a|with scales|a,hidden"},
        {"kvcache hi --kv heavy:4+4 --save-state a,hidden", "heavy:4+4|no snapshot holds"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(1, cases[i].parts, cases[i].line);
}

Test(cli, output_that_cannot_be_written_is_an_error)
{
    static const char *const modes[] = {"hi", "--json hi", "--print-ids hi", "--help"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char line[128];
        snprintf(line, sizeof line, "kvcache %s >&-", modes[i]);
        expect_refusal(1, "standard output", line);
        snprintf(line, sizeof line,
                 "{ sleep 0.2; kvcache %s; echo $? >code; } | true; exit $(cat code)", modes[i]);
        expect_refusal(1, "standard output", line);
        snprintf(line, sizeof line, "test -c /dev/full || exit 1; kvcache %s >/dev/full", modes[i]);
        expect_refusal(1, "standard output", line);
    }
}

Test(cli, a_full_disk_leaves_no_file)
{
    expect_refusal(
        1, "a.npy|free some space",
        "trap '' XFSZ; ulimit -f 8; kvcache --print-ids --logits a.npy --ids 1 >/dev/null");
    expect_refusal(
        1, "a.npy|free some space",
        "trap '' XFSZ; ulimit -f 8; kvcache --all-logits a.npy --ids 1,2,3,4,5 >/dev/null");
    cr_assert_eq(support_count(support_folder), 2, "more than out and err");
}

// Where there is no folder, no space has to be freed in it.
Test(cli, what_stands_behind_the_comma_of_a_state_is_understood_or_refused)
{
    expect_refusal(1, "a,hiden|FILE,hidden", "kvcache hi -n 1 --save-state a,hiden");
    cr_assert_eq(support_count(support_folder), 2, "more than out and err");
}

Test(cli, a_folder_that_is_not_there_is_not_full)
{
    static const char *const lines[] = {"kvcache hi -n 1 --save-state no/a",
                                        "kvcache hi -n 1 --logits no/a"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_refusal(1, "no/a: No such file or directory: name another file", lines[i]);
}

Test(cli, an_interruption_leaves_no_file)
{
    expect_exit(
        143,
        "naive -m synthetic:L=4,C=256,H=4,T=1024,V=512 --ids \"$(seq 500)\" --all-logits a.npy & "
        "until ls a.npy.*.part; do sleep 0.01; done; kill $!; wait $!");
    expect_in_err("interrupted");
    cr_assert_eq(support_count(support_folder), 2, "more than out and err");
}

// A model of zeros, so that all tokens are equally likely, with 256 + 1 + 1 tokens and V rows.
static void write_model(size_t V)
{
    support_model *m = support_model_make(
        (config){.L = 1, .C = 8, .H = 2, .F = 32, .V = V, .T = 300, .eps = 1e-5f}, "F32", "");
    for (size_t i = 0; i < m->count; i++)
        memset(m->tensors[i].data, 0, m->tensors[i].bytes);
    support_model_write(m, support_folder);
    support_model_free(m);
    support_write_tokenizer(support_folder, "#version: 0.2\nh i\n");
}

Test(cli, padding_of_the_vocabulary_is_never_chosen)
{
    int ids[256];
    write_model(400);
    for (size_t p = 0; p < PROGRAMS; p++) {
        expect_exit(0, "%s -m . -t 1 --ignore-eos -n 256 --print-ids hi", programs[p]);
        cr_assert_eq(read_ids(ids, 256), 256);
        for (size_t i = 0; i < 256; i++)
            cr_assert_lt(ids[i], 258, "%s: token %zu is %d", programs[p], i, ids[i]);
    }
}

Test(cli, a_vocabulary_smaller_than_the_merges_ask_is_refused)
{
    write_model(257);
    expect_refusal(1, "merges.txt|258|weights|257", "naive -m . hi");
}

Test(cli, weights_that_overflow_are_reported)
{
    support_model *m = support_model_make(
        (config){.L = 1, .C = 8, .H = 2, .F = 32, .V = 258, .T = 300, .eps = 1e-5f}, "F32", "");
    const float huge = 3e38f;
    for (size_t i = 0; i < m->count; i++)
        for (size_t at = 0; at < m->tensors[i].bytes; at += sizeof huge)
            memcpy(m->tensors[i].data + at, &huge, sizeof huge);
    support_model_write(m, support_folder);
    support_model_free(m);
    support_write_tokenizer(support_folder, "#version: 0.2\nh i\n");
    expect_refusal(1, "not finite|after 1 tokens", "naive -m . hi");
    expect_refusal(1, "embedding of 1 tokens is not finite", "kvcache -m . --embed last hi");
}

// Runs the program within this process, each allocation failing in turn. It may do without one that
// only makes it faster, but then the matrix must be there; nothing else may be left in any case.
static void expect_failures_reported(char **argv)
{
    const generate_program program = {.decoder = &naive_decoder, .layers = 1};
    int argc = 0;
    while (argv[argc])
        argc++;
    const size_t before = support_count(support_folder);
    memory_fail_at(0);
    cr_assert_eq(generate_main(&program, argc, argv), 0);
    remove("a.npy");
    const size_t allocations = memory_fail_at(0);
    size_t failed = 0;
    for (size_t n = 1; n <= allocations; n++) {
        memory_fail_at(n);
        int code = generate_main(&program, argc, argv);
        memory_fail_at(0);
        cr_assert(code == 0 || code == 1, "allocation %zu: exit status %d", n, code);
        failed += code == 1;
        cr_assert(remove("a.npy") == 0 || code == 1,
                  "allocation %zu: exit status %d, but no matrix", n, code);
        cr_assert_eq(support_count(support_folder), before, "allocation %zu left a file", n);
    }
    cr_assert_gt(failed, allocations * 9 / 10, "only %zu of %zu failures were reported", failed,
                 allocations);
}

Test(cli, every_failed_allocation_is_reported)
{
    write_model(258);
    cr_assert(freopen("/dev/null", "w", stdout) && freopen("err", "w", stderr));
    expect_failures_reported(
        (char *[]){"naive", "-m", ".", "-n", "2", "--logits", "a.npy", "--json", "hi", NULL});
    expect_failures_reported((char *[]){"naive", "-m", "synthetic:L=1,C=8,H=2,T=8,V=20", "-n", "2",
                                        "--all-logits", "a.npy", "--ids", "1,2", NULL});
}
