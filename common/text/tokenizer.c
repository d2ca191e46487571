// Byte-level BPE as GPT-2 does it (openai/gpt-2, src/encoder.py): a regular expression cuts text
// into words; within a word the neighbours whose merge comes first in merges.txt are joined, until
// none is left. In O(n log n) per word.
#include "common/text/tokenizer.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/size.h"

enum {
    NONE = -1,
    BYTES = 256,           // ids 0-255
    VISIBLE = 188,         // of them, see is_visible
    FIRST_BYTES = 1 << 12, // where the array of all tokens' bytes starts to grow
    MAX_MERGES = 1 << 24,
    MAX_TEXT = 1 << 29, // bytes: three candidates for each still count in an int
};

#define REFETCH ": fetch the GPT-2's file again"

static const char end_of_text[] = "<|endoftext|>";

typedef struct pair {
    int left, right;
} pair;

struct tokenizer {
    size_t size;     // tokens; the ids follow from the order in which they are added
    char *bytes;     // of all tokens, one after another
    size_t capacity; // of bytes
    size_t *start;   // (size + 1): token `id` is bytes[start[id]] up to bytes[start[id + 1]]
    pair *parts;     // (size): what a merge joins
    int *by_bytes;   // (slots): id, or NONE in a free slot; open addressing
    int *by_parts;   // (slots): the same for merges alone
    size_t slots;    // a power of two, at least twice as many as tokens
    int byte_id[BYTES];
    pcre2_general_context *memory;
    pcre2_code *pattern;
};

// ---- The tokens ----

// The slot that holds the token of these n bytes, or the free one where it belongs.
static int *slot_of_bytes(const tokenizer *t, const char *bytes, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    for (size_t at = hash & (t->slots - 1);; at = (at + 1) & (t->slots - 1)) {
        int id = t->by_bytes[at];
        if (id == NONE || (t->start[id + 1] - t->start[id] == n &&
                           memcmp(t->bytes + t->start[id], bytes, n) == 0))
            return &t->by_bytes[at];
    }
}

// The slot that holds the token made of left and right, or the free one where it belongs.
static int *slot_of_parts(const tokenizer *t, int left, int right)
{
    uint64_t hash =
        ((uint64_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u; // 2^64 / golden ratio
    for (size_t at = (hash >> 32) & (t->slots - 1);; at = (at + 1) & (t->slots - 1)) {
        int id = t->by_parts[at];
        if (id == NONE || (t->parts[id].left == left && t->parts[id].right == right))
            return &t->by_parts[at];
    }
}

// Room for n more bytes behind those of the last token. Returns where they go, or NULL.
static char *tail(tokenizer *t, size_t n)
{
    size_t used = t->start[t->size];
    if (n > t->capacity - used) {
        size_t capacity = 2 * t->capacity + n;
        char *more = memory_resize(t->bytes, capacity, 1);
        if (!more)
            return NULL;
        t->bytes = more;
        t->capacity = capacity;
    }
    return t->bytes + used;
}

// The n bytes at the tail become the next token.
static status add_token(tokenizer *t, size_t n)
{
    int *slot = slot_of_bytes(t, t->bytes + t->start[t->size], n);
    if (*slot != NONE)
        return "its token is there already" REFETCH;
    *slot = (int)t->size++;
    t->start[t->size] = t->start[t->size - 1] + n;
    return NULL;
}

// GPT-2 writes bytes as visible characters: these as themselves, the others in ascending order as
// U+0100, U+0101, ...
static bool is_visible(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// Ids 0-255: first the visible bytes, then the others.
static status add_bytes(tokenizer *t)
{
    status s = NULL;
    for (int visible = 1; visible >= 0; visible--)
        for (int byte = 0; byte < BYTES && !s; byte++)
            if (is_visible(byte) == visible) {
                t->bytes[t->size] = (char)byte;
                t->byte_id[byte] = (int)t->size;
                s = add_token(t, 1);
            }
    return s;
}

// Makes the empty tables for 256 bytes, so many merges, and the end of text.
static status start_tokens(tokenizer *t, size_t merges)
{
    if (merges == 0 || merges > MAX_MERGES)
        return status_fail("it has %zu merges, not 1 to %d" REFETCH, merges, MAX_MERGES);
    size_t tokens = BYTES + merges + 1;
    for (t->slots = 1; t->slots < 2 * tokens;)
        t->slots *= 2;
    t->start = memory_array(tokens + 1, sizeof *t->start);
    t->parts = memory_array(tokens, sizeof *t->parts);
    t->by_bytes = memory_array(t->slots, sizeof *t->by_bytes);
    t->by_parts = memory_array(t->slots, sizeof *t->by_parts);
    if (!t->start || !t->parts || !t->by_bytes || !t->by_parts || !tail(t, FIRST_BYTES))
        return memory_failed("the tokens");
    for (size_t i = 0; i < t->slots; i++)
        t->by_bytes[i] = t->by_parts[i] = NONE;
    return add_bytes(t);
}

static status add_end_of_text(tokenizer *t)
{
    size_t n = strlen(end_of_text);
    char *bytes = tail(t, n);
    if (!bytes)
        return memory_failed("the tokens");
    memcpy(bytes, end_of_text, n);
    return add_token(t, n)
               ? status_fail("a merge makes %s, which no merge may" REFETCH, end_of_text)
               : NULL;
}

// ---- Reading merges ----

typedef struct span {
    const char *at, *end;
} span;

// Takes one character of GPT-2's alphabet off the front: the byte it stands for, or NONE if it is
// not of that alphabet.
static int take_byte(const tokenizer *t, span *s)
{
    int c = (unsigned char)*s->at++;
    if (c >= 0xC2 && c <= 0xC5 && s->at < s->end && ((unsigned char)*s->at & 0xC0) == 0x80)
        c = (c & 0x1F) << 6 |
            ((unsigned char)*s->at++ & 0x3F); // UTF-8 of two bytes: U+0080 to U+017F
    else if (c >= 0x80)
        return NONE;
    if (c < BYTES)
        return is_visible(c) ? c : NONE;
    c += VISIBLE - BYTES; // U+0100 stands for the first byte that is not visible, and so on
    return c < BYTES ? (unsigned char)t->bytes[c] : NONE;
}

// Writes the bytes that s spells to `out`. Returns their number, 0 if s is not spelled in the
// alphabet.
static size_t unspell(const tokenizer *t, span s, char *out)
{
    size_t n = 0;
    while (s.at < s.end) {
        int byte = take_byte(t, &s);
        if (byte == NONE)
            return 0;
        out[n++] = (char)byte;
    }
    return n;
}

static status add_merge(tokenizer *t, span left, span right)
{
    char *bytes = tail(t, (size_t)(left.end - left.at) + (size_t)(right.end - right.at));
    if (!bytes)
        return memory_failed("the tokens");
    size_t n = unspell(t, left, bytes), m = unspell(t, right, bytes + n);
    if (n == 0 || m == 0)
        return "not two tokens in GPT-2's alphabet" REFETCH;
    pair parts = {*slot_of_bytes(t, bytes, n), *slot_of_bytes(t, bytes + n, m)};
    if (parts.left == NONE || parts.right == NONE)
        return "it joins what no earlier merge makes" REFETCH;
    *slot_of_parts(t, parts.left, parts.right) = (int)t->size;
    t->parts[t->size] = parts;
    return add_token(t, n + m);
}

// "a b", as in a line of merges.txt.
static status add_spelled_merge(tokenizer *t, span line)
{
    if (line.at == line.end)
        return "a blank line" REFETCH;
    if (line.end[-1] == '\r')
        return "the line ends in CR LF: convert the file to LF";
    const char *space = memchr(line.at, ' ', (size_t)(line.end - line.at));
    if (!space)
        return "not two tokens with a space between" REFETCH;
    return add_merge(t, (span){line.at, space}, (span){space + 1, line.end});
}

// Lines "a b", each with its end; `line` is the number of the first one.
static status add_merge_lines(tokenizer *t, span text, size_t line)
{
    const size_t shortest = strlen("a b\n"); // a file of blank lines is not to ask for large tables
    size_t lines = 0;
    for (const char *c = text.at; c < text.end; c++)
        lines += *c == '\n';
    status s =
        start_tokens(t, size_min(lines, ((size_t)(text.end - text.at) + shortest - 1) / shortest));
    if (s)
        return s;
    for (const char *stop; text.at < text.end; text.at = stop + 1, line++) {
        stop = memchr(text.at, '\n', (size_t)(text.end - text.at));
        s = stop ? add_spelled_merge(t, (span){text.at, stop})
                 : "has no end, the file was cut short" REFETCH;
        if (s)
            return status_fail("line %zu: %s", line, s);
    }
    return add_end_of_text(t);
}

static status load_merges(tokenizer *t, const char *dir)
{
    static const char version[] = "#version"; // may open the file
    char *text;
    size_t n;
    status s = file_read(dir, "merges.txt", &text, &n);
    if (s)
        return s;
    const char *first_end = memchr(text, '\n', n), *end = text + n;
    if (first_end && strncmp(text, version, strlen(version)) == 0)
        s = add_merge_lines(t, (span){first_end + 1, end}, 2);
    else
        s = add_merge_lines(t, (span){text, end}, 1);
    if (s)
        s = status_fail("%s/merges.txt: %s", dir, s);
    memory_free(text);
    return s;
}

// ---- Reading JSON ----

static span json_span(const json_t *string)
{
    const char *at = json_string_value(string);
    return (span){at, at + json_string_length(string)};
}

// "a b", or ["a","b"] as newer files have it.
static bool is_json_merge(const json_t *merge)
{
    return json_is_string(merge) ||
           (json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
            json_is_string(json_array_get(merge, 1)));
}

static status add_json_merge(tokenizer *t, const json_t *merge)
{
    if (!is_json_merge(merge))
        return "neither \"a b\" nor [\"a\",\"b\"]" REFETCH;
    if (json_is_string(merge))
        return add_spelled_merge(t, json_span(merge));
    return add_merge(t, json_span(json_array_get(merge, 0)), json_span(json_array_get(merge, 1)));
}

static status add_json_merges(tokenizer *t, const json_t *merges)
{
    size_t count =
        0; // up to the first that is none: a list of other things is not to ask for large tables
    while (count < json_array_size(merges) && is_json_merge(json_array_get(merges, count++)))
        ;
    status s = start_tokens(t, count);
    for (size_t i = 0; !s && i < json_array_size(merges); i++) {
        s = add_json_merge(t, json_array_get(merges, i));
        if (s)
            s = status_fail("merge %zu: %s", i, s);
    }
    return s ? s : add_end_of_text(t);
}

static bool spells(const tokenizer *t, span key, size_t id)
{
    size_t at = t->start[id];
    while (key.at < key.end && at < t->start[id + 1])
        if (take_byte(t, &key) != (unsigned char)t->bytes[at++])
            return false;
    return key.at == key.end && at == t->start[id + 1];
}

// The ids follow from the merges: whoever wrote the vocabulary must agree.
static status check_vocabulary(const tokenizer *t, json_t *vocabulary)
{
    const char *key;
    json_t *value;
    if (json_object_size(vocabulary) != t->size)
        return status_fail(
            "%zu tokens in the vocabulary, but the merges make %zu: fetch both again",
            json_object_size(vocabulary), t->size);
    json_object_foreach(vocabulary, key, value)
    {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value))
            return "an id in the vocabulary is not a whole number: fetch the file again";
        if (id < 0 || (size_t)id >= t->size ||
            !spells(t, (span){key, key + strlen(key)}, (size_t)id))
            return status_fail("id %" JSON_INTEGER_FORMAT
                               " in the vocabulary is another token than by the merges: "
                               "fetch both again",
                               id);
    }
    return NULL;
}

static status check_vocab_json(const tokenizer *t, const char *dir)
{
    json_t *root;
    status s = file_read_json(dir, "vocab.json", &root);
    if (s)
        return s;
    s = check_vocabulary(t, root);
    if (s)
        s = status_fail("%s/vocab.json: %s", dir, s);
    json_decref(root);
    return s;
}

static status load_tokenizer_json(tokenizer *t, const char *dir)
{
    json_t *root;
    status s = file_read_json(dir, "tokenizer.json", &root);
    if (s)
        return s;
    const json_t *model = json_object_get(root, "model");
    json_t *vocabulary = json_object_get(model, "vocab");
    s = add_json_merges(t, json_object_get(model, "merges"));
    if (!s && vocabulary)
        s = check_vocabulary(t, vocabulary);
    if (s)
        s = status_fail("%s/tokenizer.json: %s", dir, s);
    json_decref(root);
    return s;
}

static status load_files(tokenizer *t, const char *dir)
{
    if (!file_exists(dir, "merges.txt")) {
        if (file_exists(dir, "tokenizer.json"))
            return load_tokenizer_json(t, dir);
        return status_fail(
            "%s: neither merges.txt nor tokenizer.json is there: name a GPT-2's directory", dir);
    }
    status s = load_merges(t, dir);
    return s || !file_exists(dir, "vocab.json") ? s : check_vocab_json(t, dir);
}

// ---- Cutting text into words ----

// White_Space of Unicode. PCRE2's own \s would add U+180E, which GPT-2's does not have.
#define SPACE                                                                                      \
    "\\t-\\r\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}" \
    "\\x{3000}"

static const char words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+"
    "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

static void *pcre_allocate(size_t n, void *unused)
{
    (void)unused;
    return memory_array(n, 1);
}

static void pcre_free(void *p, void *unused)
{
    (void)unused;
    memory_free(p);
}

static status pcre_failed(int code)
{
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(code, why, sizeof why);
    return status_fail("PCRE2 cannot cut text into words: %s", (char *)why);
}

static status compile_words(tokenizer *t)
{
    int code;
    size_t where;
    t->memory = pcre2_general_context_create(pcre_allocate, pcre_free, NULL);
    if (!t->memory)
        return memory_failed("the tokenizer");
    pcre2_compile_context *context = pcre2_compile_context_create(t->memory);
    if (!context)
        return memory_failed("the tokenizer");
    t->pattern = pcre2_compile((PCRE2_SPTR)words, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                               &code, &where, context);
    pcre2_compile_context_free(context);
    if (!t->pattern)
        return pcre_failed(code);
    pcre2_jit_compile(t->pattern,
                      PCRE2_JIT_COMPLETE); // a wish: without it the same words come slower
    return NULL;
}

// ---- Encoding ----

// A part of a word, kept at the index of its first byte.
typedef struct symbol {
    int id;             // NONE: joined to the one before
    int previous, next; // NONE: at the word's end
} symbol;

// A place where two symbols can be joined, in the list of the merge that does it.
typedef struct candidate {
    int left; // the first of the two
    int next; // candidate, or NONE
} candidate;

typedef struct encoder {
    const tokenizer *t;
    pcre2_match_data *match;
    size_t capacity;       // bytes in the longest word so far
    symbol *word;          // (capacity)
    candidate *candidates; // (3 capacity): one for each two neighbours, and two at most for each
                           // merge done
    int used;              // of candidates
    int *list;             // (tokens): the first candidate of each merge, or NONE
    int *heap;             // (tokens): the merges that have candidates, the smallest id on top
    size_t waiting;        // of heap
    int *ids;              // (bytes of text)
    size_t count;          // of ids
} encoder;

static void push(encoder *e, int id)
{
    size_t at = e->waiting++;
    for (; at > 0 && id < e->heap[(at - 1) / 2]; at = (at - 1) / 2)
        e->heap[at] = e->heap[(at - 1) / 2];
    e->heap[at] = id;
}

static int pop(encoder *e)
{
    int *heap = e->heap, first = heap[0], last = heap[--e->waiting];
    size_t at = 0;
    for (size_t child = 1; child < e->waiting; child = 2 * at + 1) {
        child += heap[child + 1] <
                 heap[child]; // at the end heap[child + 1] is `last`, still there: no harm
        if (last <= heap[child])
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

// If the symbol at `left` can be joined to the next one, that becomes a candidate.
static void offer(encoder *e, int left)
{
    if (left == NONE || e->word[left].next == NONE)
        return;
    int id = *slot_of_parts(e->t, e->word[left].id, e->word[e->word[left].next].id);
    if (id == NONE)
        return;
    if (e->list[id] == NONE)
        push(e, id);
    e->candidates[e->used] = (candidate){left, e->list[id]};
    e->list[id] = e->used++;
}

// Whether the symbol at `left` and the next one are the parts of `id`. They were when offered, but
// either may have been joined since.
static bool fits(const encoder *e, int id, int left)
{
    const symbol *l = &e->word[left];
    pair parts = e->t->parts[id];
    return l->id == parts.left && l->next != NONE && e->word[l->next].id == parts.right;
}

static void join(encoder *e, int id, int left)
{
    symbol *l = &e->word[left], *r = &e->word[l->next];
    r->id = NONE;
    l->id = id;
    l->next = r->next;
    if (l->next != NONE)
        e->word[l->next].previous = left;
    offer(e, l->previous);
    offer(e, left);
}

// Joins here and, where equal symbols stand in a row ("aaaa"), in the whole row from its left end,
// as GPT-2 does.
static void join_row(encoder *e, int id, int left)
{
    if (!fits(e, id, left))
        return;
    while (e->word[left].previous != NONE && fits(e, id, e->word[left].previous))
        left = e->word[left].previous;
    for (; left != NONE && fits(e, id, left); left = e->word[left].next)
        join(e, id, left);
}

// A merge makes candidates only for later merges, because the lines of merges.txt build on earlier
// ones: each list is whole when its turn comes.
static void join_all(encoder *e)
{
    while (e->waiting > 0) {
        int id = pop(e);
        for (int i = e->list[id]; i != NONE; i = e->candidates[i].next)
            join_row(e, id, e->candidates[i].left);
        e->list[id] = NONE;
    }
    e->used = 0;
}

static status make_word_room(encoder *e, size_t n)
{
    if (n <= e->capacity)
        return NULL;
    memory_free(e->word);
    memory_free(e->candidates);
    e->capacity = n;
    e->word = memory_array(n, sizeof *e->word);
    e->candidates = memory_array(n, 3 * sizeof *e->candidates);
    return e->word && e->candidates ? NULL : memory_failed("the longest word of the text");
}

static status encode_word(encoder *e, const char *bytes, size_t n)
{
    status s = make_word_room(e, n);
    if (s)
        return s;
    for (size_t i = 0; i < n; i++)
        e->word[i] = (symbol){e->t->byte_id[(unsigned char)bytes[i]], (int)i - 1,
                              i + 1 < n ? (int)i + 1 : NONE};
    for (size_t i = n; i-- > 0;) // the last one comes first into its list, and out of it last
        offer(e, (int)i);
    join_all(e);
    for (int i = 0; i != NONE; i = e->word[i].next)
        e->ids[e->count++] = e->word[i].id;
    return NULL;
}

// The words of n bytes of valid UTF-8. The check is paid once per run, not once per word, where it
// would be quadratic.
static status encode_valid(encoder *e, const char *text, size_t n)
{
    status s = NULL;
    for (size_t at = 0; !s && at < n; at = pcre2_get_ovector_pointer(e->match)[1]) {
        int code =
            pcre2_match(e->t->pattern, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, e->match, NULL);
        if (code < 0)
            return pcre_failed(code);
        s = encode_word(e, text + at, pcre2_get_ovector_pointer(e->match)[1] - at);
    }
    return s;
}

// The longest run of valid UTF-8 at the front of n > 0 bytes, or, if there is none, one byte as a
// word of its own.
static status encode_run(encoder *e, const char *text, size_t n, size_t *length)
{
    size_t valid = n;
    int code = pcre2_match(e->t->pattern, (PCRE2_SPTR)text, n, 0, 0, e->match, NULL);
    if (code <= PCRE2_ERROR_UTF8_ERR1 && code >= PCRE2_ERROR_UTF8_ERR21)
        valid = pcre2_get_startchar(e->match);
    else if (code < 0)
        return pcre_failed(code);
    *length = valid > 0 ? valid : 1;
    return valid > 0 ? encode_valid(e, text, valid) : encode_word(e, text, 1);
}

// ---- The interface ----

status tokenizer_load(const char *dir, tokenizer **out)
{
    *out = NULL;
    tokenizer *t = memory_array(1, sizeof *t);
    if (!t)
        return memory_failed("the tokenizer");
    status s = compile_words(t);
    if (!s)
        s = load_files(t, dir);
    if (s)
        tokenizer_free(t);
    else
        *out = t;
    return s;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    pcre2_code_free(t->pattern);
    pcre2_general_context_free(t->memory);
    memory_free(t->bytes);
    memory_free(t->start);
    memory_free(t->parts);
    memory_free(t->by_bytes);
    memory_free(t->by_parts);
    memory_free(t);
}

size_t tokenizer_size(const tokenizer *t)
{
    return t->size;
}

int tokenizer_end_of_text(const tokenizer *t)
{
    return (int)t->size - 1;
}

static status open_encoder(encoder *e, const tokenizer *t, size_t n)
{
    *e = (encoder){.t = t};
    e->match = pcre2_match_data_create_from_pattern(t->pattern, t->memory);
    e->list = memory_array(t->size, sizeof *e->list);
    e->heap = memory_array(t->size, sizeof *e->heap);
    e->ids = memory_array(n, sizeof *e->ids);
    if (!e->match || !e->list || !e->heap || !e->ids)
        return memory_failed("the ids of the text");
    for (size_t id = 0; id < t->size; id++)
        e->list[id] = NONE;
    return NULL;
}

// All but the ids.
static void close_encoder(encoder *e)
{
    pcre2_match_data_free(e->match);
    memory_free(e->word);
    memory_free(e->candidates);
    memory_free(e->list);
    memory_free(e->heap);
}

status tokenizer_encode(const tokenizer *t, const char *text, size_t n, int **ids, size_t *count)
{
    encoder e;
    *ids = NULL;
    *count = 0;
    if (n > MAX_TEXT)
        return status_fail("the text has %zu bytes, the most is %d: split it", n, MAX_TEXT);
    status s = open_encoder(&e, t, n);
    for (size_t at = 0, length = 0; !s && at < n; at += length)
        s = encode_run(&e, text + at, n - at, &length);
    close_encoder(&e);
    if (s) {
        memory_free(e.ids);
        return s;
    }
    *ids = e.ids;
    *count = e.count;
    return NULL;
}

const char *tokenizer_decode(const tokenizer *t, int id, size_t *length)
{
    bool known = id >= 0 && (size_t)id < t->size;
    *length = known ? t->start[id + 1] - t->start[id] : 0;
    return known ? t->bytes + t->start[id] : NULL;
}
