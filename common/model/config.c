// Where the numbers of a GPT-2 come from: config.json, or the name of a synthetic model.
#include "common/model/config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/input.h"
#include "common/file/file.h"

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
    if (c->H % config_kv_heads(c) != 0)
        return status_fail(
            "%s: %zu K/V heads do not divide %zu heads: give a number of K/V heads that does",
            where, c->G, c->H);
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
    status s = check_text(path, object, "model_type", "gpt2", "gpt_bigcode");
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

// gpt_bigcode is a GPT-2 with one K/V head, whose linear layers are stored (out, in).
static status read_grouped(const char *path, const json_t *object, config *out)
{
    const char *type = json_string_value(json_object_get(object, "model_type"));
    const json_t *multi_query = json_object_get(object, "multi_query");
    if (!type || strcmp(type, "gpt_bigcode") != 0)
        return NULL;
    if (multi_query && !json_is_true(multi_query)) // true is GPTBigCodeConfig's default
        return status_fail("%s: \"multi_query\" is not true, and no other gpt_bigcode is read "
                           "here: use a model that has it",
                           path);
    out->G = 1;
    out->transposed = true;
    return NULL;
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
    if (!s)
        s = read_grouped(path, object, out);
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

static const char PREFIX[] = "synthetic:";

bool config_is_synthetic(const char *name)
{
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

static const struct {
    const char *name;
    size_t L, C, H;
} SIZES[] = {
    {"124M", 12, 768, 12}, {"355M", 24, 1024, 16}, {"774M", 36, 1280, 20}, {"1558M", 48, 1600, 25}};

static void set_size(size_t i, config *out)
{
    *out = (config){SIZES[i].L, SIZES[i].C, SIZES[i].H, 4 * SIZES[i].C, 50257,
                    1024,       1e-5f,      SIZES[i].H, false};
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

static const struct {
    const char *name;
    element of;
} DTYPES[] = {{"dtype=f16", ELEMENT_F16}, {"dtype=bf16", ELEMENT_BF16}};
enum { DTYPE_SEEN = 1 << 8 };

// One "dtype=NAME"; *text moves behind it.
static status parse_dtype(const char *name, const char **text, unsigned *seen)
{
    if (*seen & DTYPE_SEEN)
        return status_fail("%.200s: dtype= is given twice: give it once", name);
    *seen |= DTYPE_SEEN;
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++) {
        const size_t n = strlen(DTYPES[i].name);
        if (strncmp(*text, DTYPES[i].name, n) != 0 || ((*text)[n] != ',' && (*text)[n] != '\0'))
            continue;
        *text += n;
        return NULL;
    }
    return status_fail("%.200s: \"%.32s\" is neither dtype=f16 nor dtype=bf16: leave it out for "
                       "F32",
                       name, *text);
}

element config_synthetic_element(const char *name)
{
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (config_is_synthetic(name) && strstr(name, DTYPES[i].name))
            return DTYPES[i].of;
    return ELEMENT_F32;
}

// One "KEY=NUMBER" into values[index of KEY]; *text moves behind it.
static status parse_key(const char *name, const char **text, uint64_t values[8], unsigned *seen)
{
    static const char *const KEYS[8] = {"L=", "C=", "H=", "F=", "V=", "T=", "seed=", "G="};
    if (strncmp(*text, "dtype=", 6) == 0)
        return parse_dtype(name, text, seen);
    for (unsigned i = 0; i < 8; i++) {
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
    return status_fail("%.200s: \"%.32s\" is neither 124M, 355M, 774M, 1558M nor one of L= C= H= "
                       "F= V= T= seed= G= dtype=",
                       name, *text);
}

status config_parse_synthetic(const char *name, config *out, uint64_t *seed)
{
    const char *text = name + strlen(PREFIX);
    *seed = 0;
    unsigned seen = 0;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        const size_t n = strlen(SIZES[i].name);
        if (strncmp(text, SIZES[i].name, n) != 0)
            continue;
        set_size(i, out);
        text += n;
        if (*text == '\0')
            return NULL;
        if (strncmp(text, ",dtype=", 7) == 0 && !strchr(text + 1, ','))
            return text++, parse_dtype(name, &text, &seen);
        text -= n;
    }
    set_size(0, out);
    uint64_t values[8] = {out->L, out->C, out->H, 0, out->V, out->T, 0, 0};
    status s = parse_key(name, &text, values, &seen);
    while (!s && *text == ',') {
        text++;
        s = parse_key(name, &text, values, &seen);
    }
    if (s)
        return s;
    uint64_t F = values[3] ? values[3] : 4 * values[1];
    *out = (config){(size_t)values[0],
                    (size_t)values[1],
                    (size_t)values[2],
                    (size_t)F,
                    (size_t)values[4],
                    (size_t)values[5],
                    out->eps,
                    (size_t)(values[7] ? values[7] : values[2]),
                    false};
    *seed = values[6];
    return check_heads(name, out);
}

const char *config_text(const config *c, char text[CONFIG_TEXT])
{
    snprintf(text, CONFIG_TEXT, "L=%zu,C=%zu,H=%zu,G=%zu,F=%zu,V=%zu,T=%zu,eps=%a", c->L, c->C,
             c->H, config_kv_heads(c), c->F, c->V, c->T, (double)c->eps);
    return text;
}
