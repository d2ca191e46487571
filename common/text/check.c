// What was understood of a tokenizer, for a user who wants to know before trusting it.
#include "common/text/check.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/file/file.h"
#include "common/generate/ends.h"
#include "common/model/model.h"
#include "common/text/tokenizer.h"
#include "common/text/tokenizer_files.h"

// Texts of each kind that a tokenizer has got wrong somewhere.
static const char *const TEXTS[] = {
    "Hello, world! It's 2024: they'll pay $3.50, won't they?",
    " a leading space, two  spaces, and one behind ",
    "\t\ttabs\r\nand\n\n\nline ends\n",
    "camelCase snake_case CONSTANT 1234567890 3.14e-5 0xFF",
    "\xC3\x84rger, na\xC3\xAFve, \xC5\x81\xC3\xB3"
    "d\xC5\xBA, \xC3\xA9t\xC3\xA9 e\xCC\x81",
    "\xE6\xBC\xA2\xE5\xAD\x97\xE3\x81\x8B\xE3\x81\xAA\xE3\x80\x80\xED\x95\x9C\xEA\xB5\xAD",
    "\xD8\xA7\xD9\x84\xD8\xB9\xD8\xB1\xD8\xA8\xD9\x8A\xD8\xA9 "
    "\xD7\xA2\xD7\x91\xD7\xA8\xD7\x99\xD7\xAA "
    "\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\x82",
    "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB \xF0\x9F\x87\xA9\xF0\x9F\x87\xAA "
    "\xE2\x82\xAC\xC2\xBD",
    "\xC2\xA0no-break\xE2\x80\xA8line\xEF\xBB\xBFmark\xC2\x85next",
    "<|endoftext|>",
    "int main(void)\n{\n    return 0; /* {}[]()<>;:'\" */\n}\n",
    "\xFF\xFE not \x80 UTF-8 \xC3",
    "",
};

enum { TEXT_COUNT = sizeof TEXTS / sizeof *TEXTS, EVERY_BYTE = 256, SHOWN = 8 };

// Takes the bytes of the ids off `text`; true if they are all of it. Where the tokenizer puts a
// space before a piece, one more is allowed there.
static bool comes_back(const tokenizer *t, const int *ids, size_t count, const char *text, size_t n)
{
    const bool spaced = tokenizer_about(t)->prefix_space;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length, skip = 0;
        const char *bytes = tokenizer_decode(t, ids[i], &length);
        if (!bytes)
            return false;
        if (spaced && bytes[0] == ' ' && (at == n || text[at] != ' '))
            skip = 1;
        if (length - skip > n - at || memcmp(bytes + skip, text + at, length - skip) != 0)
            return false;
        at += length - skip;
    }
    return at == n;
}

status check_round_trip(const tokenizer *t, const char *what, const char *text, size_t n)
{
    int *ids;
    size_t count;
    status s = tokenizer_encode(t, text, n, &ids, &count);
    if (s)
        return s;
    if (!comes_back(t, ids, count, text, n))
        s = status_fail("%s: its ids do not decode to it: report this tokenizer", what);
    memory_free(ids);
    return s;
}

// Every text, every byte, and every token by itself (which may be cut otherwise, but comes back).
static status check_texts(const tokenizer *t, FILE *f)
{
    status s = NULL;
    char what[64], bytes[EVERY_BYTE];
    for (size_t i = 0; !s && i < TEXT_COUNT; i++) {
        snprintf(what, sizeof what, "built-in text %zu", i + 1);
        s = check_round_trip(t, what, TEXTS[i], strlen(TEXTS[i]));
    }
    for (size_t i = 0; i < EVERY_BYTE; i++)
        bytes[i] = (char)i;
    if (!s)
        s = check_round_trip(t, "the text of all bytes", bytes, sizeof bytes);
    for (size_t id = 0; !s && id < tokenizer_size(t); id++) {
        size_t n;
        const char *text = tokenizer_decode(t, (int)id, &n);
        snprintf(what, sizeof what, "the text of token %zu", id);
        s = check_round_trip(t, what, text, n);
    }
    if (!s)
        fprintf(f, "round trip:    %d texts, all 256 bytes, and each of the %zu tokens come back\n",
                TEXT_COUNT, tokenizer_size(t));
    return s;
}

static void print_added(const tokenizer *t, FILE *f)
{
    const vocabulary *v = &tokenizer_about(t)->v;
    fprintf(f, "added tokens:  %s", v->added_count ? "" : "none is cut out of the text");
    for (size_t i = 0; i < v->added_count && i < SHOWN; i++) {
        size_t n;
        const char *bytes = tokenizer_decode(t, v->added[i].id, &n);
        fprintf(f, "%s%.*s = %d", i ? ", " : "", (int)n, bytes, v->added[i].id);
    }
    fprintf(f, "%s\n", v->added_count > SHOWN ? ", ..." : "");
}

static void print_rules(const tokenizer *t, FILE *f)
{
    const tokenizer_rules *rules = tokenizer_about(t);
    fprintf(f, "files:         %s\n", rules->files);
    fprintf(f, "tokens:        %zu, of them 256 bytes; %zu merges\n", tokenizer_size(t),
            rules->v.merge_count);
    print_added(t, f);
    fprintf(f, "words:         GPT-2's pattern%s\n",
            rules->prefix_space ? ", a space before each piece (add_prefix_space)" : "");
}

static status print_ends(const tokenizer *t, const char *dir, FILE *f)
{
    ends e;
    status s = ends_read(dir, tokenizer_end_of_text(t), &e);
    if (s)
        return s;
    fprintf(f, "a text ends:   %s", e.n ? "at id " : "never");
    for (size_t i = 0; i < e.n; i++)
        fprintf(f, "%s%d%s", i ? ", " : "", e.ids[i],
                (size_t)e.ids[i] < tokenizer_size(t) ? "" : " (not a token: never)");
    fprintf(f, "\n");
    return NULL;
}

// A directory may hold a tokenizer alone.
static status print_fit(const tokenizer *t, const char *dir, FILE *f)
{
    config c;
    if (!file_exists(dir, "config.json")) {
        fprintf(f, "model:         none here (no config.json)\n");
        return NULL;
    }
    size_t bytes;
    status s = model_peek(dir, MODEL_AS_STORED, &c, &bytes);
    if (!s)
        s = tokenizer_fits(t, dir, c.V);
    if (!s)
        fprintf(f, "model:         fits its %zu rows of wte%s\n", c.V,
                c.V > tokenizer_size(t) ? ", of which those beyond the tokens are never chosen"
                                        : "");
    return s;
}

status check_tokenizer(const char *dir, FILE *f)
{
    tokenizer *t;
    status s = tokenizer_load(dir, &t);
    if (s)
        return s;
    print_rules(t, f);
    s = print_ends(t, dir, f);
    if (!s)
        s = print_fit(t, dir, f);
    if (!s)
        s = check_texts(t, f);
    tokenizer_free(t);
    return s;
}
