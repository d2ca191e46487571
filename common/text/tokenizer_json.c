// tokenizer.json: GPT-2's rules are implemented (https://huggingface.co/docs/tokenizers), and every
// key that would ask for others is known by name and refused.
#include "common/text/tokenizer_json.h"

#include <string.h>

#include "common/base/memory.h"

#define OR_IDS "use another model, or encode elsewhere and give token ids (--ids)"

// What a value must be for the ids to be GPT-2's.
typedef enum wanted {
    NO_MATTER, // it changes no id, or is looked at elsewhere
    FALSE,     // absent, null or false
    TRUE,      // absent, null or true
    EMPTY,     // absent, null, "", 0
    BOOLEAN,   // there, true or false
    VERSION,   // absent or "1.0"
} wanted;

typedef struct rule {
    const char *key;
    wanted wanted;
} rule;

static const rule WHOLE[] = {
    {"version", VERSION},
    {"truncation", FALSE},
    {"padding", FALSE},
    {"added_tokens", NO_MATTER},
    {"normalizer", FALSE},
    {"pre_tokenizer", NO_MATTER},
    {"post_processor", NO_MATTER},
    {"decoder", NO_MATTER},
    {"model", NO_MATTER},
    {NULL, NO_MATTER},
};
// unk_token and fuse_unk: every byte has a token, so nothing is unknown.
static const rule BPE_MODEL[] = {
    {"type", NO_MATTER},           {"dropout", EMPTY},       {"unk_token", NO_MATTER},
    {"fuse_unk", NO_MATTER},       {"byte_fallback", FALSE}, {"ignore_merges", FALSE},
    {"vocab", NO_MATTER},          {"merges", NO_MATTER},    {"continuing_subword_prefix", EMPTY},
    {"end_of_word_suffix", EMPTY}, {NULL, NO_MATTER},
};
// trim_offsets: where tokens stand in the text is not asked for.
static const rule SPLITTER[] = {
    {"type", NO_MATTER},         {"add_prefix_space", BOOLEAN},
    {"trim_offsets", NO_MATTER}, {"use_regex", TRUE},
    {NULL, NO_MATTER},
};
// As processor and decoder ByteLevel does not look at its switches.
static const rule BYTE_LEVEL[] = {
    {"type", NO_MATTER},         {"add_prefix_space", NO_MATTER},
    {"trim_offsets", NO_MATTER}, {"use_regex", NO_MATTER},
    {NULL, NO_MATTER},
};
static const rule ADDED[] = {
    {"id", NO_MATTER}, {"content", NO_MATTER}, {"single_word", FALSE},  {"lstrip", FALSE},
    {"rstrip", FALSE}, {"special", NO_MATTER}, {"normalized", BOOLEAN}, {NULL, NO_MATTER},
};

static bool is_as_wanted(const json_t *value, wanted w)
{
    const bool none = !value || json_is_null(value);
    switch (w) {
    case FALSE:
        return none || json_is_false(value);
    case TRUE:
        return none || json_is_true(value);
    case EMPTY:
        return none || (json_is_string(value) && json_string_length(value) == 0) ||
               (json_is_number(value) && !(json_number_value(value) != 0));
    case BOOLEAN:
        return json_is_boolean(value);
    case VERSION:
        return !value || (json_is_string(value) && strcmp(json_string_value(value), "1.0") == 0);
    default:
        return true;
    }
}

// A value in a few words: its type where it is one of Hugging Face's objects.
static const char *in_words(const json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    if (type || json_is_string(value))
        return type ? type : json_string_value(value);
    static const char *const words[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",
        [JSON_NULL] = "null"};
    return value ? words[json_typeof(value)] : "missing";
}

static status not_understood(const char *part, const char *key, const json_t *value)
{
    return status_fail("%s%s\"%s\" is %.64s, which is not understood here: " OR_IDS, part,
                       *part ? ": " : "", key, in_words(value));
}

// Every key of the object is one of `rules`, and says what GPT-2's says.
static status check_keys(const char *part, const json_t *object, const rule *rules)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const rule *r = rules;
        while (r->key && strcmp(r->key, key) != 0)
            r++;
        if (!r->key)
            return status_fail("%s%s\"%.64s\" is a key that is not understood here: " OR_IDS, part,
                               *part ? ": " : "", key);
    }
    for (const rule *r = rules; r->key; r++)
        if (!is_as_wanted(json_object_get(object, r->key), r->wanted))
            return not_understood(part, r->key, json_object_get(object, r->key));
    return NULL;
}

static bool is_of_type(const json_t *part, const char *type)
{
    const char *is = json_string_value(json_object_get(part, "type"));
    return is && strcmp(is, type) == 0;
}

// Part i of what may be one part or a Sequence, whose list is called `list`; NULL behind the last.
static const json_t *part_at(const json_t *whole, const char *list, size_t i)
{
    if (is_of_type(whole, "Sequence"))
        return json_array_get(json_object_get(whole, list), i);
    return i == 0 && !json_is_null(whole) ? whole : NULL;
}

// One ByteLevel and nothing else.
static status check_byte_level(const json_t *root, const char *key, const char *list,
                               const rule *rules, const json_t **found)
{
    const json_t *whole = json_object_get(root, key), *part;
    *found = NULL;
    for (size_t i = 0; (part = part_at(whole, list, i)); i++) {
        if (!is_of_type(part, "ByteLevel") || *found)
            return not_understood("", key, part);
        *found = part;
    }
    if (!*found)
        return status_fail("\"%s\" is %s, where a GPT-2's is ByteLevel: add it, or %s", key,
                           in_words(whole), OR_IDS);
    return check_keys(key, *found, rules);
}

// A template that is the text and nothing else: [{"Sequence": {"id": "A", ...}}].
static bool adds_nothing(const json_t *template)
{
    const json_t *single = json_object_get(template, "single");
    const json_t *text = json_object_get(json_array_get(single, 0), "Sequence");
    const char *id = json_string_value(json_object_get(text, "id"));
    return json_array_size(single) == 1 && id && strcmp(id, "A") == 0;
}

static status check_post_processor(const json_t *root)
{
    static const char key[] = "post_processor";
    const json_t *whole = json_object_get(root, key), *part;
    for (size_t i = 0; (part = part_at(whole, "processors", i)); i++) {
        if (is_of_type(part, "TemplateProcessing") && !adds_nothing(part))
            return status_fail(
                "\"%s\" is TemplateProcessing, which adds tokens to the text: " OR_IDS, key);
        if (!is_of_type(part, "TemplateProcessing") && !is_of_type(part, "ByteLevel"))
            return not_understood("", key, part);
        status s = is_of_type(part, "ByteLevel") ? check_keys(key, part, BYTE_LEVEL) : NULL;
        if (s)
            return s;
    }
    return NULL;
}

static status check_model(const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    if (json_object_get(model, "type") && !is_of_type(model, "BPE"))
        return not_understood("", "model", model);
    if (!json_is_object(json_object_get(model, "vocab")))
        return "\"model\" has no \"vocab\": fetch the file again";
    if (!json_is_array(json_object_get(model, "merges")))
        return "\"model\" has no list of \"merges\": fetch the file again";
    return check_keys("model", model, BPE_MODEL);
}

status tokenizer_json_add(json_t *added, const json_t *described, json_int_t id)
{
    const json_t *content = json_object_get(described, "content");
    if (!json_is_string(content) || json_string_length(content) == 0)
        return "an added token without \"content\": fetch the file again";
    char part[128];
    snprintf(part, sizeof part, "added token %.64s", json_string_value(content));
    status s = check_keys(part, described, ADDED);
    if (s)
        return s;
    const int late = json_is_true(json_object_get(described, "normalized"));
    json_t *entry =
        json_pack("{s:s, s:I, s:b}", "content", json_string_value(content), "id", id, "late", late);
    return entry && json_array_append_new(added, entry) == 0 ? NULL
                                                             : memory_failed("the added tokens");
}

static status read_added(const json_t *root, json_t *added)
{
    const json_t *list = json_object_get(root, "added_tokens"), *entry;
    size_t i;
    if (list && !json_is_null(list) && !json_is_array(list))
        return not_understood("", "added_tokens", list);
    json_array_foreach((json_t *)list, i, entry)
    {
        const json_t *id = json_object_get(entry, "id");
        if (!json_is_integer(id))
            return status_fail("added token %zu has no id: fetch the file again", i);
        status s = tokenizer_json_add(added, entry, json_integer_value(id));
        if (s)
            return s;
    }
    return NULL;
}

status tokenizer_json_read(const json_t *root, bool *prefix_space, json_t **added)
{
    const json_t *splitter = NULL, *decoder;
    *added = json_array();
    status s = *added ? check_keys("", root, WHOLE) : memory_failed("the added tokens");
    if (!s)
        s = check_byte_level(root, "pre_tokenizer", "pretokenizers", SPLITTER, &splitter);
    if (!s)
        s = check_post_processor(root);
    if (!s)
        s = check_byte_level(root, "decoder", "decoders", BYTE_LEVEL, &decoder);
    if (!s)
        s = check_model(root);
    if (!s)
        s = read_added(root, *added);
    *prefix_space = json_is_true(json_object_get(splitter, "add_prefix_space"));
    return s;
}
