// Bad input to the loader: each is refused in one line that names the file, what is wrong with it,
// and the cure.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/model/model.h"
#include "common/model/safetensors.h"
#include "tests/support/support.h"

static const config SMALL = {1, 4, 2, 8, 6, 3, 1e-5f, 0, false};

static void refuse(const char *name, const char *parts)
{
    model *m = (model *)1;
    support_assert_refused(model_load(name, &m), parts);
    cr_assert_null(m, "%s: a model in spite of the refusal", name);
}

// Writes the files in memory, and expects the directory to be refused.
static void refuse_model(const support_model *file, const char *parts)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    support_model_write(file, dir);
    refuse(dir, parts);
    support_remove_dir(dir);
}

Test(badfiles, synthetic_names)
{
    const struct {
        const char *name, *parts;
    } cases[] = {
        {"synthetic:", "neither 124M|L="},
        {"synthetic:125M", "synthetic:125M|neither 124M"},
        {"synthetic:124M,seed=1", "neither 124M"},
        {"synthetic:X=3", "X=3|neither"},
        {"synthetic:l=3", "neither"},
        {"synthetic:L=1,", "neither"},
        {"synthetic:,L=1", "neither"},
        {"synthetic:L=1 ,C=4", "whole number"},
        {"synthetic:L= 1", "whole number"},
        {"synthetic:L=", "whole number"},
        {"synthetic:L=-1", "whole number|\"-1\""},
        {"synthetic:L=+1", "whole number"},
        {"synthetic:L=1x", "whole number|\"1x\""},
        {"synthetic:L=1.5", "whole number"},
        {"synthetic:L=0x10", "whole number"},
        {"synthetic:L=16777217", "up to 16777216"},
        {"synthetic:L=99999999999999999999999", "up to 16777216"},
        {"synthetic:seed=18446744073709551616", "up to 18446744073709551615"},
        {"synthetic:seed=-1", "whole number"},
        {"synthetic:L=1,L=2", "L=|twice"},
        {"synthetic:L=0", "L=0|at least 1"},
        {"synthetic:C=0", "C=0|at least 1"},
        {"synthetic:H=0", "H=0|at least 1"},
        {"synthetic:F=0", "F=0|at least 1"},
        {"synthetic:V=0", "V=0|at least 1"},
        {"synthetic:T=0", "T=0|at least 1"},
        {"synthetic:C=64,H=5", "5 heads|64 channels"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].name, cases[i].parts);
}

Test(badfiles, more_memory_than_there_is)
{
    refuse("synthetic:L=16777216,C=16777216,H=1,V=16777216,T=16777216",
           "TiB of memory|GiB are available|smaller context or model");
    refuse("synthetic:L=1,C=262144,H=1,V=16777216,T=1", "19.0 TiB of memory|are available");
}

// An entry of config.json to add, replace or (value NULL) leave out, and what is said about it.
static void refuse_config(const char *key, const char *value, const char *parts)
{
    const char *entries[][2] = {{"model_type", "\"gpt2\""},
                                {"activation_function", "\"gelu_pytorch_tanh\""},
                                {"n_layer", "1"},
                                {"n_embd", "4"},
                                {"n_head", "2"},
                                {"vocab_size", "6"},
                                {"n_positions", "3"},
                                {"layer_norm_epsilon", "1e-5"},
                                {"n_inner", "null"},
                                {key, value}};
    enum { ENTRIES = sizeof entries / sizeof *entries };
    char text[1024] = "{", dir[SUPPORT_PATH];
    for (size_t i = 0; i < ENTRIES; i++)
        if (entries[i][1] && (i == ENTRIES - 1 || strcmp(entries[i][0], key) != 0))
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"%s\": %s",
                     text[1] ? ", " : "", entries[i][0], entries[i][1]);
    strcat(text, "}");
    config c;
    support_make_dir(dir);
    support_write(dir, "config.json", text, strlen(text));
    status s = config_read(dir, &c);
    if (parts)
        support_assert_refused(s, parts);
    else
        cr_assert_null(s, "%s", s);
    support_remove_dir(dir);
}

Test(badfiles, config_counts)
{
    const char *keys[] = {"n_layer", "n_embd", "n_head", "vocab_size", "n_positions", "n_inner"};
    const char *values[][2] = {{"0", "is 0, outside"},
                               {"-3", "is -3, outside"},
                               {"16777217", "outside 1..16777216"},
                               {"1.0", "not a whole number"},
                               {"\"1\"", "not a whole number"},
                               {"true", "not a whole number"},
                               {"[]", "not a whole number"},
                               {"99999999999999999999", "not valid JSON"}};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            refuse_config(keys[k], values[v][0], values[v][1]);
    }
    refuse_config("n_embd", "null", "\"n_embd\" is not a whole number");
    refuse_config("n_head", "3", "config.json|3 heads do not divide 4 channels");
}

Test(badfiles, config_variants)
{
    refuse_config("model_type", "null", "\"model_type\" is no text|gpt2");
    refuse_config("model_type", "\"llama\"", "\"model_type\" is \"llama\"|config.json|use a model");
    refuse_config("model_type", "\"ll\\nama\"", "ll?ama");
    refuse_config("activation_function", "\"relu\"",
                  "\"activation_function\" is \"relu\"|gelu_new");
    refuse_config("activation_function", "\"gelu\"", "is \"gelu\", not \"gelu_new\"");
    refuse_config("activation_function", "null", "\"activation_function\" is no text");
    refuse_config("add_cross_attention", "true", "\"add_cross_attention\" is not false");
    refuse_config("quantization_config", "{\"bits\": 4}", "\"quantization_config\" is set");
    refuse_config("pruned_heads", "{\"0\": [1]}", "\"pruned_heads\" is set");
    refuse_config("pruned_heads", "{}", NULL);
    refuse_config("activation_function", "\"gelu_new\"", NULL);
    refuse_config("scale_attn_weights", "false", "\"scale_attn_weights\" is not true|use a model");
    refuse_config("scale_attn_weights", "\"yes\"", "\"scale_attn_weights\" is not true");
    refuse_config("scale_attn_weights", "true", NULL);
    refuse_config("scale_attn_by_inverse_layer_idx", "true",
                  "\"scale_attn_by_inverse_layer_idx\" is not false");
    refuse_config("reorder_and_upcast_attn", "true", "\"reorder_and_upcast_attn\" is not false");
    refuse_config("reorder_and_upcast_attn", "false", NULL);
    refuse_config("layer_norm_epsilon", "null", "\"layer_norm_epsilon\"|1e-05");
    refuse_config("layer_norm_epsilon", "0", "\"layer_norm_epsilon\"");
    refuse_config("layer_norm_epsilon", "-1e-5", "\"layer_norm_epsilon\"");
    refuse_config("layer_norm_epsilon", "1e-60", "\"layer_norm_epsilon\""); // 0 as a float
    refuse_config("layer_norm_epsilon", "\"1e-5\"", "\"layer_norm_epsilon\"");
}

static void refuse_config_text(const char *text, size_t n, const char *parts)
{
    char dir[SUPPORT_PATH];
    config c;
    support_make_dir(dir);
    support_write(dir, "config.json", text, n);
    support_assert_refused(config_read(dir, &c), parts);
    support_remove_dir(dir);
}

Test(badfiles, config_that_is_not_an_object)
{
    const char *texts[] = {"",
                           " ",
                           "{",
                           "[]",
                           "3",
                           "{\"a\": 1}x",
                           "{\"a\": 1, \"a\": 1}",
                           "<html>404</html>",
                           "{\"a\": \xFF}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refuse_config_text(texts[i], strlen(texts[i]), "config.json: |fetch the file again");
    refuse_config_text("{}\0", 3, "config.json: |fetch the file again");
    char deep[5000];
    memset(deep, '[', sizeof deep);
    refuse_config_text(deep, sizeof deep, "config.json: |fetch the file again");
}

Test(badfiles, files_that_are_not_there)
{
    alarm(20); // a hang is a failure
    char dir[SUPPORT_PATH], path[2 * SUPPORT_PATH];
    support_make_dir(dir);
    refuse("/no/such/directory", "/no/such/directory/config.json: No such file");
    refuse(dir, "config.json: No such file|check the path");
    refuse("", "config.json|check");
    support_model *file = support_model_make(SMALL, "F32", "");
    support_model_write(file, dir);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    refuse(dir, "model.safetensors: No such file|check the path");
    cr_assert_eq(mkfifo(path, 0600), 0); // must not wait for a writer
    refuse(dir, "model.safetensors: not a regular file|check");
    unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    refuse(dir, "model.safetensors: not a regular file|check");
    rmdir(path);
    support_remove_dir(dir);
    support_model_free(file);
    char *longest = calloc(5000, 1);
    memset(longest, 'x', 4999);
    refuse(longest, "xxx...: the path is longer than 4095 bytes|shorter");
    free(longest);
}

// A file with this header, its true length unless `length` says another, and n bytes of data.
static void open_header(const char *header, uint64_t length, size_t n, const char *parts)
{
    char dir[SUPPORT_PATH], path[SUPPORT_PATH + 32];
    const unsigned char data[64] = {0};
    safetensors *file;
    support_make_dir(dir);
    support_write_safetensors(dir, "x.safetensors", length ? length : strlen(header), header, data,
                              n);
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    status s = safetensors_open(path, &file);
    if (parts) {
        support_assert_refused(s, parts);
        support_assert_refused(s, "x.safetensors: ");
        cr_assert_null(file);
    } else
        cr_assert_null(s, "%s", s);
    safetensors_close(file);
    support_remove_dir(dir);
}

#define A "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
#define B(offsets) ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" offsets "}}"
#define ONLY(dtype, shape, offsets)                                                                \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

Test(badfiles, safetensors_accepted)
{
    open_header("{}", 0, 0, NULL);
    open_header("{}   ", 0, 0, NULL); // padded with blanks
    open_header("{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0, NULL);
    open_header(A B("[4,8]"), 0, 8, NULL);
    open_header(
        "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}," /* in any order */
        "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
        0, 8, NULL);
    open_header(ONLY("\"BOOL\"", "[0,5]", "[0,0]"), 0, 0, NULL);
}

Test(badfiles, safetensors_offsets)
{
    open_header(A B("[2,6]"), 0, 6, "overlaps|fetch");
    open_header(A B("[0,4]"), 0, 4, "overlaps");
    open_header(A B("[5,9]"), 0, 9, "tensor b|gap|fetch");
    open_header(A B("[4,8]"), 0, 7, "cut off|fetch");
    open_header(A B("[4,8]"), 0, 0, "cut off");
    open_header(A B("[4,8]"), 0, 9, "appended|fetch");
    open_header(A B("[8,4]"), 0, 8, "tensor b|data_offsets");
    open_header(A B("[-4,0]"), 0, 8, "data_offsets");
    open_header(A B("[4,8,12]"), 0, 8, "data_offsets");
    open_header(A B("[4]"), 0, 8, "data_offsets");
    open_header(A B("[4.0,8.0]"), 0, 8, "data_offsets");
    open_header(A B("{}"), 0, 8, "data_offsets");
    open_header(A B("null"), 0, 8, "data_offsets");
    open_header(A B("[9223372036854775803,9223372036854775807]"), 0, 8, "gap");
    open_header(A B("[4,9223372036854775807]"), 0, 8, "ask for 4");
    open_header(A B("[4,9223372036854775808]"), 0, 8, "not valid JSON");
    open_header("{}", 0, 1, "appended");
}

Test(badfiles, safetensors_shapes_and_types)
{
    open_header(ONLY("\"F32\"", "[2]", "[0,4]"), 0, 4, "tensor a|4 bytes of data|ask for 8|fetch");
    open_header(ONLY("\"F16\"", "[1]", "[0,4]"), 0, 4, "ask for 2");
    open_header(ONLY("\"F32\"", "[0]", "[0,4]"), 0, 4, "ask for 0");
    open_header(ONLY("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, 0,
                "ask for 18446744073709551615");
    open_header(ONLY("\"F32\"", "[9223372036854775807,2]", "[0,4]"), 0, 4,
                "ask for 18446744073709551615");
    open_header(ONLY("\"F32\"", "[-1]", "[0,4]"), 0, 4, "tensor a|shape");
    open_header(ONLY("\"F32\"", "[1.5]", "[0,4]"), 0, 4, "shape");
    open_header(ONLY("\"F32\"", "1", "[0,4]"), 0, 4, "shape");
    open_header(ONLY("\"F32\"", "{}", "[0,4]"), 0, 4, "shape");
    open_header(ONLY("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 0, 4, "shape|8");
    open_header(ONLY("\"Q4_0\"", "[1]", "[0,4]"), 0, 4, "tensor a|dtype|F16");
    open_header(ONLY("\"f32\"", "[1]", "[0,4]"), 0, 4, "dtype");
    open_header(ONLY("4", "[1]", "[0,4]"), 0, 4, "dtype");
    open_header("{\"a\":3}", 0, 4, "tensor a|dtype");
    open_header("{\"a\":{}}", 0, 4, "tensor a|dtype");
    open_header("{\"a\\nb\":{}}", 0, 4, "tensor a?b");
}

Test(badfiles, safetensors_headers)
{
    open_header(A "," A "}}", 0, 4, "not valid JSON|fetch");
    open_header("{\"a\":{},\"a\":{}}", 0, 0, "duplicate");
    open_header("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\"}}", 0, 0, "duplicate");
    open_header("[]", 0, 0, "does not begin with {");
    open_header("  {}", 0, 0, "does not begin with {");
    open_header("<html>", 0, 0, "does not begin with {|fetch");
    open_header("{}x", 0, 0, "not valid JSON");
    open_header("{\"a\":", 0, 0, "not valid JSON");
    open_header("{\"\xFF\":1}", 0, 0, "not valid JSON");
    open_header("{}", 1, 0, "header of 1 bytes");
    open_header("{}", 3, 0, "header of 3 bytes does not fit a file of 10|fetch");
    open_header("{}", 100000001, 0, "header of 100000001 bytes");
    open_header("{}", (uint64_t)1 << 63, 0, "header of 9223372036854775808 bytes");
    open_header("{}", UINT64_MAX, 0, "header of 18446744073709551615 bytes");
    open_header("{}", 0x3E6C6D74683C, 40, "does not fit"); // "<html>" read as a length
}

// A header that the file holds, but that no file may have.
Test(badfiles, safetensors_header_above_the_limit)
{
    char dir[SUPPORT_PATH], path[SUPPORT_PATH + 32];
    safetensors *file;
    support_make_dir(dir);
    support_write_safetensors(dir, "x.safetensors", 100000001, "{}", "", 0);
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    cr_assert_eq(truncate(path, 200000000), 0); // sparse
    support_assert_refused(safetensors_open(path, &file), "longer than 100000000");
    support_remove_dir(dir);
}

static size_t read_model_file(const char *dir, unsigned char **bytes)
{
    char path[SUPPORT_PATH + 32];
    struct stat about;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f);
    cr_assert_eq(fstat(fileno(f), &about), 0);
    size_t n = (size_t)about.st_size;
    *bytes = malloc(n + 1);
    cr_assert_eq(fread(*bytes, 1, n, f), n);
    fclose(f);
    return n;
}

// A small file is refused at every length but its own.
Test(badfiles, truncated_at_every_length)
{
    char dir[SUPPORT_PATH];
    unsigned char *bytes;
    support_model *file =
        support_model_make((config){1, 1, 1, 2, 3, 2, 1e-5f, 0, false}, "F16", "");
    support_make_dir(dir);
    support_model_write(file, dir);
    size_t n = read_model_file(dir, &bytes);
    bytes[n] = 0;
    for (size_t i = 0; i <= n + 1; i++) {
        support_write(dir, "model.safetensors", bytes, i);
        if (i != n)
            refuse(dir, "model.safetensors: |fetch the file again");
    }
    free(bytes);
    support_remove_dir(dir);
    support_model_free(file);
}

// A bit flipped anywhere in the header never crashes the loader (the sanitizers watch).
Test(badfiles, a_flipped_bit_in_the_header)
{
    char dir[SUPPORT_PATH];
    unsigned char *bytes;
    support_model *file =
        support_model_make((config){1, 1, 1, 2, 3, 2, 1e-5f, 0, false}, "F16", "");
    support_make_dir(dir);
    support_model_write(file, dir);
    size_t n = read_model_file(dir, &bytes), header = 8 + bytes[0] + 256u * bytes[1], accepted = 0;
    for (size_t bit = 0; bit < 8 * header; bit += 3) {
        model *m;
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        support_write(dir, "model.safetensors", bytes, n);
        accepted += model_load(dir, &m) == NULL;
        model_free(m);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    cr_assert_lt(accepted, header / 20, "%zu of %zu spoilt headers accepted", accepted,
                 8 * header / 3); // in __metadata__
    free(bytes);
    support_remove_dir(dir);
    support_model_free(file);
}

// Each tensor in turn is left out, or has one row or number too many, or one dimension too many.
Test(badfiles, missing_and_misshapen_tensors)
{
    const size_t count = 16;
    for (size_t i = 0; i < count; i++) {
        support_model *file = support_model_make(SMALL, "F32", "");
        cr_assert_eq(file->count, count);
        const support_tensor t = file->tensors[i];
        char parts[256];
        support_model_drop(file, t.name);
        snprintf(parts, sizeof parts, "model.safetensors: tensor %s is missing|fetch", t.name);
        refuse_model(file, parts);
        size_t shape[3] = {t.shape[0], t.shape[1], 1};
        shape[t.rank - 1]++;
        support_model_add(file, t.name, "F32", t.rank, shape);
        snprintf(parts, sizeof parts, "model.safetensors: tensor %s has shape|asks for|fetch",
                 t.name);
        refuse_model(file, parts);
        support_model_drop(file, t.name);
        shape[t.rank - 1]--;
        shape[t.rank] = 1;
        support_model_add(file, t.name, "F32", t.rank + 1, shape);
        refuse_model(file, parts);
        support_model_free(file);
    }
}

Test(badfiles, shapes_are_printed)
{
    support_model *file = support_model_make(SMALL, "F32", "transformer.");
    support_model_drop(file, "transformer.h.0.mlp.c_fc.weight");
    support_model_add(file, "transformer.h.0.mlp.c_fc.weight", "F32", 2,
                      (size_t[]){8, 4}); // transposed
    refuse_model(file,
                 "tensor h.0.mlp.c_fc.weight has shape (8, 4) where config.json asks for (4, 8)");
    support_model_free(file);
    file = support_model_make(SMALL, "F32", "");
    support_model_drop(file, "wte.weight");
    support_model_add(file, "wte.weight", "F32", 2, (size_t[]){0, 4});
    refuse_model(file, "tensor wte.weight has shape (0, 4)");
    support_model_free(file);
    file = support_model_make((config){1, 1, 1, 1, 16777217, 1, 1e-5f, 0, false}, "F16",
                              ""); // one more than V may be
    file->config.V = 5;
    refuse_model(file,
                 "tensor wte.weight has shape (16777217, 1) where config.json asks for (5, 1)");
    support_model_free(file);
}

Test(badfiles, tensors_without_a_place)
{
    const char *names[] = {"h.1.ln_1.weight",
                           "h.00.ln_1.weight",
                           "score.weight",
                           "h.0.attn.c_attn.lora_A.weight",
                           "transformer.h.1.ln_2.bias",
                           "attn.bias",
                           "h.0.attn.c_attn.bias2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        support_model *file = support_model_make(SMALL, "F32", "");
        support_model_add(file, names[i], "F32", 1, (size_t[]){4});
        char parts[256];
        snprintf(parts, sizeof parts, "model.safetensors: tensor %s has no place|plain GPT-2",
                 names[i]);
        refuse_model(file, parts);
        support_model_free(file);
    }
}

Test(badfiles, weights_of_another_type)
{
    support_model *file = support_model_make(SMALL, "F32", "");
    snprintf(support_model_find(file, "wpe.weight")->dtype, 8, "I32");
    refuse_model(file, "tensor wpe.weight|I32|F32, F16 or BF16");
    support_model_free(file);
}

// Element i of one tensor becomes `pattern`, which is not finite.
static void refuse_value(const char *type, const char *name, size_t i, uint32_t pattern)
{
    support_model *file =
        support_model_make((config){1, 4, 2, 80000, 6, 3, 1e-5f, 0, false}, type, "");
    support_tensor *t = support_model_find(file, name);
    const size_t size = strcmp(type, "F32") == 0 ? 4 : 2;
    for (size_t byte = 0; byte < size; byte++)
        t->data[i * size + byte] = (unsigned char)(pattern >> 8 * byte);
    char parts[256];
    snprintf(parts, sizeof parts, "model.safetensors: tensor %s: element %zu is |finite|fetch",
             name, i);
    refuse_model(file, parts);
    support_model_free(file);
}

Test(badfiles, weights_that_are_not_finite)
{
    refuse_value("F32", "wte.weight", 0, 0x7F800000);    // Inf
    refuse_value("F32", "wte.weight", 23, 0xFF800000);   // -Inf
    refuse_value("F32", "h.0.ln_1.bias", 3, 0x7F800001); // NaN
    refuse_value("F32", "h.0.mlp.c_fc.weight", 300000,
                 0xFFFFFFFF); // beyond the first piece that is read
    refuse_value("F16", "h.0.mlp.c_proj.weight", 319999, 0x7C00);
    refuse_value("F16", "wpe.weight", 5, 0xFE01);
    refuse_value("BF16", "ln_f.weight", 1, 0x7F80);
    refuse_value("BF16", "h.0.attn.c_attn.bias", 11, 0xFFC0);
}
