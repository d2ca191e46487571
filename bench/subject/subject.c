// Subjects read from text: NAME or FILE.so, and behind a colon a spec.
#include "bench/subject/subject.h"

#include <stdio.h>
#include <string.h>

#include "bench/subject/plugin.h"
#include "common/base/memory.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"

// The decoders that are built in: a further one is one more line.
static const decoder_api *const built_in[] = {&naive_decoder, &kvcache_decoder};
enum { BUILT_IN = sizeof built_in / sizeof *built_in };

// Where the name of a decoder or of a plug-in's file ends: at the end, or at the colon before a
// spec. A file's name may hold colons too.
static size_t name_length(const char *text)
{
    for (size_t i = 0; i < BUILT_IN; i++) {
        const size_t n = strlen(built_in[i]->name);
        if (strncmp(text, built_in[i]->name, n) == 0 && (text[n] == '\0' || text[n] == ':'))
            return n;
    }
    const char *end = strstr(text, ".so:");
    return end ? (size_t)(end - text) + strlen(".so") : strlen(text);
}

static const decoder_api *find_built_in(const char *name)
{
    for (size_t i = 0; i < BUILT_IN; i++)
        if (strcmp(built_in[i]->name, name) == 0)
            return built_in[i];
    return NULL;
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

static status open_file(const char *file, subject *out)
{
    out->plugin = true;
    plugin_fill_memory();
    return plugin_open(file, &out->api);
}

status subject_open(const char *text, const config *c, subject *out)
{
    char name[OPTIONS_SUBJECT], spec[KV_NAME];
    const size_t n = name_length(text);
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    *out = (subject){.api = find_built_in(name)};
    snprintf(out->text, sizeof out->text, "%s", text);
    status s = out->api ? NULL : open_file(name, out);
    if (!s && text[n] == ':')
        s = kv_parse(text + n + 1, c, &out->kv);
    if (s)
        return s;
    const bool plain = kv_is_plain(&out->kv);
    snprintf(out->name, sizeof out->name, "%s%s%s", out->api->name, plain ? "" : ":",
             plain ? "" : kv_name(&out->kv, spec));
    return NULL;
}

static status add(subjects *to, const char *text, const config *c)
{
    subject *at = memory_resize(to->at, to->n + 1, sizeof *at);
    if (!at)
        return memory_failed("the list of decoders");
    to->at = at;
    status s = subject_open(text, c, &at[to->n]);
    if (!s && at[to->n].plugin)
        s = check_name(at[to->n].api->name);
    for (size_t i = 0; !s && i < to->n; i++)
        if (strcmp(at[i].name, at[to->n].name) == 0)
            s = status_fail("%s is asked for twice: name each decoder once", at[i].name);
    to->n += !s;
    return s;
}

status subjects_open(const bench_options *o, const char *first, const config *c, subjects *out)
{
    *out = (subjects){0};
    status s = first && o->subjects > 0 ? add(out, first, c) : NULL;
    for (size_t i = 0; !s && i < o->subjects; i++)
        if (!first || strcmp(o->subject[i], first) != 0)
            s = add(out, o->subject[i], c);
    for (size_t i = 0; !s && o->subjects == 0 && i < BUILT_IN; i++)
        s = add(out, built_in[i]->name, c);
    return s;
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

const char *subject_key(const subject *of, char text[SUBJECT_KEY])
{
    char spec[KV_NAME];
    const bool plain = kv_is_plain(&of->kv);
    if (plain && of->api == &kvcache_decoder)
        return NULL;
    snprintf(text, SUBJECT_KEY, "%s%s%s", of->plugin ? plugin_digest() : of->api->name,
             plain ? "" : ":", plain ? "" : kv_name(&of->kv, spec));
    return text;
}

static bool names_a_file(const char *text)
{
    char name[OPTIONS_SUBJECT];
    snprintf(name, sizeof name, "%.*s", (int)name_length(text), text);
    return !find_built_in(name);
}

status subjects_contain(plugin_body *body, bench_options *o, int *exit_code)
{
    bool contained = o->judge && names_a_file(o->judge);
    for (size_t i = 0; i < o->subjects; i++)
        contained = contained || names_a_file(o->subject[i]);
    return contained ? plugin_contain(body, o, o->timeout_s, exit_code) : body(o, exit_code);
}
