// What becomes of a text that outgrows the context: it ends, or tokens at its front are given up.
//
// GPT-2 adds a position's embedding before the first layer, so each key and value belongs to the
// position that it was computed for. A token that stays but moves has to be computed again, with
// all that stand behind it.
#ifndef LOCKSTEP_CONTEXT_END_H
#define LOCKSTEP_CONTEXT_END_H

#include <stddef.h>

#include "common/base/status.h"

typedef enum context_policy {
    CONTEXT_STOP,  // "stop": the text ends with the context
    CONTEXT_SHIFT, // "shift:S": the first S tokens stay, and the last half of the rest
    CONTEXT_CROP,  // "crop": the last tokens stay, as many as the context holds
} context_policy;

typedef struct context_end {
    context_policy policy;
    size_t kept; // S of shift
} context_end;

// Reads one of the three. `window` is refused with the reason.
status context_end_parse(const char *text, context_end *out);

// Refuses a shift that would keep all of a context of so many tokens.
status context_end_check(const context_end *e, size_t context);

// The text for it; returns `text`.
enum { CONTEXT_END_TEXT = 32 };
const char *context_end_name(const context_end *e, char text[CONTEXT_END_TEXT]);

// The tokens of a text that a decoder is given.
typedef struct context_view {
    context_end end;
    size_t most;  // that the context holds
    int *ids;     // (most + 1)
    size_t n;     // tokens there
    size_t read;  // tokens of the text that it has taken so far
    size_t drops; // how often tokens were given up
} context_view;

status context_view_create(const context_end *e, size_t most, context_view *out);
void context_view_free(context_view *v);

// Of a text of T tokens, which begins with what it was when last asked, those that the next step is
// given: (*n), at most `most` and the latest among them. From one call to the next the text grows
// by one token at most, but for the first call, whose text fits.
const int *context_view_of(context_view *v, const int *text, size_t T, size_t *n);

#endif
