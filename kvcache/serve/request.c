// A table of the fields that are understood, each with the function that reads it.
#include "kvcache/serve/request.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/file/file.h"
#include "common/text/utf8.h"

enum { MOST = 2147483647 };

static status wrong(const char *field, const char *cure)
{
    return status_fail("'%s': %s", field, cure);
}

static status read_real(const char *field, const json_t *value, double least, double most,
                        const char *cure, float *out)
{
    const double x = json_number_value(value);
    if (!json_is_number(value) || !(x >= least && x <= most))
        return wrong(field, cure);
    *out = (float)x;
    return NULL;
}

// ---- the fields ----

static status read_max_tokens(const json_t *value, request *q)
{
    const json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 1 || n > MOST)
        return wrong(q->param, "give a whole number from 1 on");
    q->max_tokens = (size_t)n;
    return NULL;
}

static status read_seed(const json_t *value, request *q)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wrong("seed", "give a whole number from 0 to 9223372036854775807");
    q->how.seed = (uint64_t)json_integer_value(value);
    q->seeded = true;
    return NULL;
}

static status read_temperature(const json_t *value, request *q)
{
    return read_real("temperature", value, 0, 2, "give a number from 0 to 2", &q->how.temperature);
}

// As a float it must be above 0, too.
static status read_top_p(const json_t *value, request *q)
{
    return read_real("top_p", value, 1e-6, 1, "give a number from 0.000001 to 1", &q->how.top_p);
}

static status read_top_k(const json_t *value, request *q)
{
    const json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0 || n > MOST)
        return wrong("top_k", "give a whole number from 0 on");
    q->how.top_k = (size_t)n;
    return NULL;
}

static status add_stop(const json_t *value, request *q)
{
    if (!json_is_string(value) || json_string_length(value) == 0 || q->stops == REQUEST_STOPS)
        return wrong("stop", "give a text, or a list of at most 4, none of them empty");
    q->stop[q->stops++] = json_string_value(value);
    return NULL;
}

static status read_stop(const json_t *value, request *q)
{
    status s = NULL;
    if (!json_is_array(value))
        return add_stop(value, q);
    for (size_t i = 0; !s && i < json_array_size(value); i++)
        s = add_stop(json_array_get(value, i), q);
    return s;
}

static status read_user(const json_t *value, request *q)
{
    if (!json_is_string(value) || json_string_length(value) > REQUEST_USER)
        return wrong("user", "give a text of at most 256 bytes");
    q->user = json_string_value(value);
    return NULL;
}

static status unknown_field(const char *name)
{
    char shown[65];
    const int n = snprintf(shown, sizeof shown, "%s", name);
    utf8_clean(shown, size_min((size_t)n, sizeof shown - 1));
    return status_fail("'%s' is no field that is understood here: leave it out", shown);
}

static status read_stream(const json_t *value, request *q)
{
    if (!json_is_boolean(value))
        return wrong("stream", "give true or false");
    q->stream = json_is_true(value);
    return NULL;
}

static status read_stream_options(const json_t *value, request *q)
{
    const json_t *usage = json_object_get(value, "include_usage");
    if (json_object_size(value) != 1 || !json_is_boolean(usage))
        return wrong("stream_options", "give {\"include_usage\": true} or false");
    q->usage = json_is_true(usage);
    return NULL;
}

static status read_n(const json_t *value, request *q)
{
    (void)q;
    return json_is_integer(value) && json_integer_value(value) == 1
               ? NULL
               : wrong("n", "give 1, and ask again with another seed for another text");
}

static status read_prompt(const json_t *value, request *q)
{
    if (!json_is_string(value) || json_string_length(value) == 0)
        return wrong("prompt",
                     "give one text that is not empty, as a string: no list, no token ids");
    q->bytes = json_string_length(value);
    q->text = memory_array(q->bytes + 1, 1);
    if (!q->text)
        return memory_failed("a prompt");
    memcpy(q->text, json_string_value(value), q->bytes);
    return NULL;
}

// ---- messages as text ----

static status append(request *q, const char *text, size_t n)
{
    char *longer = memory_resize(q->text, q->bytes + n + 1, 1);
    if (!longer)
        return memory_failed("a prompt");
    memcpy(longer + q->bytes, text, n);
    q->text = longer;
    q->bytes += n;
    return NULL;
}

// "user" becomes "User:\n".
static status append_role(request *q, const char *role)
{
    const char first = (char)toupper((unsigned char)role[0]);
    status s = append(q, &first, 1);
    if (!s)
        s = append(q, role + 1, strlen(role + 1));
    return s ? s : append(q, ":\n", 2);
}

// An object within a message has no fields but these two, or null: a breakpoint, say, would do
// nothing, and the client shall know it.
static status check_fields(const json_t *object, const char *a, const char *b)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        if (strcmp(name, a) != 0 && strcmp(name, b) != 0 && !json_is_null(value))
            return unknown_field(name);
    }
    return NULL;
}

// A text, or a list of {"type": "text", "text": ...}.
static status append_content(request *q, const json_t *content)
{
    static const char cure[] = "the content of each is a text, or a list of parts of type text";
    if (json_is_string(content))
        return append(q, json_string_value(content), json_string_length(content));
    if (!json_is_array(content))
        return wrong("messages", cure);
    status s = NULL;
    for (size_t i = 0; !s && i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i), *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        s = type && strcmp(type, "text") == 0 && json_is_string(text)
                ? append(q, json_string_value(text), json_string_length(text))
                : wrong("messages", cure);
        if (!s)
            s = check_fields(part, "type", "text");
    }
    return s;
}

static status append_message(request *q, const json_t *message)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant"};
    const char *role = json_string_value(json_object_get(message, "role"));
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i]) == 0) {
            status s = check_fields(message, "role", "content");
            if (!s)
                s = append_role(q, role);
            if (!s)
                s = append_content(q, json_object_get(message, "content"));
            return s ? s : append(q, "\n\n", 2);
        }
    return wrong("messages", "the role of each is system, developer, user or assistant");
}

// A play: each message below its speaker's name, a blank line between, the assistant's name at the
// end. An answer that is handed in again in the next request so continues the same text.
static status read_messages(const json_t *value, request *q)
{
    status s = NULL;
    if (!json_is_array(value) || json_array_size(value) == 0)
        return wrong("messages", "give a list of at least one {\"role\": ..., \"content\": ...}");
    for (size_t i = 0; !s && i < json_array_size(value); i++)
        s = append_message(q, json_array_get(value, i));
    return s ? s : append_role(q, "assistant");
}

// ---- the object ----

static const struct {
    const char *name;
    status (*read)(const json_t *value, request *q);
} fields[] = {
    {"prompt", read_prompt},
    {"messages", read_messages},
    {"max_tokens", read_max_tokens},
    {"max_completion_tokens", read_max_tokens},
    {"seed", read_seed},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"top_k", read_top_k},
    {"stop", read_stop},
    {"user", read_user},
    {"stream", read_stream},
    {"stream_options", read_stream_options},
    {"n", read_n},
};
enum { FIELDS = sizeof fields / sizeof *fields };

// null is as good as nothing.
static bool is_given(const request *q, const char *name)
{
    const json_t *value = json_object_get(q->root, name);
    return value && !json_is_null(value);
}

static status read_field(const char *name, const json_t *value, request *q)
{
    if (json_is_null(value))
        return NULL;
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(name, fields[i].name) == 0) {
            q->param = fields[i].name;
            return fields[i].read(value, q);
        }
    q->param = NULL;
    return unknown_field(name);
}

static status check_model(const json_t *value, const char *model, request *q)
{
    if (!value || json_is_null(value) ||
        (json_is_string(value) && strcmp(json_string_value(value), model) == 0))
        return NULL;
    q->param = "model";
    q->code = "model_not_found";
    return status_fail("'model': there is none but %s: ask for that", model);
}

// What no field can tell alone.
static status check(const request *q, request_kind kind)
{
    if (is_given(q, "prompt") && is_given(q, "messages"))
        return status_fail("both 'prompt' and 'messages': give one of them");
    if (!q->text || (kind == REQUEST_TEXT && q->chat) || (kind == REQUEST_CHAT && !q->chat))
        return status_fail("no %s: give %s",
                           kind == REQUEST_CHAT   ? "messages"
                           : kind == REQUEST_TEXT ? "prompt"
                                                  : "prompt or messages",
                           kind == REQUEST_CHAT ? "a list of them" : "a text to continue");
    if (q->stream && kind == REQUEST_EITHER)
        return status_fail("'stream': a line has its answer in one line: leave it out");
    if (q->usage && !q->stream)
        return status_fail("'stream_options' without 'stream': set that to true");
    return NULL;
}

static status read_all(request *q, request_kind kind, const char *model)
{
    const char *name;
    json_t *value;
    status s = check_model(json_object_get(q->root, "model"), model, q);
    if (s)
        return s;
    q->chat = json_is_array(json_object_get(q->root, "messages"));
    if (q->chat && is_given(q, "prompt"))
        return check(q, kind);
    json_object_foreach(q->root, name, value)
    {
        s = strcmp(name, "model") == 0 ? NULL : read_field(name, value, q);
        if (s)
            return s;
    }
    q->param = NULL;
    return check(q, kind);
}

// What is said of a file, with another cure than for a file; in one line of text, nobody looks for
// the first.
static status not_an_object(status s, const char *name, bool one_line)
{
    static const char first[] = ": line 1 ";
    const char *cure = strstr(s, ": fetch the file again"), *said = s + strlen(name);
    if (!cure)
        return s;
    const bool its = one_line && strncmp(said, first, sizeof first - 1) == 0;
    said += its ? sizeof first - 1 : 2;
    return status_fail("%s: %s%.*s: send one JSON object%s", name, its ? "it " : "",
                       (int)(cure - said), said,
                       strstr(s, "in memory") ? " that is less deeply nested" : "");
}

status request_read(const char *name, const char *text, size_t n, request_kind kind,
                    const char *model, const sampling *how, request *out)
{
    *out = (request){.how = *how};
    if (n > REQUEST_BYTES)
        return status_fail("%s: a request has at most %d bytes: shorten it", name, REQUEST_BYTES);
    status s = file_parse_json(name, text, n, &out->root);
    return s ? not_an_object(s, name, !memchr(text, '\n', n)) : read_all(out, kind, model);
}

void request_free(request *q)
{
    memory_free(q->text);
    json_decref(q->root);
    *q = (request){0};
}
