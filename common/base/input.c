// Reading whatever a user hands in without trusting it.
#include "common/base/input.h"

#include <ctype.h>
#include <string.h>

#include "common/base/memory.h"

bool input_whole(const char *digits, size_t n, uint64_t most, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned)digits[i] - '0';
        if (digit > 9 || digit > most || *out > (most - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return n > 0;
}

bool input_digits(const char **text, uint64_t most, uint64_t *out)
{
    const size_t n = strspn(*text, "0123456789");
    const bool read = input_whole(*text, n, most, out);
    *text += n;
    return read;
}

static bool separates(char c)
{
    return c == ',' || isspace((unsigned char)c);
}

// Reads the item at text[*at], which is of length > 0, and steps over it.
static status read_id(const char *text, size_t n, size_t *at, size_t place, size_t limit, int *id)
{
    const char *item = text + *at;
    size_t length = 0, shown = 0;
    while (*at + length < n && !separates(item[length]))
        length++;
    *at += length;
    uint64_t value;
    if (input_whole(item, length, limit - 1, &value)) {
        *id = (int)value;
        return NULL;
    }
    while (shown < length && shown < 24 && isprint((unsigned char)item[shown]))
        shown++;
    return status_fail(
        "item %zu of the ids, '%.*s', is not an id of this model: give whole numbers from 0 to %zu",
        place, (int)shown, item, limit - 1);
}

status input_ids(const char *text, size_t n, size_t limit, int **ids, size_t *count)
{
    *count = 0;
    *ids =
        memory_array(n / 2 + 1, sizeof **ids); // an id takes a digit, and a separator from the next
    if (!*ids)
        return memory_failed("the prompt's ids");
    for (size_t at = 0; at < n;) {
        if (separates(text[at])) {
            at++;
            continue;
        }
        status s = read_id(text, n, &at, *count + 1, limit, *ids + *count);
        if (s) {
            memory_free(*ids);
            *ids = NULL;
            return s;
        }
        ++*count;
    }
    return NULL;
}

bool input_ends_in(const char *text, const char *end, size_t *before)
{
    const size_t n = strlen(text), m = strlen(end);
    const bool ends = n > m && strcmp(text + n - m, end) == 0;
    *before = ends ? n - m : n;
    return ends;
}
