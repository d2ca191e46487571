// Subjects read from text: NAME or FILE.so, and behind a colon a spec.
#include "bench/subject/subject.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/subject/plugin.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/size.h"
#include "common/kv/place_file.h"
#include "common/text/utf8.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"

// The decoders that are built in: a further one is one more line.
static const decoder_api *const built_in[] = {&naive_decoder, &kvcache_decoder};
enum { BUILT_IN = sizeof built_in / sizeof *built_in };

// The built-in decoder that text names, NULL for a plug-in's file; and the length of the name: up
// to the end, or to the colon before a spec. A file's name may hold colons too.
static const decoder_api *find_built_in(const char *text, size_t *length)
{
    for (size_t i = 0; i < BUILT_IN; i++) {
        *length = strlen(built_in[i]->name);
        if (strncmp(text, built_in[i]->name, *length) == 0 &&
            (text[*length] == '\0' || text[*length] == ':'))
            return built_in[i];
    }
    const char *end = strstr(text, ".so:");
    *length = end ? (size_t)(end - text) + strlen(".so") : strlen(text);
    return NULL;
}

// "NAME", and ":SPEC" unless that is plain; returns text.
static const char *with_spec(const char *name, const kv_spec *spec, size_t size, char *text)
{
    char words[KV_NAME];
    const bool plain = kv_is_plain(spec);
    snprintf(text, size, "%s%s%s", name, plain ? "" : ":", plain ? "" : kv_name(spec, words));
    return text;
}

// The name of a plug-in that stands beside others goes into tables and CSVs, where it tells whose a
// row is, and onto plots.
static status check_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+";
    enum { LONGEST = 32 };
    if (!*name || name[strspn(name, allowed)] || strlen(name) > LONGEST ||
        strcmp(name, naive_decoder.name) == 0)
        return status_fail("the plug-in's name is '%.40s': name it in lockstep_decoder with at "
                           "most %d letters, digits and -_.+, and not %s",
                           name, LONGEST, naive_decoder.name);
    return NULL;
}

static status open_file(const char *text, size_t length, subject *out)
{
    char file[OPTIONS_SUBJECT];
    snprintf(file, sizeof file, "%.*s", (int)length, text);
    out->plugin = true;
    plugin_fill_memory();
    status s = plugin_open(file, &out->api);
    for (const char *c = s ? "" : out->api->name; *c && !s; c++)
        if (iscntrl((unsigned char)*c))
            s = status_fail("%s: the plug-in's name has a control character, which would reach "
                            "your terminal: name it in lockstep_decoder with letters",
                            file);
    return s;
}

// A file in memory costs the memory that it was to save: said once.
static void note_memory(const subject *of)
{
    static bool said;
    if (said || !of->kv.dir[0] || of->api == &naive_decoder || !place_file_in_memory(&of->kv))
        return;
    fprintf(stderr, "note: %s is in memory (tmpfs): pages there save none\n", of->kv.dir);
    said = true;
}

status subject_open(const char *text, subject *out)
{
    size_t n;
    *out = (subject){.api = find_built_in(text, &n)};
    snprintf(out->text, sizeof out->text, "%s", text);
    status s = out->api ? NULL : open_file(text, n, out);
    if (!s && text[n] == ':')
        s = kv_parse(text + n + 1, &out->kv);
    if (!s)
        with_spec(out->api->name, &out->kv, sizeof out->name, out->name);
    if (!s)
        note_memory(out);
    return s;
}

static status add(subjects *to, const char *text)
{
    subject *at = memory_resize(to->at, to->n + 1, sizeof *at);
    if (!at)
        return memory_failed("the list of decoders");
    to->at = at;
    status s = subject_open(text, &at[to->n]);
    if (!s && at[to->n].plugin)
        s = check_name(at[to->n].api->name);
    for (size_t i = 0; !s && i < to->n; i++)
        if (strcmp(at[i].name, at[to->n].name) == 0)
            s = status_fail("%s is asked for twice: name each decoder once", at[i].name);
    to->n += !s;
    return s;
}

status subjects_open(const bench_options *o, const char *first, subjects *out)
{
    *out = (subjects){0};
    status s = first && o->subjects > 0 ? add(out, first) : NULL;
    for (size_t i = 0; !s && i < o->subjects; i++)
        if (!first || strcmp(o->subject[i], first) != 0)
            s = add(out, o->subject[i]);
    for (size_t i = 0; !s && o->subjects == 0 && i < BUILT_IN; i++)
        s = add(out, built_in[i]->name);
    return s;
}

status subjects_open_beside_naive(const bench_options *o, subjects *out)
{
    status s = subjects_open(o, naive_decoder.name, out);
    return s || out->n > 1 ? s
                           : status_fail("naive is measured beside another decoder: name that one "
                                         "with --decoder");
}

void subjects_free(subjects *s)
{
    memory_free(s->at);
    *s = (subjects){0};
}

status subject_create(const subject *of, const model *m, size_t T_max, decoder **out)
{
    return of->api->create(m, &(decoder_options){.T_max = T_max, .kv = of->kv}, out);
}

// Bytes of a decoder of the subject `text`, whose file, if it is a plug-in, is not opened.
static status decoder_bytes(const char *text, const config *c, size_t T, size_t *bytes)
{
    size_t n;
    kv_spec kv = {0};
    const decoder_api *api = find_built_in(text, &n);
    status s = text[n] == ':' ? kv_parse(text + n + 1, &kv) : NULL;
    *bytes = s ? 0 : decoder_memory(c, api == &naive_decoder ? 1 : c->L, &kv, T, 1);
    return s;
}

// The longest of a list of contexts, which is refused elsewhere if it is wrong.
static size_t longest(const char *contexts, size_t limit)
{
    size_t *list = NULL, n = 0, T = limit;
    if (contexts && !contexts_parse(contexts, limit, &list, &n))
        T = list[n - 1] < limit ? list[n - 1] + 1 : limit; // and the token of a step
    memory_free(list);
    return T;
}

status subjects_check_memory(const bench_options *o, const subjects_need *need)
{
    config c;
    size_t weights, one;
    status s = model_peek(need->model, o->weights, &c, &weights);
    if (s)
        return s;
    const size_t T = longest(need->contexts, c.T);
    size_t bytes = size_times(1 + need->blocks, weights);
    bytes = size_plus(bytes, size_times(need->all_logits, size_times(T, c.V * sizeof(float))));
    for (size_t i = 0; !s && i < size_max(o->subjects, 1); i++) {
        s = decoder_bytes(o->subjects > 0 ? o->subject[i] : kvcache_decoder.name, &c, T, &one);
        bytes = size_plus(bytes, size_times(need->others, one));
    }
    if (!s && need->first) {
        s = decoder_bytes(need->first, &c, T, &one);
        bytes = size_plus(bytes, size_times(need->firsts, one));
    }
    return s ? s : quota_check_memory(need->model, bytes);
}

const char *subject_key(const subject *of, char text[SUBJECT_KEY])
{
    if (kv_is_plain(&of->kv) && of->api == &kvcache_decoder)
        return NULL;
    return with_spec(of->plugin ? plugin_digest() : of->api->name, &of->kv, SUBJECT_KEY, text);
}

json_t *subjects_json(const subjects *s)
{
    json_t *all = json_object();
    bool whole = all;
    for (size_t i = 0; i < s->n && whole; i++) {
        char text[SUBJECT_KEY];
        const char *key = subject_key(&s->at[i], text);
        whole = utf8_set_new(all, s->at[i].name, utf8_text(key ? key : "kvcache")) == 0;
    }
    if (!whole)
        json_decref(all);
    return whole ? all : NULL;
}

status subjects_contain(plugin_body *body, bench_options *o, int *exit_code)
{
    size_t n;
    bool contained = o->judge && !find_built_in(o->judge, &n);
    for (size_t i = 0; i < o->subjects; i++)
        contained = contained || !find_built_in(o->subject[i], &n);
    const plugin_limits limits = {o->timeout_s, o->limit_s};
    return contained ? plugin_contain(body, o, &limits, exit_code) : body(o, exit_code);
}
