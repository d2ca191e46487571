// Lists of contexts: numbers and ranges to a sorted array.
#include "bench/base/contexts.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/input.h"
#include "common/base/memory.h"

enum { FIRST = 16 };

static status refuse(const char *text, size_t limit)
{
    return status_fail("'%s': use numbers and ranges within 1 and %zu, such as 1,2,15-17", text,
                       limit);
}

static bool take_number(const char **text, size_t limit, size_t *out)
{
    uint64_t value;
    const bool read = input_digits(text, limit, &value);
    *out = (size_t)value;
    return read && value >= 1;
}

// Marks the contexts of one item, a number or a range.
static bool take_item(const char **text, size_t limit, bool *wanted)
{
    size_t first, last;
    if (!take_number(text, limit, &first))
        return false;
    last = first;
    if (**text == '-') {
        ++*text;
        if (!take_number(text, limit, &last) || last < first)
            return false;
    }
    for (size_t c = first; c <= last; c++)
        wanted[c] = true;
    return true;
}

static bool take_list(const char *text, size_t limit, bool *wanted)
{
    while (take_item(&text, limit, wanted)) {
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
    return false;
}

static status collect(const bool *wanted, size_t limit, size_t **list, size_t *n)
{
    size_t count = 0;
    for (size_t c = 1; c <= limit; c++)
        count += wanted[c];
    size_t *found = memory_array(count, sizeof *found);
    if (!found)
        return memory_failed("the list of contexts");
    *n = 0;
    for (size_t c = 1; c <= limit; c++)
        if (wanted[c])
            found[(*n)++] = c;
    *list = found;
    return NULL;
}

status contexts_parse(const char *text, size_t limit, size_t **list, size_t *n)
{
    *list = NULL;
    *n = 0;
    bool *wanted = memory_array(limit + 1, sizeof *wanted);
    if (!wanted)
        return memory_failed("the list of contexts");
    status s =
        take_list(text, limit, wanted) ? collect(wanted, limit, list, n) : refuse(text, limit);
    memory_free(wanted);
    return s;
}

status contexts_doubling(size_t limit, size_t **list, size_t *n)
{
    char text[1024];
    size_t length = 0;
    for (size_t c = FIRST; c < limit; c *= 2)
        length += (size_t)snprintf(text + length, sizeof text - length, "%zu,", c);
    snprintf(text + length, sizeof text - length, "%zu", limit);
    return contexts_parse(text, limit, list, n);
}
