// Checkpoints as they are found: shards, wrappers' prefixes, a head without embeddings, a
// config.json that leaves things out. Each loads the same numbers as the plain file, or is refused
// by name.
#include <criterion/criterion.h>
#include <jansson.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/model/model.h"
#include "tests/support/support.h"

TestSuite(checkpoints, .init = support_enter_folder, .fini = support_leave_folder);

static const config SMALL = {2, 4, 2, 8, 6, 3, 1e-5f, 0, false};

static model *loaded(void)
{
    model *m;
    status s = model_load(support_folder, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

static void refuse(const char *parts)
{
    model *m;
    support_assert_refused(model_load(support_folder, &m), parts);
    cr_assert_null(m);
}

static void write_text(const char *name, const char *text)
{
    support_write(support_folder, name, text, strlen(text));
}

// The model in the folder has the numbers of `plain`.
static void expect_same(const model *plain)
{
    model *m = loaded();
    cr_assert_eq(m->block_bytes, plain->block_bytes);
    cr_assert_eq(memcmp(m->block, plain->block, plain->block_bytes), 0, "other weights");
    model_free(m);
}

// Writes the plain files, and returns what they load as.
static model *plain_model(support_model **file)
{
    *file = support_model_make(SMALL, "F32", "");
    support_model_write(*file, support_folder);
    return loaded();
}

// ---- Shards ----

// The tensors from `first` to before `end` to one shard, and their entries to the map.
static void write_shard(const support_model *file, size_t first, size_t end, const char *name,
                        json_t *map)
{
    support_model *part = calloc(1, sizeof *part);
    for (size_t i = first; i < end; i++) {
        part->tensors[part->count++] = file->tensors[i];
        json_object_set_new(map, file->tensors[i].name, json_string(name));
    }
    support_model_write_weights(part, support_folder, name);
    free(part);
}

static void write_index(json_t *map)
{
    json_t *index = json_pack("{s:{s:i}, s:O}", "metadata", "total_size", 1, "weight_map", map);
    char *text = json_dumps(index, 0);
    write_text("model.safetensors.index.json", text);
    free(text);
    json_decref(index);
}

#define FIRST "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"

// Two shards in place of model.safetensors; the map that their index has.
static json_t *write_shards(const support_model *file)
{
    json_t *map = json_object();
    unlink("model.safetensors");
    write_shard(file, 0, 5, FIRST, map);
    write_shard(file, 5, file->count, SECOND, map);
    write_index(map);
    return map;
}

Test(checkpoints, sharded_safetensors)
{
    support_model *file;
    model *plain = plain_model(&file);
    json_t *map = write_shards(file);
    expect_same(plain);
    model_free(plain);
    support_model_free(file);
    json_decref(map);
}

Test(checkpoints, the_digest_of_shards_is_that_of_what_sha256sum_prints)
{
    support_model *file;
    char lines[512], expected[65], is[65];
    model_free(plain_model(&file));
    json_decref(write_shards(file));
    int n = 0;
    for (int i = 0; i < 2; i++) {
        char hex[65];
        const char *name = i ? SECOND : FIRST;
        cr_assert_not_null(SHA256File(name, hex));
        n += snprintf(lines + n, sizeof lines - (size_t)n, "%s  %s\n", hex, name);
    }
    SHA256Data((const uint8_t *)lines, (size_t)n, expected);
    model *m = loaded();
    cr_assert_null(model_digest(m, is));
    cr_assert_str_eq(is, expected);
    model_free(m);
    support_model_free(file);
}

Test(checkpoints, shards_that_do_not_belong_together)
{
    support_model *file;
    model_free(plain_model(&file));
    json_t *map = write_shards(file), *other = json_deep_copy(map);
    json_object_del(other, "ln_f.bias");
    write_index(other);
    refuse(SECOND "|ln_f.bias|not named in model.safetensors.index.json");
    json_object_set_new(other, "ln_f.bias", json_string(FIRST));
    write_index(other);
    refuse(SECOND "|ln_f.bias|elsewhere");
    json_object_set_new(other, "ln_f.bias", json_string(SECOND));
    json_object_set_new(other, "h.9.ln_1.bias", json_string(FIRST));
    write_index(other);
    refuse(FIRST "|h.9.ln_1.bias|missing");
    json_object_set_new(other, "h.9.ln_1.bias", json_string("model-3.safetensors"));
    write_index(other);
    refuse("model-3.safetensors: No such file");
    const char *names[] = {"../x.safetensors", "/etc/passwd", ".safetensors", "x.bin", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_object_set_new(other, "h.9.ln_1.bias", json_string(names[i]));
        write_index(other);
        refuse("index.json: tensor h.9.ln_1.bias|NAME.safetensors beside it");
    }
    json_object_set_new(other, "h.9.ln_1.bias", json_integer(1));
    write_index(other);
    refuse("index.json: tensor h.9.ln_1.bias|NAME.safetensors beside it");
    write_text("model.safetensors.index.json", "{\"weight_map\": {}}");
    refuse("index.json|names 0 files");
    write_text("model.safetensors.index.json", "{}");
    refuse("index.json|names 0 files");
    write_text("model.safetensors.index.json", "[]");
    refuse("index.json: no object");
    write_index(map);
    write_text(SECOND, "cut");
    refuse(SECOND "|3 bytes long");
    unlink(SECOND);
    refuse(SECOND ": No such file");
    json_decref(map);
    json_decref(other);
    support_model_free(file);
}

Test(checkpoints, shards_survive_every_failing_allocation)
{
    support_model *file;
    model_free(plain_model(&file));
    json_decref(write_shards(file));
    for (size_t n = 1;; n++) {
        model *m;
        memory_fail_at(n);
        status s = model_load(support_folder, &m);
        memory_fail_at(0);
        if (!s) {
            cr_assert_gt(n, 10, "only %zu allocations", n - 1);
            model_free(m);
            break;
        }
        support_assert_refused(s, "out of memory");
        cr_assert_null(m);
    }
    support_model_free(file);
}

// ---- Names ----

Test(checkpoints, prefixes_of_wrappers)
{
    static const char *const prefixes[] = {
        "transformer.",           "_orig_mod.",        "module.",
        "_orig_mod.transformer.", "module._orig_mod.", "_orig_mod.module.transformer.",
        "transformer._orig_mod."};
    support_model *file;
    model *plain = plain_model(&file);
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        support_model *wrapped = support_model_make(SMALL, "F32", prefixes[i]);
        for (size_t k = 0; k < file->count; k++)
            memcpy(wrapped->tensors[k].data, file->tensors[k].data, file->tensors[k].bytes);
        support_model_write(wrapped, support_folder);
        expect_same(plain);
        support_model_free(wrapped);
    }
    support_model_add(file, "module.wte.weight", "F32", 2, (size_t[]){6, 4});
    support_model_write(file, support_folder);
    refuse("model.safetensors|module.wte.weight|wte.weight are one, but for prefixes");
    model_free(plain);
    support_model_free(file);
}

Test(checkpoints, a_prefix_that_is_not_known_is_named)
{
    support_model *file = support_model_make(SMALL, "F32", "model.");
    support_model_write(file, support_folder);
    refuse("tensor wte.weight is missing, but model.wte.weight is there|prefix");
    support_model_free(file);
}

Test(checkpoints, lm_head_without_wte)
{
    support_model *file;
    model *plain = plain_model(&file);
    snprintf(support_model_find(file, "wte.weight")->name, SUPPORT_NAME, "lm_head.weight");
    support_model_write(file, support_folder);
    expect_same(plain);
    model *m = loaded();
    cr_assert_eq(m->head.panels, m->wte.panels, "not tied");
    model_free(m);
    model_free(plain);
    support_model_free(file);
}

Test(checkpoints, tie_word_embeddings_false_asks_for_a_head)
{
    static const char untied[] = "{\"n_layer\": 2, \"n_embd\": 4, \"n_head\": 2, \"n_inner\": 8, "
                                 "\"n_positions\": 3, \"tie_word_embeddings\": false}";
    support_model *file;
    model_free(plain_model(&file));
    write_text("config.json", untied);
    refuse("tie_word_embeddings|lm_head.weight is missing");
    support_model_add(file, "lm_head.weight", "F32", 2, (size_t[]){6, 4});
    support_model_write(file, support_folder);
    write_text("config.json", untied);
    model *m = loaded();
    cr_assert_neq(m->head.panels, m->wte.panels, "tied");
    model_free(m);
    support_model_free(file);
}

// ---- config.json ----

static config read_text(const char *text)
{
    config c;
    write_text("config.json", text);
    status s = config_read(support_folder, &c);
    cr_assert_null(s, "%s", s);
    return c;
}

Test(checkpoints, a_config_json_that_leaves_defaults_out)
{
    config c = read_text("{}");
    cr_assert(c.L == 12 && c.C == 768 && c.H == 12 && c.F == 3072 && c.V == 50257 && c.T == 1024 &&
              c.eps == 1e-5f);
    c = read_text("{\"model_type\": \"gpt2\", \"n_embd\": 96, \"layer_norm_epsilon\": 1e-6}");
    cr_assert(c.L == 12 && c.C == 96 && c.H == 12 && c.F == 384 && c.eps == 1e-6f);
    c = read_text("{\"n_inner\": 7, \"activation_function\": \"gelu_pytorch_tanh\"}");
    cr_assert_eq(c.F, 7);
}

Test(checkpoints, a_config_json_that_uses_aliases)
{
    config c = read_text("{\"hidden_size\": 32, \"num_hidden_layers\": 3, "
                         "\"num_attention_heads\": 4, \"max_position_embeddings\": 20}");
    cr_assert(c.L == 3 && c.C == 32 && c.H == 4 && c.F == 128 && c.T == 20);
    c = read_text("{\"hidden_size\": 32, \"n_embd\": 32, \"n_head\": 4}");
    cr_assert_eq(c.C, 32);
    write_text("config.json", "{\"hidden_size\": 32, \"n_embd\": 64}");
    support_assert_refused(config_read(support_folder, &c),
                           "config.json|\"n_embd\" and \"hidden_size\"|differ|remove one");
    write_text("config.json", "{\"hidden_size\": 0}");
    support_assert_refused(config_read(support_folder, &c), "\"hidden_size\" is 0, outside");
}

// ---- What stands in the place of weights ----

#define POINTER                                                                                    \
    "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 548105171\n"

Test(checkpoints, an_lfs_pointer)
{
    support_model *file;
    model_free(plain_model(&file));
    write_text("model.safetensors", POINTER);
    refuse("model.safetensors: a Git LFS pointer|git lfs pull");
    support_model_write(file, support_folder);
    write_text("config.json", POINTER);
    refuse("config.json: a Git LFS pointer|git lfs pull");
    support_model_free(file);
}

Test(checkpoints, a_byte_order_mark)
{
    support_model *file;
    model_free(plain_model(&file));
    write_text("config.json", "\xEF\xBB\xBF{\"model_type\": \"gpt2\"}");
    refuse("config.json: begins with a byte-order mark|UTF-8 without");
    support_model_free(file);
}

Test(checkpoints, bin_only)
{
    static const char *const names[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                        "tf_model.h5", "flax_model.msgpack",
                                        "adapter_model.safetensors"};
    write_text("config.json", "{}");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char parts[128];
        write_text(names[i], "x");
        snprintf(parts, sizeof parts, "only %s is there|model.safetensors|save_pretrained",
                 names[i]);
        refuse(parts);
        unlink(names[i]);
    }
    refuse("model.safetensors: No such file");
}

// A header that the format allows, of 100 MB: it took 3.9 GB and 26 s.
Test(checkpoints, a_header_of_100_megabytes)
{
    write_text("config.json", "{}");
    support_write_safetensors(support_folder, "model.safetensors", 100000000, "{}", "", 0);
    cr_assert_eq(truncate("model.safetensors", 100000008), 0);
    memory_largest();
    const uint64_t start = clock_ns();
    refuse("model.safetensors: a header of 100000000 bytes|at most 4194304");
    cr_assert_lt(memory_largest(), 1 << 20);
    cr_assert_lt(clock_ns() - start, 1000000000u);
}
