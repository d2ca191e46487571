// The command line of build/tokenize: its own main, run in a child with the three streams in files.
#define main tokenize_main
#include "common/text/tokenize.c"
#undef main

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support.h"

typedef struct result {
    int code;
    char *out, *messages;
    size_t out_bytes;
} result;

static char *contents(FILE *f, size_t *n)
{
    char *bytes;
    rewind(f);
    status s = file_read_stream(f, "a stream", &bytes, n);
    cr_assert_null(s, "%s", s);
    fclose(f);
    return bytes;
}

static void in_child(char **argv, FILE *in, FILE *out, FILE *messages)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    dup2(fileno(in), STDIN_FILENO);
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(messages), STDERR_FILENO);
    optind = 1;
    exit(tokenize_main(argc, argv));
}

// Runs `tokenize ARGUMENTS...` (the last is NULL); `out` NULL: standard output is a file that is
// read back.
static result run_tokenize(char **argv, const char *input, size_t n, FILE *out)
{
    FILE *in = tmpfile(), *messages = tmpfile(), *file = out ? out : tmpfile();
    cr_assert(in && messages && file);
    fwrite(input, 1, n, in);
    rewind(in);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        in_child(argv, in, file, messages);
    result r = {0};
    int how;
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_assert(WIFEXITED(how), "tokenize crashed");
    r.code = WEXITSTATUS(how);
    size_t length;
    r.messages = contents(messages, &length);
    if (!out)
        r.out = contents(file, &r.out_bytes);
    fclose(in);
    return r;
}

static void release(result *r)
{
    memory_free(r->out);
    memory_free(r->messages);
}

// One line on standard error that holds the parts, nothing on standard output.
static void check_refused(result r, int code, const char *parts)
{
    cr_assert_eq(r.code, code, "exit status %d, not %d: %s", r.code, code, r.messages);
    cr_assert_eq(r.out_bytes, 0, "%zu bytes on standard output", r.out_bytes);
    size_t n = strlen(r.messages);
    cr_assert(n > 0 && r.messages[n - 1] == '\n');
    r.messages[n - 1] = '\0';
    support_assert_refused(r.messages, parts);
    release(&r);
}

Test(tokenize, there_and_back)
{
    char *there[] = {"tokenize", NULL}, *back[] = {"tokenize", "--decode", NULL};
    char text[256 + 4] = "'s ";
    for (int i = 0; i < 256; i++)
        text[4 + i] = (char)i;
    result ids = run_tokenize(there, text, sizeof text, NULL);
    cr_assert_eq(ids.code, 0, "%s", ids.messages);
    result bytes = run_tokenize(back, ids.out, ids.out_bytes, NULL);
    cr_assert_eq(bytes.code, 0, "%s", bytes.messages);
    cr_assert(bytes.out_bytes == sizeof text && memcmp(bytes.out, text, sizeof text) == 0);
    release(&ids);
    release(&bytes);
}

Test(tokenize, prints_gpt2s_ids)
{
    char *argv[] = {"tokenize", "-m", SOURCE_DIR "/tests/reference/gpt2", NULL};
    result r = run_tokenize(argv, "Hello, world!", 13, NULL);
    cr_assert_str_eq(r.out, "15496\n11\n995\n0\n");
    cr_assert_str_empty(r.messages);
    release(&r);
}

Test(tokenize, nothing_is_nothing)
{
    char *there[] = {"tokenize", NULL}, *back[] = {"tokenize", "--decode", NULL};
    for (int i = 0; i < 2; i++) {
        result r = run_tokenize(i ? back : there, "", 0, NULL);
        cr_assert(r.code == 0 && r.out_bytes == 0, "exit status %d, %zu bytes", r.code,
                  r.out_bytes);
        release(&r);
    }
}

Test(tokenize, help)
{
    char *argv[] = {"tokenize", "--help", NULL};
    result r = run_tokenize(argv, "", 0, NULL);
    cr_assert(r.code == 0 && strstr(r.out, "--decode") && strstr(r.out, model_default()), "%s",
              r.out);
    release(&r);
}

Test(tokenize, usage_errors)
{
    char *unknown[] = {"tokenize", "--nonsense", NULL}, *bare[] = {"tokenize", "-m", NULL};
    char *operand[] = {"tokenize", "text.txt", NULL};
    check_refused(run_tokenize(unknown, "", 0, NULL), 2, "--nonsense");
    check_refused(run_tokenize(bare, "", 0, NULL), 2, "m");
    check_refused(run_tokenize(operand, "", 0, NULL), 2, "text.txt|standard input");
}

Test(tokenize, bad_ids)
{
    static const struct {
        const char *ids, *parts;
    } cases[] = {
        {"1\n2048\n", "item 2|2048|0 to 2047"},
        {"1\n\n-1\n", "item 2|-1"},
        {"x", "item 1"},
        {"7x", "item 1|7x"},
        {"99999999999999999999", "item 1"},
        {"1.5", "item 1"},
        {"+1", "item 1"},
    };
    char *argv[] = {"tokenize", "--decode", NULL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(run_tokenize(argv, cases[i].ids, strlen(cases[i].ids), NULL), 1,
                      cases[i].parts);
    check_refused(run_tokenize(argv, "1\0", 2, NULL), 1, "item 1");
}

Test(tokenize, missing_model)
{
    char *argv[] = {"tokenize", "--model=/nonexistent", NULL},
         *synthetic[] = {"tokenize", "-m", "synthetic:124M", NULL};
    check_refused(run_tokenize(argv, "x", 1, NULL), 1, "/nonexistent|merges.txt");
    check_refused(run_tokenize(synthetic, "x", 1, NULL), 1, "synthetic:124M|directory");
}

Test(tokenize, full_disk)
{
    char *there[] = {"tokenize", NULL}, *help[] = {"tokenize", "-h", NULL};
    for (int i = 0; i < 2; i++) {
        FILE *full = fopen("/dev/full", "w"); // Linux has it
        if (!full)
            return;
        check_refused(run_tokenize(i ? help : there, "some text", 9, full), 1, "standard output");
        fclose(full);
    }
}

// What --check says, with the exit status.
static result run_check(const char *dir)
{
    char *argv[] = {"tokenize", "--check", (char *)dir, NULL};
    return run_tokenize(argv, "", 0, NULL);
}

static void expect_line(const result *r, const char *part)
{
    cr_assert_not_null(strstr(r->out, part), "no \"%s\" in: %s", part, r->out);
}

Test(tokenize, check_says_what_was_understood)
{
    result r = run_check(model_default());
    cr_assert_eq(r.code, 0, "%s", r.messages);
    expect_line(&r, "files:         merges.txt, known to be OpenAI's");
    expect_line(&r, "tokens:        2048, of them 256 bytes; 1791 merges");
    expect_line(&r, "added tokens:  none");
    expect_line(&r, "a text ends:   at id 2047");
    expect_line(&r, "model:         fits its 2048 rows of wte");
    expect_line(&r, "all 256 bytes, and each of the 2048 tokens come back");
    release(&r);
    r = run_check(SOURCE_DIR "/tests/reference/gpt2");
    cr_assert_eq(r.code, 0, "%s", r.messages);
    expect_line(&r, "files:         vocab.json and merges.txt");
    expect_line(&r, "model:         none here");
    release(&r);
}

Test(tokenize, check_shows_added_tokens_and_the_space)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    support_write_tokenizer(dir, "a b\n");
    const char added[] = "{\"<|user|>\": 258}", spaced[] = "{\"add_prefix_space\": true}",
               end[] = "{\"eos_token_id\": [257, 999]}";
    support_write(dir, "added_tokens.json", added, strlen(added));
    support_write(dir, "tokenizer_config.json", spaced, strlen(spaced));
    support_write(dir, "generation_config.json", end, strlen(end));
    result r = run_check(dir);
    cr_assert_eq(r.code, 0, "%s", r.messages);
    expect_line(&r, "added tokens:  <|user|> = 258");
    expect_line(&r, "a space before each piece (add_prefix_space)");
    expect_line(&r, "a text ends:   at id 257, 999 (not a token: never)");
    expect_line(&r, "come back");
    release(&r);
    support_remove_dir(dir);
}

Test(tokenize, check_refuses_by_name)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    const char other[] = "{\"normalizer\": {\"type\": \"NFC\"}}";
    support_write(dir, "tokenizer.json", other, strlen(other));
    check_refused(run_check(dir), 1, "tokenizer.json|\"normalizer\" is NFC");
    support_remove_dir(dir);
    check_refused(run_check("/no/such"), 1, "/no/such|neither");
    char *argv[] = {"tokenize", "--check", NULL};
    result r = run_tokenize(argv, "", 0, NULL);
    cr_assert_eq(r.code, 2, "%s", r.messages);
    release(&r);
}
