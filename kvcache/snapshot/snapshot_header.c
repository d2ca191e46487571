// The header of a snapshot: whose state it is, which rows, where each tensor lies.
#include "kvcache/snapshot/snapshot_header.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/base/version.h"
#include "common/file/file.h"
#include "common/number/form.h"

#define FORMAT "lockstep snapshot 1"

enum { FIXED = 1024, ENTRY = 160 }; // bytes of a header at most, and of each tensor in it

status snapshot_damaged(const char *path, const char *how)
{
    return status_fail("%s: %s: " SNAPSHOT_CURE, path, how);
}

__attribute__((format(printf, 2, 3))) static void add(snapshot_text *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(t->at + t->n, t->room - t->n, format, arguments);
    va_end(arguments);
    t->n = size_min(t->room, t->n + (size_t)n);
}

// NULL: the numbers of this form come with scales, for which a tensor has no room.
const char *snapshot_dtype(const snapshot_about *a)
{
    static const char *const of[] = {
        [KV_F32] = "F32", [KV_F16] = "F16", [KV_BF16] = "BF16", [KV_FP8] = "F8_E4M3"};
    const size_t i = (size_t)a->spec.form;
    if (a->hidden)
        return "F32";
    return i < sizeof of / sizeof *of ? of[i] : NULL;
}

static void add_metadata(snapshot_text *t, const snapshot_about *a,
                         const char hash[SNAPSHOT_HASH + 1])
{
    char spec[KV_NAME], numbers[CONFIG_TEXT];
    add(t, SNAPSHOT_BEGINNING "%s\",\"format\":\"" FORMAT "\",\"arithmetic\":\"%d\"", hash,
        (int)CONTRACT_VERSION);
    add(t, ",\"model\":\"%s\",\"config\":\"%s\"", a->digest, config_text(&a->m->config, numbers));
    add(t, ",\"spec\":\"%s\",\"page\":\"%zu\"", kv_name_in_memory(&a->spec, spec), a->spec.page);
    add(t, ",\"holds\":\"%s\",\"tokens\":\"%zu\",\"sinks\":\"%zu\",\"from\":\"%zu\"}",
        a->hidden ? "hidden" : "kv", a->held.to, a->held.sinks, a->held.from);
}

// A tensor's entry, with `begin` where its data begins; returns where that ends.
static size_t add_layer(snapshot_text *t, const snapshot_about *a, size_t l, size_t begin,
                        const char *what)
{
    const config *c = &a->m->config;
    const size_t R = softmax_count(a->held), width = form_of(&a->spec)->width,
                 row = a->hidden ? c->C * sizeof(float) : config_kv_width(c) * width,
                 end = begin + R * row;
    add(t, ",\"layer.%zu.%s\":{\"dtype\":\"%s\",\"shape\":[", l, what, snapshot_dtype(a));
    if (a->hidden)
        add(t, "%zu,%zu", R, c->C);
    else
        add(t, "%zu,%zu,%zu", config_kv_heads(c), R, config_head_size(c));
    add(t, "],\"data_offsets\":[%zu,%zu]}", begin, end);
    return end;
}

size_t snapshot_header_room(const config *c)
{
    return FIXED + ENTRY * (1 + 2 * c->L);
}

status snapshot_make_header(const snapshot_about *a, const char *hash, snapshot_text *t,
                            size_t *data)
{
    *t = (snapshot_text){.n = SNAPSHOT_LENGTH, .room = snapshot_header_room(&a->m->config)};
    t->at = memory_array(t->room, 1);
    if (!t->at)
        return memory_failed("the header of a snapshot");
    add_metadata(t, a, hash);
    *data = a->held.to * sizeof(int32_t);
    add(t, ",\"tokens\":{\"dtype\":\"I32\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}", a->held.to,
        *data);
    for (size_t l = 0; l < a->m->config.L; l++) {
        *data = add_layer(t, a, l, *data, a->hidden ? "hidden" : "k");
        if (!a->hidden)
            *data = add_layer(t, a, l, *data, "v");
    }
    add(t, "}%*s", (int)(CACHE_LINE - (t->n + 1) % CACHE_LINE), "");
    const uint64_t length = t->n - SNAPSHOT_LENGTH;
    memcpy(t->at, &length, SNAPSHOT_LENGTH);
    return NULL;
}

static const char *said(const json_t *root, const char *key)
{
    const char *value = json_string_value(json_object_get(root, key));
    return value ? value : "";
}

static bool read_size(const json_t *root, const char *key, size_t most, size_t *out)
{
    uint64_t value = 0;
    const char *digits = said(root, key);
    const bool whole = input_whole(digits, strlen(digits), most, &value);
    *out = (size_t)value;
    return whole;
}

// What is said must be what is: whose state it is.
static status check_owner(const char *path, const json_t *root, const snapshot_about *a)
{
    char spec[KV_NAME], numbers[CONFIG_TEXT], number[32], page[32];
    config_text(&a->m->config, numbers);
    kv_name_in_memory(&a->spec, spec);
    snprintf(number, sizeof number, "%d", (int)CONTRACT_VERSION);
    snprintf(page, sizeof page, "%zu", a->spec.page);
    const struct {
        const char *key, *is, *cure;
    } facts[] = {
        {"format", FORMAT, "name a file that this program has saved"},
        {"arithmetic", number, SNAPSHOT_CURE},
        {"model", a->digest, "load it with the model that it was saved with"},
        {"config", numbers, "load it with the model that it was saved with"},
        {"spec", spec, "give the --kv that it was saved with"},
        {"page", page, SNAPSHOT_CURE},
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (strcmp(said(root, facts[i].key), facts[i].is) != 0)
            return status_fail("%s: its %s is '%.80s', here it is '%s': %s", path, facts[i].key,
                               said(root, facts[i].key), facts[i].is, facts[i].cure);
    return NULL;
}

static status read_rows(const char *path, const json_t *root, size_t T_max, snapshot_about *a)
{
    const char *holds = said(root, "holds");
    visible *held = &a->held;
    a->hidden = strcmp(holds, "hidden") == 0;
    if (!read_size(root, "tokens", SIZE_MAX >> 1, &held->to) || held->to == 0 ||
        !read_size(root, "from", held->to, &held->from) ||
        !read_size(root, "sinks", held->from, &held->sinks))
        return snapshot_damaged(path, "it does not say which rows it has");
    if (held->to > T_max)
        return status_fail("%s: its %zu tokens are more than the context of %zu: load it with a "
                           "longer context",
                           path, held->to, T_max);
    if (!a->hidden && strcmp(holds, "kv") != 0)
        return snapshot_damaged(path, "it says neither kv nor hidden");
    return snapshot_dtype(a)
               ? NULL
               : snapshot_damaged(path, "keys and values of this form are not saved as kv");
}

status snapshot_read_header(const char *path, const snapshot_text *t, size_t T_max,
                            snapshot_about *a)
{
    json_t *root;
    status failed = file_parse_json(path, t->at + SNAPSHOT_LENGTH, t->n - SNAPSHOT_LENGTH, &root);
    if (failed)
        return memory_is_short(failed) ? failed
                                       : snapshot_damaged(path, "its header is not a JSON object");
    const json_t *metadata = json_object_get(root, "__metadata__");
    failed = check_owner(path, metadata, a);
    if (!failed)
        failed = read_rows(path, metadata, T_max, a);
    json_decref(root);
    return failed;
}
