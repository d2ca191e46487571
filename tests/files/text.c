// What the programs make of a model's text: added tokens are generated, eos_token_id ends a text,
// a prompt of ids needs no tokenizer, and a tokenizer that does not fit is refused by each program.
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/model/config.h"
#include "tests/support/support.h"

TestSuite(text, .init = support_enter_folder, .fini = support_leave_folder, .timeout = 120);

enum { ROWS = 270, BEST = 267, TOKENS = 263 };

// Writes a model of V rows whose largest logit is always that of token `best`, and a tokenizer of
// 263 tokens.
static void write_model(size_t V, size_t best)
{
    support_model *m = support_model_make(
        (config){.L = 1, .C = 8, .H = 2, .F = 32, .V = V, .T = 300, .eps = 1e-5f}, "F32", "");
    const float one = 1;
    for (size_t i = 0; i < m->count; i++)
        memset(m->tensors[i].data, 0, m->tensors[i].bytes);
    memcpy(support_model_find(m, "ln_f.bias")->data, &one, sizeof one);
    memcpy(support_model_find(m, "wte.weight")->data + best * 8 * sizeof one, &one, sizeof one);
    support_model_write(m, support_folder);
    support_model_free(m);
    support_write_tokenizer(support_folder, "h e\nl l\nhe ll\nhell o\nw o\n1 2\n");
}

static void write_text(const char *name, const char *text)
{
    support_write(support_folder, name, text, strlen(text));
}

#define CONFIG "\"n_layer\": 1, \"n_embd\": 8, \"n_head\": 2, \"n_inner\": 32, \"n_positions\": 300"

// Runs a line of shell; what it printed, both streams, in `output`.
static char output[8192];
static void expect(int code, const char *format, ...)
{
    char line[1024], whole[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof whole, "PATH='" BUILD_DIR "':$PATH; { %s; } 2>&1", line);
    FILE *f = popen(whole, "r");
    cr_assert_not_null(f);
    output[fread(output, 1, sizeof output - 1, f)] = '\0';
    const int how = pclose(f);
    cr_assert(WIFEXITED(how) && WEXITSTATUS(how) == code, "`%s` ended with %d, not %d: %s", line,
              WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how), code, output);
}

static void expect_said(const char *part)
{
    cr_assert_not_null(strstr(output, part), "no \"%s\" in: %s", part, output);
}

static const char *const programs[] = {"naive", "kvcache"};

Test(text, an_added_token_can_be_generated)
{
    write_model(ROWS, BEST);
    write_text("added_tokens.json", "{\"<|a|>\": 263, \"<|b|>\": 264, \"<|c|>\": 265, "
                                    "\"<|d|>\": 266, \"<|best|>\": 267}");
    for (size_t i = 0; i < 2; i++) {
        expect(0, "%s -m . -n 2 --print-ids hello 2>/dev/null", programs[i]);
        cr_assert_str_eq(output, "267\n267\n");
        expect(0, "%s -m . -n 2 hello 2>/dev/null", programs[i]);
        cr_assert_str_eq(output, "<|best|><|best|>");
    }
    unlink("added_tokens.json"); // now it has no text, and is never chosen
    expect(0, "naive -m . -n 1 --print-ids hello 2>/dev/null");
    cr_assert_str_neq(output, "267\n");
}

Test(text, eos_token_id_ends_a_text)
{
    write_model(ROWS, 259);
    write_text("config.json", "{" CONFIG ", \"eos_token_id\": 259}");
    for (size_t i = 0; i < 2; i++) {
        expect(0, "%s -m . -n 5 --print-ids hello 2>/dev/null", programs[i]);
        cr_assert_str_eq(output, "259\n");
        expect(0, "%s -m . -n 5 hello 2>/dev/null", programs[i]);
        cr_assert_str_eq(output, "");
        expect(0, "%s -m . -n 2 --ignore-eos hello 2>/dev/null", programs[i]);
        cr_assert_str_eq(output, "hellohello");
    }
    expect(0, "naive -m . -n 5 --json hello 2>/dev/null");
    expect_said("\"stop\": \"eos\"");
}

Test(text, where_eos_token_id_is_looked_for)
{
    static const struct {
        const char *config, *generation, *printed;
    } cases[] = {
        {"{" CONFIG ", \"eos_token_id\": [1, 259]}", NULL, "259\n"},
        {"{" CONFIG ", \"eos_token_id\": 1}", NULL, "259\n259\n"},
        {"{" CONFIG ", \"eos_token_id\": null}", NULL, "259\n259\n"},
        {"{" CONFIG "}", NULL, "259\n259\n"},
        {"{" CONFIG ", \"eos_token_id\": 50256}", NULL, "259\n259\n"}, // never comes
        {"{" CONFIG ", \"eos_token_id\": 1}", "{\"eos_token_id\": 259}", "259\n"},
        {"{" CONFIG ", \"eos_token_id\": 259}", "{\"eos_token_id\": 1}", "259\n259\n"},
        {"{" CONFIG ", \"eos_token_id\": 259}", "{\"max_length\": 9}", "259\n"},
    };
    write_model(ROWS, 259);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("config.json", cases[i].config);
        unlink("generation_config.json");
        if (cases[i].generation)
            write_text("generation_config.json", cases[i].generation);
        expect(0, "naive -m . -n 2 --print-ids hello 2>/dev/null");
        cr_assert_str_eq(output, cases[i].printed, "case %zu: %s", i, output);
    }
    write_model(ROWS, 262); // <|endoftext|>, where no file speaks of it
    unlink("generation_config.json");
    expect(0, "naive -m . -n 2 --print-ids hello 2>/dev/null");
    cr_assert_str_eq(output, "262\n");
    write_text("config.json", "{" CONFIG ", \"eos_token_id\": \"x\"}");
    expect(1, "naive -m . hello");
    expect_said("config.json: \"eos_token_id\" is neither an id nor a list");
    write_text("config.json", "{" CONFIG ", \"eos_token_id\": [-1]}");
    expect(1, "naive -m . hello");
    expect_said("\"eos_token_id\" is neither");
}

Test(text, ids_need_no_tokenizer)
{
    write_model(ROWS, BEST);
    unlink("merges.txt");
    unlink("vocab.json");
    for (size_t i = 0; i < 2; i++) {
        expect(0, "%s -m . -n 2 --ids 1,2", programs[i]);
        expect_said("267\n267\n");
        expect_said("note: ids in place of text: .: neither tokenizer.json nor merges.txt");
        expect(1, "%s -m . hello", programs[i]);
        expect_said("neither tokenizer.json nor merges.txt is there");
    }
    write_text("tokenizer.json", "{\"normalizer\": {\"type\": \"NFC\"}}");
    expect(0, "naive -m . -n 2 --ids 1,2");
    expect_said("267\n267\n");
    expect_said("\"normalizer\" is NFC");
    write_text("config.json", "{" CONFIG ", \"eos_token_id\": 267}");
    expect(0, "naive -m . -n 2 --ids 1,2 2>/dev/null");
    cr_assert_str_eq(output, "267\n");
    expect(0, "bench race -m . -n 2 -t 0 --ids 1,2");
    expect_said("the same 1 tokens");
}

// race read beyond the logits: of 263 tokens only 100 have one.
Test(text, a_tokenizer_larger_than_wte_is_refused_by_every_program)
{
    static const char *const lines[] = {"naive -m . hello", "kvcache -m . hello",
                                        "bench race -m . hello", "tokenize --check ."};
    write_model(100, 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        expect(1, "%s", lines[i]);
        expect_said("263 tokens");
        expect_said("only 100 rows: take both from the same model");
    }
}

// ---- decoder.h and plug-ins ----

Test(text, decoder_h_compiles_from_cpp)
{
    if (system("c++ --version >/dev/null 2>&1") != 0)
        cr_skip_test("there is no C++ compiler");
    write_text("a.cpp",
               "extern \"C\" {\n#include \"common/decoder.h\"\n}\nint x = sizeof(model);\n");
    write_text("b.cpp", "#include \"common/decoder.h\"\nint x = sizeof(model);\n");
    expect(0, "c++ -std=c++17 -fsyntax-only -I" SOURCE_DIR " a.cpp b.cpp");
}

// A copy of the template, with a line before it, under this name; and what make says to it. It is
// linked to nothing: how it is compiled is what is asked.
static void make_mine(int code, const char *name, const char *line)
{
    size_t n;
    char *template = support_read(SOURCE_DIR "/notes", "07-template.c", &n), path[SUPPORT_PATH * 2];
    snprintf(path, sizeof path, "%s/%s", support_folder, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fprintf(f, "%s\n%s", line, template);
    fclose(f);
    free(template);
    expect(code, "make -s -C '" SOURCE_DIR "' -j2 BUILD='%s/build' PARTS= mine SRC='%s'",
           support_folder, path);
}

Test(text, a_plug_in_whose_name_has_a_space_is_refused_by_reason)
{
    make_mine(2, "my cache.c", "");
    expect_said("my cache.c' has a space in its name");
    expect_said("rename it");
    make_mine(2, "my&id&cache.c", "");
    expect_said("which a shell reads: rename it");
}

Test(text, a_plug_in_may_use_float16)
{
#if defined(__FLT16_MAX__) && !defined(__clang__)
    make_mine(0, "half.c", "typedef _Float16 f16;");
    expect_said("next: ");
    expect(0, "rm -r build");
#else
    cr_skip_test("this compiler has no _Float16");
#endif
}
