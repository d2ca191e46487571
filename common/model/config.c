// Where the numbers of a GPT-2 come from: config.json, or the name of a synthetic model.
#include "common/model/config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/input.h"

// Every key that selects a variant of GPT-2 this program does not compute, and the value that
// selects none. What GPT2Config does not know changes nothing, as in transformers.
static const struct {
    const char *key;
    bool plain;
} SWITCHES[] = {
    {"scale_attn_weights", true},
    {"scale_attn_by_inverse_layer_idx", false},
    {"reorder_and_upcast_attn", false},
    {"add_cross_attention", false},
};

static status check_heads(const char *where, const config *c)
{
    if (c->C % c->H != 0)
        return status_fail(
            "%s: %zu heads do not divide %zu channels: give a number of heads that does", where,
            c->H, c->C);
    return NULL;
}

static status read_count(const char *path, const json_t *object, const char *key, size_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!value)
        return NULL;
    if (!json_is_integer(value))
        return status_fail("%s: \"%s\" is not a whole number: correct it, or fetch the file again",
                           path, key);
    json_int_t n = json_integer_value(value);
    if (n < 1 || n > CONFIG_LARGEST)
        return status_fail("%s: \"%s\" is %lld, outside 1..%d: correct it, or fetch the file again",
                           path, key, (long long)n, CONFIG_LARGEST);
    *out = (size_t)n;
    return NULL;
}

// A number under its name, under its alias, or under both if they agree.
static status read_named(const char *path, const json_t *object, const char *key, const char *alias,
                         size_t *out)
{
    const json_t *one = json_object_get(object, key), *other = json_object_get(object, alias);
    if (one && other && !json_equal(one, other))
        return status_fail("%s: \"%s\" and \"%s\" are two names of one number, but differ: "
                           "remove one",
                           path, key, alias);
    return read_count(path, object, one ? key : alias, out);
}

static status read_epsilon(const char *path, const json_t *object, float *out)
{
    const json_t *value = json_object_get(object, "layer_norm_epsilon");
    if (value)
        *out = (float)json_number_value(value); // 0 if not a number
    if (!(*out > 0 && *out < 1))
        return status_fail("%s: \"layer_norm_epsilon\" is not a number between 0 and 1: give one "
                           "(GPT-2 has 1e-05)",
                           path);
    return NULL;
}

// Absent, or one of two texts.
static status check_text(const char *path, const json_t *object, const char *key,
                         const char *wanted, const char *or_else)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (!value || (text && (strcmp(text, wanted) == 0 || strcmp(text, or_else) == 0)))
        return NULL;
    return status_fail("%s: \"%s\" is %s%.64s%s, not \"%s\": use a model that has it", path, key,
                       text ? "\"" : "", text ? text : "no text", text ? "\"" : "", wanted);
}

// Absent, null or empty: it would change what the weights mean.
static status check_absent(const char *path, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0))
        return NULL;
    return status_fail("%s: \"%s\" is set, and such weights are not read here: use the plain model",
                       path, key);
}

static status check_variant(const char *path, const json_t *object)
{
    status s = check_text(path, object, "model_type", "gpt2", "gpt2");
    if (!s)
        s = check_text(path, object, "activation_function", "gelu_new",
                       "gelu_pytorch_tanh"); // two names of one function
    for (size_t i = 0; !s && i < sizeof SWITCHES / sizeof *SWITCHES; i++) {
        const json_t *value = json_object_get(object, SWITCHES[i].key);
        if (value && !(SWITCHES[i].plain ? json_is_true(value) : json_is_false(value)))
            s = status_fail("%s: \"%s\" is not %s, and no other attention is computed here: use a "
                            "model without it",
                            path, SWITCHES[i].key, SWITCHES[i].plain ? "true" : "false");
    }
    if (!s)
        s = check_absent(path, object, "quantization_config");
    return s ? s : check_absent(path, object, "pruned_heads");
}

static status read_object(const char *path, const json_t *object, config *out)
{
    // GPT2Config's defaults, and the aliases of its attribute_map.
    *out = (config){.L = 12, .C = 768, .H = 12, .V = 50257, .T = 1024, .eps = 1e-5f};
    const struct {
        const char *key, *alias;
        size_t *to;
    } counts[] = {{"n_layer", "num_hidden_layers", &out->L},
                  {"n_embd", "hidden_size", &out->C},
                  {"n_head", "num_attention_heads", &out->H},
                  {"n_positions", "max_position_embeddings", &out->T},
                  {"vocab_size", "vocab_size", &out->V}};
    status s = check_variant(path, object);
    for (size_t i = 0; !s && i < sizeof counts / sizeof *counts; i++)
        s = read_named(path, object, counts[i].key, counts[i].alias, counts[i].to);
    const json_t *inner = json_object_get(object, "n_inner");
    out->F = 4 * out->C;
    if (!s && !json_is_null(inner))
        s = read_count(path, object, "n_inner", &out->F);
    if (!s)
        s = read_epsilon(path, object, &out->eps);
    return s ? s : check_heads(path, out);
}

status config_read(const char *dir, config *out)
{
    char path[FILE_PATH_SIZE];
    json_t *object = NULL;
    *out = (config){0};
    status s = file_path(dir, "config.json", path);
    if (!s)
        s = file_read_json(dir, "config.json", &object);
    if (!s)
        s = read_object(path, object, out);
    json_decref(object);
    return s;
}

status config_read_untied(const char *dir, bool *untied)
{
    json_t *object;
    status s = file_read_json(dir, "config.json", &object);
    *untied = json_is_false(json_object_get(object, "tie_word_embeddings"));
    json_decref(object);
    return s;
}

static const struct {
    const char *name;
    size_t L, C, H;
} SIZES[] = {
    {"124M", 12, 768, 12}, {"355M", 24, 1024, 16}, {"774M", 36, 1280, 20}, {"1558M", 48, 1600, 25}};

static void set_size(size_t i, config *out)
{
    *out = (config){SIZES[i].L, SIZES[i].C, SIZES[i].H, 4 * SIZES[i].C, 50257, 1024, 1e-5f};
}

// A decimal number, up to the next comma or the end; *text moves behind it.
static status parse_number(const char *name, const char **text, uint64_t most, uint64_t *out)
{
    const char *at = *text;
    if (!input_digits(text, most, out) || (**text != ',' && **text != '\0'))
        return status_fail("%.200s: expected a whole number up to %llu at \"%.32s\"", name,
                           (unsigned long long)most, at);
    return NULL;
}

// One "KEY=NUMBER" into values[index of KEY]; *text moves behind it.
static status parse_key(const char *name, const char **text, uint64_t values[7], unsigned *seen)
{
    static const char *const KEYS[7] = {"L=", "C=", "H=", "F=", "V=", "T=", "seed="};
    for (unsigned i = 0; i < 7; i++) {
        if (strncmp(*text, KEYS[i], strlen(KEYS[i])) != 0)
            continue;
        if (*seen & 1u << i)
            return status_fail("%.200s: %s is given twice: give it once", name, KEYS[i]);
        *seen |= 1u << i;
        *text += strlen(KEYS[i]);
        bool is_seed = i == 6;
        status s = parse_number(name, text, is_seed ? UINT64_MAX : CONFIG_LARGEST, &values[i]);
        if (!s && !is_seed && values[i] == 0)
            s = status_fail("%.200s: %s0 makes no model: give at least 1", name, KEYS[i]);
        return s;
    }
    return status_fail(
        "%.200s: \"%.32s\" is neither 124M, 355M, 774M, 1558M nor one of L= C= H= F= V= T= seed=",
        name, *text);
}

static const char PREFIX[] = "synthetic:";

bool config_is_synthetic(const char *name)
{
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

status config_parse_synthetic(const char *name, config *out, uint64_t *seed)
{
    const char *text = name + strlen(PREFIX);
    *seed = 0;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
        if (strcmp(text, SIZES[i].name) == 0) {
            set_size(i, out);
            return NULL;
        }
    set_size(0, out);
    uint64_t values[7] = {out->L, out->C, out->H, 0, out->V, out->T, 0};
    unsigned seen = 0;
    status s = parse_key(name, &text, values, &seen);
    while (!s && *text == ',') {
        text++;
        s = parse_key(name, &text, values, &seen);
    }
    if (s)
        return s;
    uint64_t F = values[3] ? values[3] : 4 * values[1];
    *out = (config){(size_t)values[0], (size_t)values[1], (size_t)values[2], (size_t)F,
                    (size_t)values[4], (size_t)values[5], out->eps};
    *seed = values[6];
    return check_heads(name, out);
}
