// Objects with the fields that clients of OpenAI's API read, packed with Jansson.
#include "kvcache/serve/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/text/utf8.h"

// Takes `o`, NULL if something was missing.
static char *dumped(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

// cached + computed = prompt, always.
static json_t *usage(const job_view *j)
{
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)j->prompt,
                     "completion_tokens", (json_int_t)j->generated, "total_tokens",
                     (json_int_t)(j->prompt + j->generated), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)j->cached);
}

static json_t *frame(const job_view *j, const char *object, const char *name, size_t number,
                     json_t *choices)
{
    char id[64];
    snprintf(id, sizeof id, "%s-%zu", j->request->chat ? "chatcmpl" : "cmpl", number);
    return json_pack("{s:s, s:s, s:I, s:o, s:o}", "id", id, "object", object, "created",
                     (json_int_t)time(NULL), "model", utf8_text(name), "choices", choices);
}

static json_t *error_object(const char *message, const char *param, const char *code, bool refused,
                            size_t line)
{
    json_t *o =
        json_pack("{s:{s:o, s:s, s:s?, s:s?}}", "error", "message", utf8_text(message), "type",
                  refused ? "invalid_request_error" : "server_error", "param", param, "code", code);
    if (o && line > 0)
        json_object_set_new(json_object_get(o, "error"), "line", json_integer((json_int_t)line));
    return o;
}

char *answer_error(const char *message, const char *param, const char *code, bool refused,
                   size_t line)
{
    return dumped(error_object(message, param, code, refused, line));
}

char *answer_whole(const job_view *j, const char *name, size_t number, size_t line)
{
    if (j->failure)
        return dumped(
            error_object(j->failure, j->request->param, j->request->code, j->refused, line));
    json_t *text = utf8_string(j->text, j->bytes);
    json_t *choice = j->request->chat ? json_pack("{s:i, s:{s:s, s:o}, s:n, s:s}", "index", 0,
                                                  "message", "role", "assistant", "content", text,
                                                  "logprobs", "finish_reason", j->finish)
                                      : json_pack("{s:i, s:o, s:n, s:s}", "index", 0, "text", text,
                                                  "logprobs", "finish_reason", j->finish);
    json_t *o = frame(j, j->request->chat ? "chat.completion" : "text_completion", name, number,
                      json_pack("[o]", choice));
    if (o && (json_object_set_new(o, "usage", usage(j)) != 0 ||
              json_object_set_new(o, "times",
                                  json_pack("{s:I, s:I}", "ttft_ns", (json_int_t)j->ttft_ns,
                                            "latency_ns", (json_int_t)j->latency_ns)) != 0)) {
        json_decref(o);
        o = NULL;
    }
    return dumped(o);
}

static const char *piece_object(const job_view *j)
{
    return j->request->chat ? "chat.completion.chunk" : "text_completion";
}

char *answer_piece(const job_view *j, const char *name, size_t number, const char *text, size_t n,
                   bool begins, const char *finish)
{
    json_t *string = utf8_string(text, n), *choice;
    if (j->request->chat) {
        json_t *delta = json_pack("{s:o}", "content", string);
        if (delta && begins)
            json_object_set_new(delta, "role", json_string("assistant"));
        choice = json_pack("{s:i, s:o, s:n, s:s?}", "index", 0, "delta", delta, "logprobs",
                           "finish_reason", finish);
    } else
        choice = json_pack("{s:i, s:o, s:n, s:s?}", "index", 0, "text", string, "logprobs",
                           "finish_reason", finish);
    json_t *o = frame(j, piece_object(j), name, number, json_pack("[o]", choice));
    if (o && j->request->usage)
        json_object_set_new(o, "usage", json_null());
    return dumped(o);
}

char *answer_usage(const job_view *j, const char *name, size_t number)
{
    json_t *o = frame(j, piece_object(j), name, number, json_array());
    if (o && json_object_set_new(o, "usage", usage(j)) != 0) {
        json_decref(o);
        o = NULL;
    }
    return dumped(o);
}

char *answer_models(const char *name)
{
    return dumped(json_pack("{s:s, s:[{s:o, s:s, s:i, s:s}]}", "object", "list", "data", "id",
                            utf8_text(name), "object", "model", "created", 0, "owned_by",
                            "lockstep"));
}
