// The files of a tokenizer: tokenizer.json alone decides where it is, as in Hugging Face's library;
// else vocab.json says the ids, and merges.txt in which order tokens are joined.
#include "common/text/tokenizer_files.h"

#include <sha2.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/file/file.h"
#include "common/text/tokenizer_json.h"

#define AGAIN ": fetch the GPT-2's file again"

// What the files of a directory hold, before it is put together.
typedef struct source {
    const char *dir;
    json_t *root, *config; // tokenizer.json or NULL, tokenizer_config.json or NULL
    json_t *ids;           // {"token": id}
    json_t *added;         // [{"content", "id", "late"}]
    const json_t *list;    // of merges, in root; or else:
    char *text;            // of merges.txt
    size_t bytes;
} source;

// ---- The merges ----

static bool is_whole_line(span text)
{
    return memchr(text.at, '\n', (size_t)(text.end - text.at)) != NULL;
}

// "a b", as in a line of merges.txt.
static status add_spelled(vocabulary *v, const json_t *ids, span line)
{
    if (line.at == line.end)
        return "a blank line" AGAIN;
    if (line.end[-1] == '\r')
        return "the line ends in CR LF: convert the file to LF";
    const char *space = memchr(line.at, ' ', (size_t)(line.end - line.at));
    if (!space || memchr(space + 1, ' ', (size_t)(line.end - space - 1)))
        return "not two tokens with a space between" AGAIN;
    return vocabulary_add_merge(v, ids, (span){line.at, space}, (span){space + 1, line.end});
}

// Takes the next line, without its end, off the front.
static span take_line(span *text)
{
    const char *end = memchr(text->at, '\n', (size_t)(text->end - text->at));
    const span line = {text->at, end};
    text->at = end + 1;
    return line;
}

// The lines of merges, and the number of the first: a line "#version" may stand before them.
static span merge_lines(const source *from, size_t *line)
{
    static const char version[] = "#version";
    span text = {from->text, from->text + from->bytes};
    *line = 1;
    if (strncmp(text.at, version, strlen(version)) == 0 && is_whole_line(text)) {
        take_line(&text);
        *line = 2;
    }
    return text;
}

static status add_lines(const source *from, vocabulary *v)
{
    const size_t shortest = strlen("a b\n"); // a file of blank lines is not to ask for large tables
    size_t line;
    span text = merge_lines(from, &line);
    status s = vocabulary_expect_merges(v, (size_t)(text.end - text.at) / shortest + 1);
    for (; !s && text.at < text.end; line++) {
        s = is_whole_line(text) ? add_spelled(v, from->ids, take_line(&text))
                                : "has no end, the file was cut short" AGAIN;
        if (s)
            return status_fail("line %zu: %s", line, s);
    }
    return s;
}

static span string_span(const json_t *string)
{
    const char *at = json_string_value(string);
    return (span){at, at + json_string_length(string)};
}

// "a b", or ["a","b"] as newer files have it.
static bool is_merge(const json_t *merge)
{
    return json_is_string(merge) ||
           (json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
            json_is_string(json_array_get(merge, 1)));
}

static status add_one(const source *from, vocabulary *v, const json_t *merge)
{
    if (!is_merge(merge))
        return "neither \"a b\" nor [\"a\",\"b\"]" AGAIN;
    if (json_is_string(merge))
        return add_spelled(v, from->ids, string_span(merge));
    return vocabulary_add_merge(v, from->ids, string_span(json_array_get(merge, 0)),
                                string_span(json_array_get(merge, 1)));
}

static status add_list(const source *from, vocabulary *v)
{
    size_t count = 0; // up to the first that is none: a list of other things makes no large tables
    while (count < json_array_size(from->list) && is_merge(json_array_get(from->list, count)))
        count++;
    status s = vocabulary_expect_merges(v, count + 1);
    for (size_t i = 0; !s && i < json_array_size(from->list); i++) {
        s = add_one(from, v, json_array_get(from->list, i));
        if (s)
            return status_fail("merge %zu: %s", i, s);
    }
    return s;
}

// ---- The ids where only merges.txt is there ----

static status put_id(json_t *ids, const char *key, size_t n)
{
    return json_object_setn_new(ids, key, n, json_integer((json_int_t)json_object_size(ids))) == 0
               ? NULL
               : memory_failed("the tokens");
}

// OpenAI numbers first the bytes that are visible characters, then the others, then what the merges
// make, and last <|endoftext|>.
static status number_bytes(json_t *ids)
{
    status s = NULL;
    for (int hidden = 0; hidden < 2; hidden++)
        for (int byte = 0; byte < VOCABULARY_BYTES && !s; byte++) {
            char key[3];
            const size_t n = vocabulary_spell(byte, key);
            if (((unsigned char)key[0] >= 0xC4) == hidden)
                s = put_id(ids, key, n);
        }
    return s;
}

static status number_merges(const source *from)
{
    size_t line;
    status s = number_bytes(from->ids);
    for (span text = merge_lines(from, &line); !s && text.at < text.end;) {
        char key[256]; // of known files
        const span merge = take_line(&text);
        size_t n = 0;
        for (const char *c = merge.at; c < merge.end; c++)
            if (*c != ' ')
                key[n++] = *c;
        s = put_id(from->ids, key, n);
    }
    return s ? s : put_id(from->ids, "<|endoftext|>", strlen("<|endoftext|>"));
}

// merges.txt says nothing of ids. Without vocab.json they are known only if the file is OpenAI's.
static status number_known_merges(source *from)
{
    static const char *const KNOWN[] = {
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5", // GPT-2's
        "d897dde832aecc72d3a92db5bc758f919649e5e1e152571bd85e55dbff830e3d", // its first 1791
    };
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)from->text, from->bytes, hex);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strcmp(hex, KNOWN[i]) == 0)
            return (from->ids = json_object()) ? number_merges(from) : memory_failed("the tokens");
    return "it says which tokens are joined but not their ids: put vocab.json beside it";
}

// ---- The files ----

static status in_file(const source *from, const char *name, status s)
{
    return s ? status_fail("%s/%s: %s", from->dir, name, s) : NULL;
}

// tokenizer_config.json's added_tokens_decoder, {"id": {"content", ...}}.
static status read_described(source *from, const json_t *described)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)described, key, value)
    {
        char *end;
        const long id = strtol(key, &end, 10);
        status s = end == key || *end != '\0' ? "an id is not a whole number" AGAIN
                                              : tokenizer_json_add(from->added, value, id);
        if (s)
            return in_file(from, "tokenizer_config.json", s);
    }
    return NULL;
}

// added_tokens.json, {"content": id}, of older models.
static status read_listed(source *from)
{
    json_t *root, *value;
    const char *key;
    status s = file_read_json(from->dir, "added_tokens.json", &root);
    if (s)
        return s;
    json_object_foreach(root, key, value)
    {
        json_t *described = json_pack("{s:s, s:b}", "content", key, "normalized", 1);
        s = !described ? memory_failed("the added tokens")
            : !json_is_integer(value)
                ? "an id is not a whole number" AGAIN
                : tokenizer_json_add(from->added, described, json_integer_value(value));
        json_decref(described);
        if (s)
            break;
    }
    json_decref(root);
    return in_file(from, "added_tokens.json", s);
}

// Tokens that a text would begin or end with.
static status check_adding(const source *from)
{
    static const char *const ADDING[] = {"add_bos_token", "add_eos_token"};
    for (size_t i = 0; i < sizeof ADDING / sizeof *ADDING; i++)
        if (json_is_true(json_object_get(from->config, ADDING[i])))
            return status_fail("%s/tokenizer_config.json: \"%s\" is true, but no token is added "
                               "here: give token ids (--ids)",
                               from->dir, ADDING[i]);
    return NULL;
}

// What tokenizer_config.json says besides.
static status read_config(source *from, tokenizer_rules *out)
{
    const json_t *described = json_object_get(from->config, "added_tokens_decoder");
    status s = check_adding(from);
    if (s)
        return s;
    out->prefix_space = json_is_true(json_object_get(from->config, "add_prefix_space"));
    if (described)
        return read_described(from, described);
    return file_exists(from->dir, "added_tokens.json") ? read_listed(from) : NULL;
}

static status read_two_files(source *from, tokenizer_rules *out)
{
    status s = file_read(from->dir, "merges.txt", &from->text, &from->bytes);
    from->added = json_array();
    if (!s && !from->added)
        s = memory_failed("the added tokens");
    out->files = "vocab.json and merges.txt";
    if (!s && file_exists(from->dir, "vocab.json"))
        s = file_read_json(from->dir, "vocab.json", &from->ids);
    else if (!s) {
        out->files = "merges.txt, known to be OpenAI's: its ids";
        s = in_file(from, "merges.txt", number_known_merges(from));
    }
    if (!s)
        s = read_config(from, out);
    if (!s)
        s = in_file(from, "vocab.json", vocabulary_make(from->ids, from->added, &out->v));
    return s ? s : in_file(from, "merges.txt", add_lines(from, &out->v));
}

// A vocab.json beside tokenizer.json that says something else leaves open whose ids the model has.
static status check_vocab_json(const source *from)
{
    json_t *root;
    if (!file_exists(from->dir, "vocab.json"))
        return NULL;
    status s = file_read_json(from->dir, "vocab.json", &root);
    if (!s && !json_equal(root, from->ids))
        s = status_fail("%s: vocab.json and tokenizer.json have other ids: remove the one that is "
                        "not this model's",
                        from->dir);
    json_decref(root);
    return s;
}

// Whether tokenizer.json has this token with this id, as one that was added or in its vocabulary.
static bool has_token(const source *from, const char *content, json_int_t id)
{
    const json_t *one;
    size_t i;
    json_array_foreach(
        from->added, i,
        one) if (json_integer_value(json_object_get(one, "id")) ==
                 id) return strcmp(json_string_value(json_object_get(one, "content")), content) ==
        0;
    const json_t *known = json_object_get(from->ids, content);
    return known && json_integer_value(known) == id;
}

// What tokenizer_config.json says beside tokenizer.json must be the same, or nothing.
static status check_config(const source *from, const tokenizer_rules *out)
{
    const json_t *said = json_object_get(from->config, "add_prefix_space");
    json_t *described = json_object_get(from->config, "added_tokens_decoder"), *one;
    const char *id;
    status s = check_adding(from);
    json_object_foreach(s ? NULL : described, id, one)
    {
        const char *content = json_string_value(json_object_get(one, "content"));
        if (!content || !has_token(from, content, strtoll(id, NULL, 10)))
            return status_fail("%s: tokenizer_config.json says that token %.20s is '%.40s', and "
                               "tokenizer.json does not: fetch both again",
                               from->dir, id, content ? content : "");
    }
    if (s || !json_is_boolean(said) || json_is_true(said) == out->prefix_space)
        return s;
    return status_fail("%s: \"add_prefix_space\" is %s in tokenizer.json, and not so in "
                       "tokenizer_config.json: correct one of them",
                       from->dir, out->prefix_space ? "true" : "false");
}

static status read_one_file(source *from, tokenizer_rules *out)
{
    static const char name[] = "tokenizer.json";
    status s = file_read_json(from->dir, name, &from->root);
    if (s)
        return s;
    s = in_file(from, name, tokenizer_json_read(from->root, &out->prefix_space, &from->added));
    if (s)
        return s;
    const json_t *model = json_object_get(from->root, "model");
    from->ids = json_incref(json_object_get(model, "vocab"));
    from->list = json_object_get(model, "merges");
    out->files = name;
    s = check_vocab_json(from);
    if (!s)
        s = check_config(from, out);
    if (!s)
        s = in_file(from, name, vocabulary_make(from->ids, from->added, &out->v));
    return s ? s : in_file(from, name, add_list(from, &out->v));
}

static status read_files(source *from, tokenizer_rules *out)
{
    status s = NULL;
    if (file_exists(from->dir, "tokenizer_config.json"))
        s = file_read_json(from->dir, "tokenizer_config.json", &from->config);
    if (s)
        return s;
    if (file_exists(from->dir, "tokenizer.json"))
        return read_one_file(from, out);
    if (file_exists(from->dir, "merges.txt"))
        return read_two_files(from, out);
    return status_fail("%s: neither tokenizer.json nor merges.txt is there: name a GPT-2's "
                       "directory, or give token ids (--ids)",
                       from->dir);
}

status tokenizer_rules_read(const char *dir, tokenizer_rules *out)
{
    source from = {.dir = dir};
    status s = read_files(&from, out);
    json_decref(from.root);
    json_decref(from.config);
    json_decref(from.ids);
    json_decref(from.added);
    memory_free(from.text);
    return s;
}
