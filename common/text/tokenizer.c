// Byte-level BPE as GPT-2 does it (openai/gpt-2, src/encoder.py): added tokens are cut out of the
// text first, a regular expression cuts the rest into words, and bpe.c turns each into tokens.
#include "common/text/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/base/memory.h"
#include "common/text/bpe.h"
#include "common/text/tokenizer_files.h"

enum { MAX_TEXT = 1 << 29 }; // bytes: twice as many ids still count in an int

struct tokenizer {
    tokenizer_rules rules;
    size_t early; // added tokens that are looked for first: rules.v.added[0 .. early - 1]
    pcre2_general_context *memory;
    pcre2_code *pattern;
};

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
    // Without it the same words come slower.
    pcre2_jit_compile(t->pattern, PCRE2_JIT_COMPLETE);
    return NULL;
}

// ---- Encoding ----

typedef struct encoder {
    const tokenizer *t;
    pcre2_match_data *match;
    bpe bpe;
    int *ids;  // (as many as there can be)
    int *next; // the first free one
} encoder;

static status encode_word(encoder *e, const char *bytes, size_t n)
{
    return bpe_encode(&e->bpe, bytes, n, e->next, &e->next);
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

static status encode_runs(encoder *e, const char *text, size_t n)
{
    status s = NULL;
    for (size_t at = 0, length = 0; !s && at < n; at += length)
        s = encode_run(e, text + at, n - at, &length);
    return s;
}

// A piece without added tokens, n > 0 bytes, with a space before it where the files ask for one.
static status encode_piece(encoder *e, const char *text, size_t n)
{
    if (!e->t->rules.prefix_space || text[0] == ' ')
        return encode_runs(e, text, n);
    char *spaced = memory_array(n + 1, 1);
    if (!spaced)
        return memory_failed("the text");
    spaced[0] = ' ';
    memcpy(spaced + 1, text, n);
    status s = encode_runs(e, spaced, n + 1);
    memory_free(spaced);
    return s;
}

// ---- Added tokens ----

// The first of the added tokens [first, end), which are sorted and equal before byte k, that has a
// byte k of at least `least`.
static size_t first_from(const vocabulary *v, size_t first, size_t end, size_t k, int least)
{
    while (first < end) {
        const size_t middle = first + (end - first) / 2;
        const span bytes = v->added[middle].bytes;
        if (bytes.at + k == bytes.end || (unsigned char)bytes.at[k] < least)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

// The longest added token, early or late, at the front of n bytes; NULL if there is none. Byte by
// byte, fewer of them are left.
static const vocabulary_added *added_at(const tokenizer *t, bool late, const char *text, size_t n)
{
    const vocabulary *v = &t->rules.v;
    const vocabulary_added *longest = NULL;
    size_t first = late ? t->early : 0, end = late ? v->added_count : t->early;
    for (size_t k = 0; k < n && first < end; k++) {
        const int byte = (unsigned char)text[k];
        first = first_from(v, first, end, k, byte);
        end = first_from(v, first, end, k, byte + 1);
        if (first < end && v->added[first].bytes.at + k + 1 == v->added[first].bytes.end)
            longest = &v->added[first]; // the shortest of those left stands first
    }
    return longest;
}

static status encode_around(encoder *e, bool late, const char *text, size_t n);

// n bytes that hold no early token, or, if `late`, none at all.
static status encode_between(encoder *e, bool late, const char *text, size_t n)
{
    if (n == 0)
        return NULL;
    return late ? encode_piece(e, text, n) : encode_around(e, true, text, n);
}

// Cuts the added tokens out, from the left, and encodes what is between them: first the early ones,
// then, in what these leave, the late ones.
static status encode_around(encoder *e, bool late, const char *text, size_t n)
{
    size_t from = 0;
    for (size_t at = 0; at < n;) {
        const vocabulary_added *added = added_at(e->t, late, text + at, n - at);
        if (!added) {
            at++;
            continue;
        }
        status s = encode_between(e, late, text + from, at - from);
        if (s)
            return s;
        *e->next++ = added->id;
        from = at += e->t->rules.v.tokens[added->id].n;
    }
    return encode_between(e, late, text + from, n - from);
}

// ---- The interface ----

static status load(const char *dir, tokenizer *t)
{
    status s = compile_words(t);
    if (!s)
        s = tokenizer_rules_read(dir, &t->rules);
    const vocabulary *v = &t->rules.v;
    while (!s && t->early < v->added_count && !v->added[t->early].late)
        t->early++;
    return s;
}

status tokenizer_load(const char *dir, tokenizer **out)
{
    *out = NULL;
    tokenizer *t = memory_array(1, sizeof *t);
    if (!t)
        return memory_failed("the tokenizer");
    status s = load(dir, t);
    if (s)
        tokenizer_free(t);
    else
        *out = t;
    return s;
}

status tokenizer_fits(const tokenizer *t, const char *dir, size_t V)
{
    if (tokenizer_size(t) <= V)
        return NULL;
    return status_fail("%s: the tokenizer (%s) has %zu tokens, but wte in the model's weights has "
                       "only %zu rows: take both from the same model",
                       dir, t->rules.files, tokenizer_size(t), V);
}

status tokenizer_load_for(const model *m, tokenizer **out)
{
    *out = NULL;
    status s = m->synthetic ? NULL : tokenizer_load(m->name, out);
    if (s || m->synthetic)
        return s;
    s = tokenizer_fits(*out, m->name, m->config.V);
    if (s) {
        tokenizer_free(*out);
        *out = NULL;
    }
    return s;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    pcre2_code_free(t->pattern);
    pcre2_general_context_free(t->memory);
    vocabulary_free(&t->rules.v);
    memory_free(t);
}

size_t tokenizer_size(const tokenizer *t)
{
    return t->rules.v.size;
}

int tokenizer_end_of_text(const tokenizer *t)
{
    return t->rules.v.end_of_text;
}

const tokenizer_rules *tokenizer_about(const tokenizer *t)
{
    return &t->rules;
}

// As many ids as there can be: one for each byte, and for a space before each piece.
static status open_encoder(encoder *e, const tokenizer *t, size_t n)
{
    *e = (encoder){.t = t, .bpe = {.v = &t->rules.v}};
    e->match = pcre2_match_data_create_from_pattern(t->pattern, t->memory);
    e->ids = e->next = memory_array(t->rules.prefix_space ? 2 * n : n, sizeof *e->ids);
    return e->match && e->ids ? NULL : memory_failed("the ids of the text");
}

status tokenizer_encode(const tokenizer *t, const char *text, size_t n, int **ids, size_t *count)
{
    encoder e;
    *ids = NULL;
    *count = 0;
    if (n > MAX_TEXT)
        return status_fail("the text has %zu bytes, the most is %d: split it", n, MAX_TEXT);
    status s = open_encoder(&e, t, n);
    if (!s && n > 0)
        s = encode_around(&e, false, text, n);
    pcre2_match_data_free(e.match);
    bpe_free(&e.bpe);
    if (s) {
        memory_free(e.ids);
        return s;
    }
    *ids = e.ids;
    *count = (size_t)(e.next - e.ids);
    return NULL;
}

const char *tokenizer_decode(const tokenizer *t, int id, size_t *length)
{
    *length = 0;
    if (id < 0 || (size_t)id >= tokenizer_size(t))
        return NULL;
    const span bytes = vocabulary_bytes(&t->rules.v, id);
    *length = (size_t)(bytes.end - bytes.at);
    return bytes.at;
}
