// One request for text as clients of OpenAI's API write it: a JSON object, read and checked.
#ifndef LOCKSTEP_REQUEST_H
#define LOCKSTEP_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/generate/sampler.h"

enum { REQUEST_BYTES = 1 << 20, REQUEST_STOPS = 4, REQUEST_USER = 256 };

// Which of the two objects is read: one with a prompt, one with messages, or whichever it is.
typedef enum request_kind { REQUEST_EITHER, REQUEST_TEXT, REQUEST_CHAT } request_kind;

typedef struct request {
    bool chat;          // it has messages
    bool stream, usage; // the answer in pieces; and what it used in the last of them
    char *text;         // (bytes) the prompt
    size_t bytes;
    size_t max_tokens; // 0: not said
    sampling how;
    bool seeded;                     // the seed was said
    const char *stop[REQUEST_STOPS]; // (stops) the text ends before the first of these, none empty
    size_t stops;
    const char *user;  // the namespace of its rows, or NULL
    const char *param; // of a request that is refused: the field at fault, or NULL
    const char *code;  // and OpenAI's word for it, or NULL
    json_t *root;      // which owns the strings but `text`
} request;

// Reads n bytes. `name` is what messages call them, `model` the only one that can be asked for, and
// `how` what is drawn with where the request does not say. On failure out->param and out->code tell
// what is at fault. Call request_free in any case.
status request_read(const char *name, const char *text, size_t n, request_kind kind,
                    const char *model, const sampling *how, request *out);
void request_free(request *q);

#endif
