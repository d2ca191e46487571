// A view is a copy of the text in which tokens at the front are given up, and the others move.
#include "common/generate/run/context_end.h"

#include <stdio.h>
#include <string.h>

#include "common/base/input.h"
#include "common/base/memory.h"

status context_end_parse(const char *text, context_end *out)
{
    static const char shift[] = "shift:";
    uint64_t kept = 0;
    *out = (context_end){CONTEXT_STOP, 0};
    if (strcmp(text, "stop") == 0)
        return NULL;
    if (strcmp(text, "crop") == 0) {
        out->policy = CONTEXT_CROP;
        return NULL;
    }
    if (strcmp(text, "window") == 0)
        return status_fail("--context-end 'window': sliding on without computing rows again needs "
                           "relative positions, and GPT-2 adds absolute ones before its first "
                           "layer: give stop, shift:S or crop");
    const char *digits = text + sizeof shift - 1;
    if (strncmp(text, shift, sizeof shift - 1) != 0 ||
        !input_whole(digits, strlen(digits), 2147483647, &kept))
        return status_fail("--context-end '%s': give stop, shift:S (S tokens at the front stay) or "
                           "crop",
                           text);
    *out = (context_end){CONTEXT_SHIFT, (size_t)kept};
    return NULL;
}

status context_end_check(const context_end *e, size_t context)
{
    if (e->policy != CONTEXT_SHIFT || e->kept < context)
        return NULL;
    return status_fail("--context-end 'shift:%zu': the context has %zu tokens, and the latest must "
                       "have a place: give S up to %zu",
                       e->kept, context, context - 1);
}

const char *context_end_name(const context_end *e, char text[CONTEXT_END_TEXT])
{
    if (e->policy == CONTEXT_SHIFT)
        snprintf(text, CONTEXT_END_TEXT, "shift:%zu", e->kept);
    else
        snprintf(text, CONTEXT_END_TEXT, "%s", e->policy == CONTEXT_CROP ? "crop" : "stop");
    return text;
}

status context_view_create(const context_end *e, size_t most, context_view *out)
{
    *out = (context_view){.end = *e, .most = most, .ids = memory_array(most + 1, sizeof(int))};
    return out->ids ? NULL : memory_failed("the tokens of the context");
}

void context_view_free(context_view *v)
{
    memory_free(v->ids);
    *v = (context_view){0};
}

// One token is too many: n is most + 1. The first `kept` stay where they are, and so do their rows;
// of the rest those that stay move to the front.
static void give_up(context_view *v)
{
    const size_t kept = v->end.policy == CONTEXT_SHIFT ? v->end.kept : 0, rest = v->n - kept;
    const size_t stay = v->end.policy == CONTEXT_SHIFT ? rest / 2 : rest - 1;
    memmove(v->ids + kept, v->ids + v->n - stay, stay * sizeof *v->ids);
    v->n = kept + stay;
    v->drops++;
}

const int *context_view_of(context_view *v, const int *text, size_t T, size_t *n)
{
    memcpy(v->ids + v->n, text + v->read, (T - v->read) * sizeof *text);
    v->n += T - v->read;
    v->read = T;
    if (v->n > v->most)
        give_up(v);
    *n = v->n;
    return v->ids;
}
