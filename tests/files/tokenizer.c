// The tokenizer: the ids GPT-2's own tokenizer gives, no byte lost, no slow path, and bad files
// refused by name and line.
#include "common/text/tokenizer.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/file/file.h"
#include "common/model/model.h"
#include "tests/support/support.h"

#define REFERENCE SOURCE_DIR "/tests/reference"
#define GPT2 REFERENCE "/gpt2"

enum { GPT2_TOKENS = 50257 };

TestSuite(tokenizer, .init = support_enter_folder, .fini = support_leave_folder);

// ---- Helpers ----

static tokenizer *load(const char *dir)
{
    tokenizer *t;
    status s = tokenizer_load(dir, &t);
    cr_assert_null(s, "%s", s);
    return t;
}

// A tokenizer whose merges.txt says this, and whose vocab.json has what these lines make.
static status load_merges(const char *merges, tokenizer **t)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    support_write_tokenizer(dir, merges);
    status s = tokenizer_load(dir, t);
    support_remove_dir(dir);
    return s;
}

static int *encode(const tokenizer *t, const char *text, size_t n, size_t *count)
{
    int *ids;
    status s = tokenizer_encode(t, text, n, &ids, count);
    cr_assert_null(s, "%s", s);
    return ids;
}

// The first byte at which decode(encode(text)) is not text; n if it is.
static size_t first_lost_byte(const tokenizer *t, const char *text, size_t n)
{
    size_t count, at = 0, length;
    int *ids = encode(t, text, n, &count);
    for (size_t i = 0; i < count; i++) {
        const char *bytes = tokenizer_decode(t, ids[i], &length);
        if (length == 0 || length > n - at || memcmp(text + at, bytes, length) != 0)
            break;
        at += length;
    }
    memory_free(ids);
    return at;
}

static void check_text(const tokenizer *t, const char *text, size_t n, const json_t *expected)
{
    size_t count;
    int *ids = encode(t, text, n, &count);
    cr_assert_eq(count, json_array_size(expected), "\"%s\": %zu ids, not %zu", text, count,
                 json_array_size(expected));
    for (size_t i = 0; i < count; i++) {
        long long id = json_integer_value(json_array_get(expected, i));
        cr_assert_eq(ids[i], id, "\"%s\": id %zu is %d, not %lld", text, i, ids[i], id);
    }
    memory_free(ids);
    cr_assert_eq(first_lost_byte(t, text, n), n, "\"%s\" is not what its ids decode to", text);
}

// All texts of tests/reference/tokens.json, exactly.
static void check_reference(const char *dir)
{
    tokenizer *t = load(dir);
    json_t *texts = json_load_file(REFERENCE "/tokens.json", JSON_ALLOW_NUL, NULL);
    cr_assert_eq(tokenizer_size(t), GPT2_TOKENS, "%zu tokens", tokenizer_size(t));
    cr_assert_eq(json_array_size(texts), 300, "%zu texts", json_array_size(texts));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *entry = json_array_get(texts, i), *text = json_object_get(entry, "text");
        check_text(t, json_string_value(text), json_string_length(text),
                   json_object_get(entry, "ids"));
    }
    json_decref(texts);
    tokenizer_free(t);
}

// GPT-2's merges, each as "a b" or, if `split`, as ["a","b"].
static json_t *gpt2_merges(bool split)
{
    char *text;
    size_t n;
    status s = file_read(GPT2, "merges.txt", &text, &n);
    cr_assert_null(s, "%s", s);
    json_t *merges = json_array();
    strtok(text, "\n"); // the version
    for (char *line; (line = strtok(NULL, "\n"));) {
        char *space = strchr(line, ' ');
        int left = (int)(space - line);
        json_array_append_new(merges, split ? json_pack("[s%s]", line, left, space + 1)
                                            : json_string(line));
    }
    memory_free(text);
    return merges;
}

static void check_tokenizer_json(bool split)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    json_t *vocab = json_load_file(GPT2 "/vocab.json", 0, NULL);
    json_t *byte_level =
        json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1);
    json_t *root =
        json_pack("{s:O,s:o,s:{s:s,s:o,s:o}}", "pre_tokenizer", byte_level, "decoder", byte_level,
                  "model", "type", "BPE", "vocab", vocab, "merges", gpt2_merges(split));
    char *text = json_dumps(root, JSON_ENSURE_ASCII);
    support_write(dir, "tokenizer.json", text, strlen(text));
    free(text);
    json_decref(root);
    check_reference(dir);
    support_remove_dir(dir);
}

// ---- The ids ----

Test(tokenizer, gpt2_with_vocabulary)
{
    check_reference(GPT2);
}

Test(tokenizer, gpt2_from_merges_alone)
{
    char dir[SUPPORT_PATH], *text;
    size_t n;
    support_make_dir(dir);
    cr_assert_null(file_read(GPT2, "merges.txt", &text, &n));
    support_write(dir, "merges.txt", text, n);
    memory_free(text);
    check_reference(dir);
    support_remove_dir(dir);
}

Test(tokenizer, gpt2_from_tokenizer_json_with_strings)
{
    check_tokenizer_json(false);
}

Test(tokenizer, gpt2_from_tokenizer_json_with_pairs)
{
    check_tokenizer_json(true);
}

Test(tokenizer, embedded_model)
{
    static const char end[] = "<|endoftext|>";
    tokenizer *t = load(model_default());
    size_t length, count;
    cr_assert_eq(tokenizer_size(t), 2048);
    cr_assert_eq(tokenizer_end_of_text(t), 2047);
    const char *bytes = tokenizer_decode(t, 2047, &length);
    cr_assert(length == strlen(end) && memcmp(bytes, end, length) == 0,
              "the last token is \"%.*s\"", (int)length, bytes);
    int *ids = encode(t, end, strlen(end), &count);
    cr_assert_gt(count, 1, "the end of text in a text must be ordinary text");
    memory_free(ids);
    tokenizer_free(t);
}

Test(tokenizer, ids_that_are_none)
{
    tokenizer *t = load(model_default());
    size_t length = 1;
    cr_assert_null(tokenizer_decode(t, -1, &length));
    cr_assert_eq(length, 0);
    length = 1;
    cr_assert_null(tokenizer_decode(t, 2048, &length));
    cr_assert_eq(length, 0);
    tokenizer_free(t);
}

Test(tokenizer, every_byte_is_a_token)
{
    tokenizer *t = load(model_default());
    bool seen[256] = {false};
    for (int byte = 0; byte < 256; byte++) {
        size_t count;
        char text = (char)byte;
        int *ids = encode(t, &text, 1, &count);
        cr_assert(count == 1 && ids[0] < 256 && !seen[ids[0]], "byte %d: %zu ids, first %d", byte,
                  count, ids[0]);
        seen[ids[0]] = true;
        memory_free(ids);
    }
    tokenizer_free(t);
}

Test(tokenizer, no_text_has_no_ids)
{
    tokenizer *t = load(model_default());
    size_t count = 1;
    int *ids = encode(t, NULL, 0, &count);
    cr_assert_eq(count, 0);
    memory_free(ids);
    tokenizer_free(t);
}

// ---- The words ----

// Whether the boundary of left and right lies within a word: then, and only then, a merge across it
// takes place.
static bool is_one_word(const char *left, const char *right)
{
    char text[64], merges[16], a[3], b[3];
    support_spell((unsigned char)left[strlen(left) - 1], a);
    support_spell((unsigned char)right[0], b);
    snprintf(merges, sizeof merges, "%s %s\n", a, b);
    int n = snprintf(text, sizeof text, "%s%s", left, right);
    tokenizer *t;
    size_t count;
    status s = load_merges(merges, &t);
    cr_assert_null(s, "%s", s);
    memory_free(encode(t, text, (size_t)n, &count));
    tokenizer_free(t);
    return count < (size_t)n;
}

typedef struct boundary {
    const char *left, *right;
    bool one_word;
} boundary;

static void check_boundaries(const boundary *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(is_one_word(cases[i].left, cases[i].right), cases[i].one_word,
                     "case %zu: \"%s\" + \"%s\"", i, cases[i].left, cases[i].right);
}

#define CHECK_BOUNDARIES(cases) check_boundaries(cases, sizeof(cases) / sizeof *(cases))

Test(tokenizer, contractions_are_lower_case)
{
    const boundary cases[] = {
        {"'", "s", true},  {"'", "S", false},  {"'", "re", true}, {"'", "RE", false},
        {"'l", "l", true}, {"x", "'s", false}, {"'", "x", false}, {"'s", "x", false},
        {".", "'s", true}, {" ", "'s", true},
    };
    CHECK_BOUNDARIES(cases);
}

Test(tokenizer, letters_digits_and_the_rest)
{
    const boundary cases[] = {
        {"a", "é", true},      {"a", "漢", true},     {"a", "ª", true},
        {"a", "1", false},     {"1", "٣", true},      {"1", "²", true},
        {"1", "Ⅷ", true},      {"a", "_", false},     {"e", "\u0301", false},
        {"\u0301", ".", true}, {".", "😀", true},      {"👩", "\u200D", true},
        {" ", "😀", true},      {"\uE000", ".", true}, {"a", "\U0001D4B3", true},
    };
    CHECK_BOUNDARIES(cases);
}

Test(tokenizer, white_space_is_unicodes)
{
    const boundary cases[] = {
        {".", "\u180E", true},  {".", "\u200B", true},    {".", "\uFEFF", true},
        {".", "\x1C", true},    {".", "\t", false},       {".", "\v", false},
        {".", "\r", false},     {".", "\xC2\x85", false}, {".", "\u00A0", false},
        {".", "\u1680", false}, {".", "\u2000", false},   {".", "\u200A", false},
        {".", "\u2028", false}, {".", "\u2029", false},   {".", "\u202F", false},
        {".", "\u205F", false}, {".", "\u3000", false},   {"\xC2\x85", "\u2028", true},
    };
    CHECK_BOUNDARIES(cases);
}

Test(tokenizer, the_last_space_goes_with_the_word)
{
    const boundary cases[] = {
        {" ", "a", true},  {"\t ", "a", true},     {"a", " b", false},   {"\t", " a", false},
        {"\t", " ", true}, {"\n", "a", false},     {"\t", "\na", false}, {"\t", "\n", true},
        {" ", "\n", true}, {"\u00A0", "a", false},
    };
    CHECK_BOUNDARIES(cases);
}

Test(tokenizer, bytes_that_are_not_utf8_stand_alone)
{
    const boundary cases[] = {
        {"\xFF", "\xFE", false},         // never UTF-8
        {"\xC0", "\xAF", false},         // overlong
        {"\xED", "\xA0\x80", false},     // a surrogate
        {"\xE4", "\xB8", false},         // cut short by the end
        {"\xE4", "\xB8.", false},        // cut short by a character
        {"\xF5", "\x80\x80\x80", false}, // beyond U+10FFFF
        {"\xF4", "\x90\x80\x80", false}, // likewise
        {"\x80", "a", false},
        {"a", "\x80", false},
        {" ", "\x80", false},
        {"\t", " \xFF",
         true}, // the valid run ends behind the space: nothing follows that would take it
        {"\t", " .", false}, // as it does here
    };
    CHECK_BOUNDARIES(cases);
}

// ---- Lossless, and fast ----

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

// Up to 300 bytes of characters, broken characters and noise.
static size_t random_text(uint64_t *state, char text[300])
{
    static const char *const pieces[] = {
        "a",        " ",  "  ",           "\n",           "'s",       "'S",   "The",      "12",
        "\xC3\xA9", "漢", "\xF0\x9F\x92", "\xED\xA0\x80", "\xC0\xAF", "\xF5", "\xC2\x85", "\u0301"};
    size_t n = 0;
    for (size_t length = next_random(state) % 290; n < length;) {
        size_t piece = next_random(state) % 24;
        if (piece < sizeof pieces / sizeof *pieces)
            n += (size_t)snprintf(text + n, 8, "%s", pieces[piece]);
        else
            text[n++] = (char)next_random(state);
    }
    return n;
}

Test(tokenizer, no_byte_is_lost)
{
    tokenizer *t = load(GPT2);
    const uint64_t seed = clock_ns();
    uint64_t state = seed;
    for (int round = 0; round < 5000; round++) {
        char text[300];
        size_t n = random_text(&state, text), lost = first_lost_byte(t, text, n);
        cr_assert_eq(lost, n, "seed %llu, round %d: byte %zu of %zu is lost",
                     (unsigned long long)seed, round, lost, n);
    }
    tokenizer_free(t);
}

// The same piece up to 1 MB, once through; seconds.
static double encode_seconds(const tokenizer *t, const char *piece, size_t length)
{
    const size_t n = 1000000 / length * length;
    char *text = memory_array(n, 1);
    cr_assert_not_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = piece[i % length];
    size_t count;
    uint64_t start = clock_ns();
    int *ids = encode(t, text, n, &count);
    double seconds = (double)(clock_ns() - start) * 1e-9;
    memory_free(ids);
    memory_free(text);
    return seconds;
}

Test(tokenizer, a_megabyte_of_anything_is_quick)
{
    static const struct {
        const char *what, *piece;
        size_t length;
    } cases[] = {
        {"English", "We know what we are, but know not what we may be. ", 50},
        {"one letter", "a", 1},
        {"spaces", " ", 1},
        {"line ends", "\r\n", 2},
        {"one CJK word", "漢字仮名", 12},
        {"invalid bytes", "\xFF", 1},
        {"every second byte invalid", "a\xFF", 2},
        {"zero bytes", "\0", 1},
        {"apostrophes", "'", 1},
        {"equal signs", "=", 1},
        {"one long word", "thequickbrownfoxjumpsoverthelazydog", 35},
    };
    // A quadratic path would take minutes in any build, on any machine; a linear one takes a tenth
    // of a second on a quiet one.
    const double limit = 10;
    tokenizer *t = load(GPT2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double seconds = encode_seconds(t, cases[i].piece, cases[i].length);
        cr_assert_lt(seconds, limit, "1 MB of %s: %.3f s", cases[i].what, seconds);
    }
    tokenizer_free(t);
}

// ---- Bad files ----

Test(tokenizer, bad_merges_are_refused)
{
    static const struct {
        const char *merges, *parts; // what the message must hold
    } cases[] = {
        {"a b\r\nab c\r\n", "merges.txt|line 1|CR LF"},
        {"#version: 0.2\r\na b\r\n", "merges.txt|line 2|CR LF"},
        {"a b\nab c", "merges.txt|line 2|cut short"},
        {"#version: 0.2", "merges.txt|line 1|cut short"},
        {"a b\n\nab c\n", "merges.txt|line 2|blank line"},
        {"#version: 0.2\na b\n\n", "merges.txt|line 3|blank line"},
        {"a b\nabc\n", "merges.txt|line 2|space between"},
        {"a b\na b c\n", "merges.txt|line 2|space between"},
        {"a b\n c\n", "merges.txt|line 2|\"\" is not in the vocabulary"},
        {"a b\nac d\n", "merges.txt|line 2|\"ac\" is not in the vocabulary"},
        {"a b\nc de\n", "merges.txt|line 2|\"de\" is not in the vocabulary"},
        {"a b\nb c\na b\n", "merges.txt|line 3|there already"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer *t;
        status s = load_merges(cases[i].merges, &t);
        support_assert_refused(s, cases[i].parts);
        cr_assert_null(t);
    }
}

// Loads a directory of merges.txt and vocab.json.
static status load_files(const char *merges, const char *vocabulary)
{
    char dir[SUPPORT_PATH];
    tokenizer *t;
    support_make_dir(dir);
    support_write(dir, "merges.txt", merges, strlen(merges));
    support_write(dir, "vocab.json", vocabulary, strlen(vocabulary));
    status s = tokenizer_load(dir, &t);
    tokenizer_free(t);
    support_remove_dir(dir);
    return s;
}

// The vocabulary of "a b" with one key's value changed: to `value`, or to another key.
static void check_vocabulary(const char *key, json_t *value, const char *new_key, const char *parts)
{
    char *text = support_vocabulary("a b\n");
    json_t *all = json_loads(text, 0, NULL);
    free(text);
    if (new_key) {
        json_object_set(all, new_key, json_object_get(all, key));
        json_object_del(all, key);
    } else if (key)
        json_object_set_new(all, key, value);
    text = json_dumps(all, 0);
    json_decref(all);
    status s = load_files("a b\n", text);
    free(text);
    if (parts)
        support_assert_refused(s, parts);
    else
        cr_assert_null(s, "%s", s);
}

Test(tokenizer, bad_vocabularies_are_refused)
{
    check_vocabulary(NULL, NULL, NULL, NULL);
    check_vocabulary("ab", json_integer(255), NULL, "vocab.json|id 255|another token");
    check_vocabulary("ab", json_integer(258), NULL, "vocab.json|\"ab\"|id 258|0 to 257");
    check_vocabulary("ab", json_integer(-1), NULL, "vocab.json|\"ab\"|id -1");
    check_vocabulary("ab", json_string("256"), NULL, "vocab.json|\"ab\"|not a whole number");
    check_vocabulary("ab", json_real(256), NULL, "vocab.json|\"ab\"|not a whole number");
    check_vocabulary("ab", NULL, "ba", "merges.txt|line 1|vocabulary");
    check_vocabulary("ab", NULL, "abc", "merges.txt|line 1|vocabulary");
    check_vocabulary("a", NULL, "ac", "vocab.json|no token for byte 97|alphabet");
    check_vocabulary("ab", NULL, "a\n", "vocab.json|alphabet");
    check_vocabulary("ab", NULL, "", "vocab.json|alphabet");
    check_vocabulary("ab", NULL, "\x7F", "vocab.json|alphabet");
    check_vocabulary("ab", NULL, "\xC2\xAD", "vocab.json|alphabet");
    check_vocabulary("ab", NULL, "\xC5\x84", "vocab.json|alphabet"); // U+0144: beyond the last
    check_vocabulary("ab", NULL, "\xE6\xBC\xA2", "vocab.json|alphabet");
    support_assert_refused(load_files("a b\n", "{"), "vocab.json|JSON");
    support_assert_refused(load_files("a b\n", "[]"), "vocab.json|no object");
    support_assert_refused(load_files("a b\n", "{}"), "vocab.json|no token for byte 0");
}

Test(tokenizer, missing_files_are_named)
{
    char dir[SUPPORT_PATH];
    tokenizer *t;
    support_make_dir(dir);
    support_assert_refused(tokenizer_load(dir, &t), "merges.txt|tokenizer.json|lockstep-test");
    support_remove_dir(dir);
    support_assert_refused(tokenizer_load(dir, &t), "merges.txt|tokenizer.json|lockstep-test");
    cr_assert_null(t);
}

// ---- Allocation ----

// Loads dir and encodes a text while allocation n fails (0: none). Returns how many there were.
static size_t run_with_failure(const char *dir, size_t n)
{
    static const char text[] = "ab ab \xFF abababababababababababababababab";
    tokenizer *t;
    int *ids = NULL;
    size_t count = 0;
    memory_fail_at(n);
    status s = tokenizer_load(dir, &t);
    if (!s)
        s = tokenizer_encode(t, text, sizeof text, &ids, &count);
    size_t allocations = memory_fail_at(0);
    if (s)
        cr_assert(n > 0 && strstr(s, "memory"),
                  "allocation %zu fails: \"%s\" does not speak of memory", n, s);
    else
        cr_assert_gt(count, 0, "allocation %zu fails: no ids and no failure", n);
    memory_free(ids);
    tokenizer_free(t);
    return allocations;
}

Test(tokenizer, failed_allocations_are_clean)
{
    support_write_tokenizer(support_folder, "a b\nab ab\n");
    const size_t allocations = run_with_failure(support_folder, 0);
    cr_assert_gt(allocations, 10);
    for (size_t n = 1; n <= allocations; n++)
        run_with_failure(support_folder, n);
}
