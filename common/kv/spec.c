// Specs read from text and written as text.
#include "common/kv/spec.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/input.h"
#include "common/model/panels.h"

enum { ABOUT_A_SPEC = 160 }; // characters of a spec that a message repeats

// One word of a spec: `length` characters of text.
typedef struct word {
    const char *text;
    size_t length;
} word;

static bool is(word w, const char *name)
{
    return w.length == strlen(name) && memcmp(w.text, name, w.length) == 0;
}

// What stands behind "name:" in w; false if it is another word.
static bool after(word w, const char *name, word *rest)
{
    const size_t n = strlen(name);
    if (w.length < n || memcmp(w.text, name, n) != 0)
        return false;
    *rest = (word){w.text + n, w.length - n};
    return true;
}

static bool whole(word w, size_t *out)
{
    uint64_t value;
    bool read = input_whole(w.text, w.length, CONFIG_LARGEST, &value);
    *out = (size_t)value;
    return read;
}

// "W" or "W+S".
static status parse_window(word numbers, kv_spec *spec)
{
    const char *plus = memchr(numbers.text, '+', numbers.length);
    word recent = numbers, sinks = {"0", 1};
    if (plus) {
        recent.length = (size_t)(plus - numbers.text);
        sinks = (word){plus + 1, numbers.length - recent.length - 1};
    }
    spec->keep = KV_WINDOW;
    if (whole(recent, &spec->recent) && whole(sinks, &spec->sinks) && spec->recent > 0)
        return NULL;
    return status_fail("'window:%.*s': give the rows that are seen, at least 1, and the first ones "
                       "that always are, as in window:256 or window:256+4",
                       (int)numbers.length, numbers.text);
}

// A word says something of the keep or of the form, each of which can be said once.
static status parse_word(word w, kv_spec *spec, bool *kept, bool *formed)
{
    word rest = {0};
    const bool of_form = is(w, "f32") || is(w, "f16");
    bool *said = of_form ? formed : kept;
    if (!of_form && !is(w, "all") && !after(w, "window:", &rest))
        return status_fail("'%.*s' is no way to keep keys and values: use all or window:W[+S], and "
                           "f32 or f16, as in window:256+4,f16",
                           (int)w.length, w.text);
    if (*said)
        return status_fail("'%.*s' is a second word for %s: give one", (int)w.length, w.text,
                           of_form ? "the form of a row" : "the rows that are kept");
    *said = true;
    if (of_form)
        spec->form = is(w, "f16") ? KV_F16 : KV_F32;
    return of_form || is(w, "all") ? NULL : parse_window(rest, spec);
}

status kv_parse(const char *text, const config *c, kv_spec *out)
{
    bool kept = false, formed = false;
    *out = (kv_spec){0};
    (void)c;
    if (strlen(text) > ABOUT_A_SPEC)
        return status_fail("--kv: %zu characters are more than any spec has: see --help",
                           strlen(text));
    for (const char *at = text, *end;; at = end + 1) {
        end = strchr(at, ',') ? strchr(at, ',') : at + strlen(at);
        status s = parse_word((word){at, (size_t)(end - at)}, out, &kept, &formed);
        if (s)
            return status_fail("--kv %s: %s", text, s);
        if (*end == '\0')
            return kv_check(out);
    }
}

status kv_check(const kv_spec *spec)
{
    if (spec->page % LANES != 0)
        return status_fail("a page of %zu positions: use a multiple of %d", spec->page, LANES);
    if (spec->keep == KV_WINDOW && spec->recent == 0)
        return status_fail("a window of no rows: let each row see its own at least");
    return NULL;
}

bool kv_is_plain(const kv_spec *spec)
{
    return spec->keep == KV_ALL && spec->form == KV_F32;
}

const char *kv_name(const kv_spec *spec, char text[KV_NAME])
{
    int n = 0;
    if (spec->keep == KV_WINDOW)
        n = snprintf(text, KV_NAME, "window:%zu", spec->recent);
    if (spec->keep == KV_WINDOW && spec->sinks > 0)
        n += snprintf(text + n, KV_NAME - (size_t)n, "+%zu", spec->sinks);
    if (spec->form == KV_F16)
        n += snprintf(text + n, KV_NAME - (size_t)n, "%sf16", n ? "," : "");
    if (n == 0)
        snprintf(text, KV_NAME, "all");
    return text;
}
