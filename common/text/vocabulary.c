// The tokens of a byte-level BPE. The vocabulary file is the authority for ids: merges are looked
// up in it by their spelling, and give only the order of merging.
#include "common/text/vocabulary.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

enum {
    NONE = VOCABULARY_NONE,
    BYTES = VOCABULARY_BYTES,
    VISIBLE = 188,  // bytes, see is_visible
    MOST = 1 << 24, // tokens, and merges
};

#define AGAIN ": fetch the GPT-2's file again"
#define TOGETHER ": take vocabulary and merges from the same model"

// ---- GPT-2's alphabet ----

static bool is_visible(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The n-th byte that is not visible, which U+0100 + n stands for; NONE beyond the last.
static int hidden_byte(int n)
{
    for (int byte = 0; byte < BYTES; byte++)
        if (!is_visible(byte) && n-- == 0)
            return byte;
    return NONE;
}

size_t vocabulary_spell(int byte, char out[3])
{
    int code = byte;
    if (!is_visible(byte))
        for (code = BYTES; hidden_byte(code - BYTES) != byte;)
            code++;
    const size_t n = code < 0x80 ? 1 : 2;
    out[0] = (char)(n == 1 ? code : 0xC0 | code >> 6);
    out[1] = (char)(n == 1 ? '\0' : 0x80 | (code & 0x3F));
    out[2] = '\0';
    return n;
}

// Takes one character of the alphabet off the front: the byte it stands for, or NONE if it is not
// of that alphabet.
static int take_byte(span *s)
{
    int c = (unsigned char)*s->at++;
    if (c >= 0xC2 && c <= 0xC5 && s->at < s->end && ((unsigned char)*s->at & 0xC0) == 0x80)
        c = (c & 0x1F) << 6 | ((unsigned char)*s->at++ & 0x3F); // UTF-8: U+0080 to U+017F
    else if (c >= 0x80)
        return NONE;
    if (c < BYTES)
        return is_visible(c) ? c : NONE;
    return c - BYTES < BYTES - VISIBLE ? hidden_byte(c - BYTES) : NONE;
}

// Writes the bytes that s spells to `out`. Returns their number, 0 if s is not spelled in the
// alphabet.
static size_t unspell(span s, char *out)
{
    size_t n = 0;
    while (s.at < s.end) {
        int byte = take_byte(&s);
        if (byte == NONE)
            return 0;
        out[n++] = (char)byte;
    }
    return n;
}

// ---- The tokens ----

static span text_of(const json_t *string)
{
    const char *at = json_string_value(string);
    return (span){at, at + json_string_length(string)};
}

static const json_t *find(const json_t *ids, span key)
{
    return json_object_getn(ids, key.at, (size_t)(key.end - key.at));
}

// The n bytes at v->bytes + at become token `id`.
static status put_token(vocabulary *v, const char *name, json_int_t id, size_t at, size_t n)
{
    if (id < 0 || (uint64_t)id >= v->size)
        return status_fail("token \"%.64s\" has id %" JSON_INTEGER_FORMAT
                           ", but there are %zu tokens, and their ids must be 0 to %zu without a "
                           "gap" AGAIN,
                           name, id, v->size, v->size - 1);
    if (v->tokens[id].n > 0)
        return status_fail("id %" JSON_INTEGER_FORMAT
                           " is that of \"%.64s\" and of another token" AGAIN,
                           id, name);
    v->tokens[id] = (vocabulary_token){at, n};
    return NULL;
}

// The bytes of a key: as GPT-2's alphabet spells them, or, for an added token, as they are. Some
// characters could be read both ways.
static status key_bytes(const char *key, bool added, char *out, size_t *n)
{
    const size_t length = strlen(key);
    *n = unspell((span){key, key + length}, out);
    if (!added && *n == 0)
        return status_fail("token \"%.64s\" is not spelled in GPT-2's alphabet: use a model with a "
                           "byte-level tokenizer",
                           key);
    if (added && *n > 0 && (*n != length || memcmp(key, out, length) != 0))
        return status_fail("token \"%.64s\" is an added token, and other bytes in the vocabulary: "
                           "rename it",
                           key);
    if (added)
        memcpy(out, key, *n = length);
    return NULL;
}

// Whether one of the added tokens is called so, by a set of their names.
static bool is_added(const json_t *names, const char *key)
{
    return json_object_get(names, key) != NULL;
}

static status put_ids(vocabulary *v, const json_t *ids, const json_t *names, size_t *used)
{
    const char *key;
    json_t *value;
    status s = NULL;
    json_object_foreach((json_t *)ids, key, value)
    {
        size_t n;
        if (!json_is_integer(value))
            return status_fail("the id of token \"%.64s\" is not a whole number" AGAIN, key);
        s = key_bytes(key, is_added(names, key), v->bytes + *used, &n);
        if (!s)
            s = put_token(v, key, json_integer_value(value), *used, n);
        if (s)
            return s;
        *used += n;
    }
    return NULL;
}

static int by_kind_and_bytes(const void *a, const void *b)
{
    const vocabulary_added *x = a, *y = b;
    const size_t n = (size_t)(x->bytes.end - x->bytes.at), m = (size_t)(y->bytes.end - y->bytes.at);
    if (x->late != y->late)
        return x->late - y->late;
    const int order = memcmp(x->bytes.at, y->bytes.at, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

// The added tokens that the vocabulary does not have yet; where it has them, the ids must agree.
static status put_added(vocabulary *v, const json_t *ids, const json_t *added, size_t *used)
{
    for (size_t i = 0; i < v->added_count; i++) {
        const json_t *entry = json_array_get(added, i),
                     *content = json_object_get(entry, "content");
        const json_int_t id = json_integer_value(json_object_get(entry, "id"));
        const json_t *known = find(ids, text_of(content));
        const size_t n = json_string_length(content);
        status s = NULL;
        if (known && json_integer_value(known) != id)
            return status_fail("added token \"%.64s\" has id %" JSON_INTEGER_FORMAT
                               ", but id %" JSON_INTEGER_FORMAT " in the vocabulary" AGAIN,
                               json_string_value(content), id, json_integer_value(known));
        memcpy(v->bytes + *used, json_string_value(content), n);
        if (!known)
            s = put_token(v, json_string_value(content), id, *used, n);
        if (s)
            return s;
        *used += n;
        v->added[i] = (vocabulary_added){.id = (int)id,
                                         .bytes = vocabulary_bytes(v, (int)id),
                                         .late = json_is_true(json_object_get(entry, "late"))};
    }
    if (v->added_count > 0)
        qsort(v->added, v->added_count, sizeof *v->added, by_kind_and_bytes);
    return NULL;
}

// A token that is not of the bytes alone: by its name, NONE if there is none.
static int id_of(const json_t *ids, const json_t *added, const char *name)
{
    const json_t *id = json_object_get(ids, name), *entry;
    size_t i;
    json_array_foreach((json_t *)added, i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "content")), name) == 0)
            id = json_object_get(entry, "id");
    }
    return id ? (int)json_integer_value(id) : NONE;
}

static status find_bytes(vocabulary *v, const json_t *ids)
{
    for (int byte = 0; byte < BYTES; byte++) {
        char key[3];
        vocabulary_spell(byte, key);
        const json_t *id = json_object_get(ids, key);
        if (!id)
            return status_fail("there is no token for byte %d (\"%s\"), so that not every text has "
                               "ids: train the tokenizer with the alphabet of all bytes",
                               byte, key);
        v->byte_id[byte] = (int)json_integer_value(id);
    }
    return NULL;
}

// The names of the added tokens, as a set. NULL where memory is short.
static json_t *names_of(const json_t *added)
{
    json_t *names = json_object();
    const json_t *entry;
    size_t i;
    json_array_foreach((json_t *)added, i, entry)
    {
        if (!names ||
            json_object_set_new(names, json_string_value(json_object_get(entry, "content")),
                                json_true()) != 0) {
            json_decref(names);
            return NULL;
        }
    }
    return names;
}

// How many tokens there are, how many bytes they may take, and how long the longest key is.
static void measure(vocabulary *v, const json_t *ids, const json_t *added, size_t *bytes)
{
    const char *key;
    json_t *value;
    const json_t *entry;
    size_t i;
    v->size = json_object_size(ids);
    *bytes = 1;
    json_object_foreach((json_t *)ids, key, value)
    {
        const size_t n = strlen(key);
        v->longest = n > v->longest ? n : v->longest;
        *bytes += n;
    }
    json_array_foreach((json_t *)added, i, entry)
    {
        const json_t *content = json_object_get(entry, "content");
        *bytes += json_string_length(content);
        v->size += find(ids, text_of(content)) == NULL;
    }
}

static status fill(vocabulary *v, const json_t *ids, const json_t *added)
{
    size_t bytes, used = 0;
    measure(v, ids, added, &bytes);
    if (v->size > MOST)
        return status_fail("it has %zu tokens, at most %d are read" AGAIN, v->size, MOST);
    v->added_count = json_array_size(added);
    v->tokens = memory_array(v->size + 1, sizeof *v->tokens);
    v->bytes = memory_array(bytes, 1);
    v->added = memory_array(v->added_count + 1, sizeof *v->added);
    v->key = memory_array(v->longest + 1, 1);
    json_t *names = names_of(added);
    status s = NULL;
    if (!v->tokens || !v->bytes || !v->added || !v->key || !names)
        s = memory_failed("the tokens");
    else if (json_object_size(names) != v->added_count)
        s = "an added token is there twice" AGAIN;
    if (!s)
        s = put_ids(v, ids, names, &used);
    json_decref(names);
    if (!s)
        s = put_added(v, ids, added, &used);
    return s ? s : find_bytes(v, ids);
}

status vocabulary_make(const json_t *ids, const json_t *added, vocabulary *v)
{
    *v = (vocabulary){.end_of_text = id_of(ids, added, "<|endoftext|>")};
    return fill(v, ids, added);
}

void vocabulary_free(vocabulary *v)
{
    memory_free(v->tokens);
    memory_free(v->bytes);
    memory_free(v->merges);
    memory_free(v->by_parts);
    memory_free(v->added);
    memory_free(v->key);
}

// ---- The merges ----

status vocabulary_expect_merges(vocabulary *v, size_t count)
{
    if (count > MOST)
        return status_fail("it has %zu merges, at most %d are read" AGAIN, count, MOST);
    for (v->slots = 1; v->slots < 2 * count + 1;)
        v->slots *= 2;
    v->merges = memory_array(count + 1, sizeof *v->merges);
    v->by_parts = memory_array(v->slots, sizeof *v->by_parts);
    if (!v->merges || !v->by_parts)
        return memory_failed("the merges");
    for (size_t i = 0; i < v->slots; i++)
        v->by_parts[i] = NONE;
    return NULL;
}

// The slot that holds the rank of this merge, or the free one where it belongs.
static int *slot_of(const vocabulary *v, int left, int right)
{
    uint64_t hash =
        ((uint64_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u; // 2^64 / golden ratio
    for (size_t at = (hash >> 32) & (v->slots - 1);; at = (at + 1) & (v->slots - 1)) {
        int rank = v->by_parts[at];
        if (rank == NONE || (v->merges[rank].left == left && v->merges[rank].right == right))
            return &v->by_parts[at];
    }
}

int vocabulary_rank(const vocabulary *v, int left, int right)
{
    return *slot_of(v, left, right);
}

static status unknown_token(span s)
{
    return status_fail("\"%.*s\" is not in the vocabulary" TOGETHER,
                       (int)(s.end - s.at < 64 ? s.end - s.at : 64), s.at);
}

// What both parts make, looked up by its spelling.
static const json_t *find_made(vocabulary *v, const json_t *ids, span left, span right)
{
    const size_t n = (size_t)(left.end - left.at), m = (size_t)(right.end - right.at);
    if (n + m > v->longest)
        return NULL;
    memcpy(v->key, left.at, n);
    memcpy(v->key + n, right.at, m);
    return json_object_getn(ids, v->key, n + m);
}

status vocabulary_add_merge(vocabulary *v, const json_t *ids, span left, span right)
{
    const json_t *l = find(ids, left), *r = find(ids, right);
    if (!l || !r)
        return unknown_token(l ? right : left);
    const json_t *made = find_made(v, ids, left, right);
    if (!made)
        return status_fail(
            "what it makes of \"%.*s\" and its right part is not in the vocabulary" TOGETHER,
            (int)(left.end - left.at), left.at);
    const vocabulary_merge merge = {(int)json_integer_value(l), (int)json_integer_value(r),
                                    (int)json_integer_value(made)};
    int *slot = slot_of(v, merge.left, merge.right);
    if (*slot != NONE)
        return "the same merge is there already" AGAIN;
    *slot = (int)v->merge_count;
    v->merges[v->merge_count++] = merge;
    return NULL;
}
