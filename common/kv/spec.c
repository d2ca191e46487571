// Specs read from text and written as text.
#include "common/kv/spec.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/input.h"
#include "common/base/size.h"
#include "common/model/config.h"
#include "common/number/panels.h"

enum { ABOUT_A_SPEC = 96 + KV_DIR }; // characters of a spec that a message repeats

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
    if (!input_whole(w.text, w.length, CONFIG_LARGEST, &value))
        return false;
    *out = (size_t)value;
    return true;
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

// "R+H".
static status parse_heavy(word numbers, kv_spec *spec)
{
    const char *plus = memchr(numbers.text, '+', numbers.length);
    const size_t length = plus ? (size_t)(plus - numbers.text) : 0;
    spec->keep = KV_HEAVY;
    if (plus && whole((word){numbers.text, length}, &spec->recent) && spec->recent > 0 &&
        whole((word){plus + 1, numbers.length - length - 1}, &spec->heavy))
        return NULL;
    return status_fail("'heavy:%.*s': give the last rows that are kept, at least 1, and how many "
                       "others, as in heavy:128+128",
                       (int)numbers.length, numbers.text);
}

// "DIR" or "DIR:MIB". A colon in front of anything but digits is part of DIR.
static status parse_file(word place, kv_spec *spec)
{
    word dir = place, mib = {place.text + place.length, 0};
    while (mib.text > place.text && mib.text[-1] >= '0' && mib.text[-1] <= '9')
        mib = (word){mib.text - 1, mib.length + 1};
    const bool limited = mib.length > 0 && mib.text > place.text && mib.text[-1] == ':';
    if (limited)
        dir.length -= mib.length + 1;
    if (dir.length == 0 || dir.length >= KV_DIR ||
        (limited && !(whole(mib, &spec->resident) && spec->resident > 0)))
        return status_fail("'file:%.*s': give a directory of fewer than %d characters, without a "
                           "comma, and the MiB of its pages that may be in memory, at least 1, as "
                           "in file:/var/tmp:64",
                           (int)place.length, place.text, KV_DIR);
    spec->resident = size_times(spec->resident, 1 << 20);
    memcpy(spec->dir, dir.text, dir.length);
    return NULL;
}

static const char *const FORM_WORDS[] = {
    [KV_F32] = "f32", [KV_F16] = "f16", [KV_BF16] = "bf16",   [KV_FP8] = "fp8",
    [KV_Q8] = "q8",   [KV_Q4] = "q4",   [KV_KIVI4] = "kivi4", [KV_KIVI2] = "kivi2",
};

const char *kv_form_word(kv_form form)
{
    return FORM_WORDS[form];
}

static bool parse_form(word w, kv_form *out)
{
    word group;
    for (kv_form f = 0; f < KV_FORMS; f++)
        if (is(w, FORM_WORDS[f]) ||
            (f >= KV_KIVI4 && after(w, FORM_WORDS[f], &group) && *group.text == ':')) {
            *out = f;
            return true;
        }
    return false;
}

static bool is_group(size_t n)
{
    return n == 16 || n == 32 || n == 64 || n == 128;
}

// "kivi4" or "kivi4:G"; the other forms have no group.
static status parse_group(word w, kv_spec *spec)
{
    word number;
    const bool kivi = spec->form >= KV_KIVI4,
               given = kivi && after(w, FORM_WORDS[spec->form], &number) && number.length > 0;
    spec->group = kivi ? 32 : 0;
    if (!given)
        return NULL;
    number = (word){number.text + 1, number.length - 1};
    if (whole(number, &spec->group) && is_group(spec->group))
        return NULL;
    return status_fail("'%.*s': a group has 16, 32, 64 or 128 positions, as in kivi4:32",
                       (int)w.length, w.text);
}

// What a spec has said of each of its questions.
typedef struct said {
    bool keep, form, place;
} said;

// A word says something of the keep, of the form or of the place, each of which can be said once.
static status parse_word(word w, kv_spec *spec, said *before)
{
    word rest = {0};
    kv_form form = KV_F32;
    const bool of_form = parse_form(w, &form), of_place = after(w, "file:", &rest);
    const bool window = after(w, "window:", &rest), heavy = after(w, "heavy:", &rest);
    bool *once = of_form ? &before->form : of_place ? &before->place : &before->keep;
    if (!of_form && !of_place && !is(w, "all") && !window && !heavy)
        return status_fail("'%.*s' is no way to keep keys and values: use all, window:W[+S] or "
                           "heavy:R+H, " KV_FORM_WORDS ", and file:DIR[:MIB], as in "
                           "window:256+4,f16",
                           (int)w.length, w.text);
    if (*once)
        return status_fail("'%.*s' is a second word for %s: give one", (int)w.length, w.text,
                           of_form    ? "the form of a row"
                           : of_place ? "the place of pages"
                                      : "the rows that are kept");
    *once = true;
    if (of_form) {
        spec->form = form;
        return parse_group(w, spec);
    }
    if (of_place)
        return parse_file(rest, spec);
    if (heavy)
        return parse_heavy(rest, spec);
    return window ? parse_window(rest, spec) : NULL;
}

status kv_parse(const char *text, kv_spec *out)
{
    said before = {0};
    *out = (kv_spec){0};
    if (strlen(text) > ABOUT_A_SPEC)
        return status_fail("--kv: %zu characters are more than any spec has: see --help",
                           strlen(text));
    for (const char *at = text, *end;; at = end + 1) {
        end = strchr(at, ',') ? strchr(at, ',') : at + strlen(at);
        status s = parse_word((word){at, (size_t)(end - at)}, out, &before);
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
    if (spec->keep == KV_HEAVY && spec->dir[0])
        return status_fail("heavy keeps single rows, not pages, which a file could hold: leave out "
                           "file:%s, or use all or window",
                           spec->dir);
    if (spec->keep == KV_HEAVY && spec->form >= KV_KIVI4)
        return status_fail("heavy drops single rows, and %s stores keys by groups of them: use "
                           "another form, or all or window",
                           kv_form_word(spec->form));
    if (spec->form >= KV_KIVI4 ? !is_group(spec->group) : spec->group != 0)
        return status_fail("a group of %zu: kivi has one of 16, 32, 64 or 128, other forms none",
                           spec->group);
    if (spec->page > 0 && spec->group > 0 && spec->page % spec->group > 0 &&
        spec->group % spec->page > 0)
        return status_fail("pages of %zu positions and groups of %zu: let one be a multiple of the "
                           "other",
                           spec->page, spec->group);
    if (spec->keep == KV_WINDOW && spec->recent == 0)
        return status_fail("a window of no rows: let each row see its own at least");
    if (spec->keep == KV_HEAVY && spec->recent == 0)
        return status_fail("heavy with no recent row: keep one at least, as in heavy:1+255");
    return NULL;
}

bool kv_is_plain(const kv_spec *spec)
{
    return spec->keep == KV_ALL && spec->form == KV_F32 && !spec->dir[0];
}

const char *kv_name(const kv_spec *spec, char text[KV_NAME])
{
    int n = 0;
    if (spec->keep == KV_WINDOW)
        n = snprintf(text, KV_NAME, "window:%zu", spec->recent);
    if (spec->keep == KV_WINDOW && spec->sinks > 0)
        n += snprintf(text + n, KV_NAME - (size_t)n, "+%zu", spec->sinks);
    if (spec->keep == KV_HEAVY)
        n = snprintf(text, KV_NAME, "heavy:%zu+%zu", spec->recent, spec->heavy);
    if (spec->form != KV_F32)
        n +=
            snprintf(text + n, KV_NAME - (size_t)n, "%s%s", n ? "," : "", kv_form_word(spec->form));
    if (spec->group != 0 && spec->group != 32)
        n += snprintf(text + n, KV_NAME - (size_t)n, ":%zu", spec->group);
    if (spec->dir[0])
        n += snprintf(text + n, KV_NAME - (size_t)n, "%sfile:%s", n ? "," : "", spec->dir);
    if (spec->dir[0] && spec->resident)
        n += snprintf(text + n, KV_NAME - (size_t)n, ":%zu", spec->resident >> 20);
    if (n == 0)
        snprintf(text, KV_NAME, "all");
    return text;
}

const char *kv_name_in_memory(const kv_spec *spec, char text[KV_NAME])
{
    kv_spec in_memory = *spec;
    in_memory.dir[0] = '\0';
    return kv_name(&in_memory, text);
}
