// What hostile files, endless streams, full disks and failing allocations may not do. Most of it
// was found by `make fuzz`.
#include <criterion/criterion.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/locate/locate.h"
#include "bench/subject/subject.h"
#include "bench/verify/verify.h"
#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/file/file.h"
#include "common/text/tokenizer.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/support.h"

TestSuite(hostile, .init = support_enter_folder, .fini = support_leave_folder, .timeout = 120);

// `begin`, then `item` again and again up to n bytes in all, then `end`.
static char *repeat(const char *begin, const char *item, const char *end, size_t n)
{
    char *text = malloc(n + strlen(item) + strlen(end) + 1);
    cr_assert_not_null(text);
    size_t used = strlen(strcpy(text, begin));
    while (used < n)
        used += strlen(strcpy(text + used, item));
    strcpy(text + used, end);
    return text;
}

static void refuse_json(const char *item, const char *parts)
{
    char *text = repeat("{\"a\": [0", item, "]}", 1 << 20);
    json_t *root;
    support_assert_refused(file_parse_json("x.json", text, strlen(text), &root), parts);
    cr_assert_null(root);
    free(text);
}

Test(hostile, json_that_unfolds_is_refused)
{
    refuse_json(",{}", "x.json|more than 32 times|fetch");
    refuse_json(",[]", "x.json|more than 32 times|fetch");
    refuse_json(",[0]", "x.json|more than 32 times|fetch");
    char *text = repeat("{\"a\": [0", ",1", "]}", 1 << 20);
    json_t *root;
    status s = file_parse_json("x.json", text, strlen(text), &root);
    cr_assert_null(s, "%s", s);
    json_decref(root);
    free(text);
}

// Jansson loses the end of a token whose buffer cannot grow: numbers then ended the program,
// strings were read beyond their end.
Test(hostile, long_tokens_survive_every_failing_allocation)
{
    static const char text[] =
        "{\"a\": -0.1234567890123456789012345678901234567890e-1,"
        " \"a longer name than any buffer begins with\": \"and \\u00e9 a longer string: "
        "0123456789012345678901234567890123456789012345678901234567890123456789\"}";
    for (size_t n = 1;; n++) {
        json_t *root;
        memory_fail_at(n);
        status s = file_parse_json("x.json", text, strlen(text), &root);
        memory_fail_at(0);
        if (!s) {
            cr_assert_gt(n, 10, "only %zu allocations", n - 1);
            cr_assert_eq(json_object_size(root), 2);
            json_decref(root);
            return;
        }
        cr_assert_null(root);
        support_assert_refused(s, "out of memory|x.json");
    }
}

// The largest allocation for a tokenizer of n bytes in such a file, which is refused with `parts`.
static void refuse_tokenizer(const char *name, char *text, size_t most, const char *parts)
{
    tokenizer *t;
    support_write(support_folder, name, text, strlen(text));
    memory_largest();
    support_assert_refused(tokenizer_load(support_folder, &t), parts);
    const size_t largest = memory_largest();
    cr_assert_leq(largest, most, "%s: %zu bytes at once for a file of %zu", name, largest,
                  strlen(text));
    free(text);
}

Test(hostile, lists_of_no_merges_make_no_tables)
{
    enum { SIZE = 1 << 20, TABLES = 16 << 10 };
    char *vocabulary = support_vocabulary("a b\n"), head[8192];
    support_write(support_folder, "vocab.json", vocabulary, strlen(vocabulary));
    refuse_tokenizer("merges.txt", repeat("", "\n", "", SIZE), 4 * SIZE + TABLES,
                     "merges.txt: line 1|blank");
    unlink("merges.txt");
    snprintf(head, sizeof head,
             "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
             "\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": %s, \"merges\": [0",
             vocabulary);
    refuse_tokenizer("tokenizer.json", repeat(head, ",0", "]}}", SIZE), 8 * SIZE + TABLES,
                     "tokenizer.json: merge 0");
    free(vocabulary);
}

// A vocabulary whose one id is huge, or whose ids have gaps, makes no table of that size.
Test(hostile, ids_far_apart_make_no_tables)
{
    support_write(support_folder, "merges.txt", "a b\n", 4);
    refuse_tokenizer("vocab.json", strdup("{\"a\": 2000000000}"), 64 << 10,
                     "vocab.json|2000000000|without a gap");
    refuse_tokenizer("vocab.json", strdup("{\"a\": 9223372036854775807, \"b\": 0}"), 64 << 10,
                     "vocab.json|without a gap");
}

// A vocabulary of fewer than 10 took every digit for an id.
Test(hostile, ids_beyond_a_small_vocabulary_are_refused)
{
    uint64_t value;
    int *ids;
    size_t count;
    for (char digit = '0'; digit <= '9'; digit++)
        for (uint64_t most = 0; most < 10; most++)
            cr_assert_eq(input_whole(&digit, 1, most, &value), (uint64_t)(digit - '0') <= most,
                         "%c up to %zu", digit, (size_t)most);
    support_assert_refused(input_ids("4,7", 3, 5, &ids, &count), "item 2|'7'|from 0 to 4");
    cr_assert(input_whole("18446744073709551615", 20, UINT64_MAX, &value) && value == UINT64_MAX);
    cr_assert_not(input_whole("18446744073709551616", 20, UINT64_MAX, &value));
}

// A line for the shell, the programs first in its path; what it printed, both streams, goes to
// `output`.
static int run_line(const char *line, char *output, size_t size)
{
    char whole[4096];
    snprintf(whole, sizeof whole, "PATH='" BUILD_DIR "':$PATH; { %s; } 2>&1", line);
    FILE *f = popen(whole, "r");
    cr_assert_not_null(f);
    output[fread(output, 1, size - 1, f)] = '\0';
    return WEXITSTATUS(pclose(f));
}

Test(hostile, endless_streams_are_refused)
{
    static const char *const lines[] = {"naive - </dev/zero", "kvcache --ids @/dev/zero",
                                        "tokenize </dev/zero", "tokenize --decode </dev/zero"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char output[2048];
        int code = run_line(lines[i], output, sizeof output);
        output[strcspn(output, "\n")] = '\0';
        cr_assert_eq(code, 1, "%s: exit status %d: %s", lines[i], code, output);
        support_assert_refused(output, "64 MiB|give a part");
    }
}

// A file system of 64 KiB, in a mount namespace of its own.
Test(hostile, a_full_file_system_leaves_no_file)
{
    char output[2048];
    if (run_line("unshare -m mount -t tmpfs -o size=64k none .", output, sizeof output) != 0)
        cr_skip_test("no file system can be mounted here: %s", output);
    int code = run_line(
        "unshare -m sh -c 'mount -t tmpfs -o size=64k none . && cd \"$PWD\" && "
        "kvcache --print-ids --logits a.npy --ids 1 >/dev/null; echo \"exit status $?\"; ls -A'",
        output, sizeof output);
    cr_assert_eq(code, 0);
    const char *end = strstr(output, "exit status 1\n");
    cr_assert(strstr(output, "a.npy: No space left") && strstr(output, "free some space") && end,
              "%s", output);
    cr_assert_str_eq(end, "exit status 1\n", "a file was left:\n%s", output);
}

// ---- Failing allocations ----

static model *load(const char *name)
{
    model *m;
    status s = model_load(name, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

Test(hostile, decoders_survive_every_failing_allocation)
{
    model *m = load("synthetic:L=2,C=8,H=2,T=8,V=20");
    static const decoder_api *const decoders[] = {&naive_decoder, &kvcache_decoder};
    for (size_t i = 0; i < 2; i++) {
        for (size_t n = 1;; n++) {
            decoder *d = (decoder *)1;
            memory_fail_at(n);
            status s = decoders[i]->create(m, &(decoder_options){.T_max = 8}, &d);
            memory_fail_at(0);
            if (!s) {
                cr_assert_gt(n, 4, "%s: only %zu allocations", decoders[i]->name, n - 1);
                decoders[i]->destroy(d);
                break;
            }
            cr_assert_null(d, "%s, allocation %zu: a decoder after a failure", decoders[i]->name,
                           n);
            support_assert_refused(s, "out of memory");
        }
    }
    model_free(m);
}

Test(hostile, verify_survives_every_failing_allocation)
{
    char *arguments[] = {"verify", "-m", "synthetic:L=2,C=8,H=2,T=9,V=20", "-c", "1-9", "-j", NULL};
    omp_set_num_threads(1); // allocations are to come in one order
    cr_assert_not_null(freopen("/dev/null", "w", stdout));
    memory_fail_at(0);
    int code = 0;
    cr_assert_null(verify_command(6, arguments, &code));
    const size_t allocations = memory_fail_at(0);
    cr_assert_gt(allocations, 50);
    // The first two are for a look ahead at --contexts, which are read again. Then each of the
    // fixed ways, and of the walk, whose calls are all alike, some.
    for (size_t n = 3; n <= allocations; n += n < 600 ? 1 : 151) {
        memory_fail_at(n);
        status s = verify_command(6, arguments, &code);
        memory_fail_at(0);
        cr_assert_not_null(s, "allocation %zu of %zu fails, verify does not", n, allocations);
    }
}

// A decoder that computes with another model.
static model *other;
static status create_other(const model *m, const decoder_options *o, decoder **out)
{
    (void)m;
    return kvcache_decoder.create(other, o, out);
}

Test(hostile, the_locator_survives_every_failing_allocation)
{
    model *m = load("synthetic:L=2,C=8,H=2,T=8,V=20");
    other = load("synthetic:L=2,C=8,H=2,T=8,V=20,seed=1");
    decoder_api wrong = kvcache_decoder;
    wrong.create = create_other;
    const subject judge = {.api = &naive_decoder}, tested = {.api = &wrong};
    const size_t contexts[] = {1, 5, 8};
    for (size_t n = 1;; n++) {
        way ways[WAYS];
        location l = {0};
        memory_fail_at(n);
        status s = ways_plan(&judge, &tested, contexts, 3, ways);
        if (!s)
            s = locate(m, &judge, &ways[BY_7], ways[BY_7].n - 1, 1, &l);
        memory_fail_at(0);
        ways_free(ways);
        if (!s) {
            cr_assert(n > 20 && l.found && l.at.stage == STAGE_EMBED, "%zu allocations", n - 1);
            break;
        }
        support_assert_refused(s, "out of memory");
    }
    model_free(m);
    model_free(other);
}
