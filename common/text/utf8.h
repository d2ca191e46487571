// Which bytes are text, and what JSON is told where they are not.
#ifndef LOCKSTEP_UTF8_H
#define LOCKSTEP_UTF8_H

#include <jansson.h>
#include <stddef.h>

// The length of the well-formed UTF-8 sequence that starts s (Unicode 15, table 3-7), or minus that
// of the ill-formed one: its longest part that could have become well-formed. n >= 1 bytes are
// left.
static inline int utf8_sequence(const char *s, size_t n)
{
    unsigned char first = (unsigned char)s[0], low = 0x80, high = 0xbf;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return -1;
    int more = 1 + (first >= 0xe0) + (first >= 0xf0);
    low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : low;
    high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : high;
    for (int i = 1; i <= more; i++, low = 0x80, high = 0xbf)
        if ((size_t)i >= n || (unsigned char)s[i] < low || (unsigned char)s[i] > high)
            return -i;
    return more + 1;
}

// n bytes as a JSON string, with U+FFFD for what is not UTF-8; NULL if there is no memory.
json_t *utf8_string(const char *s, size_t n);

// Puts '?' in place of what no page and no key may hold: control characters but the newline, and
// bytes that are not UTF-8.
void utf8_clean(char *text, size_t n);

// A text as a JSON string; null where that is NULL or empty.
json_t *utf8_text(const char *s);

// json_object_set_new for a key that need not be UTF-8.
int utf8_set_new(json_t *object, const char *key, json_t *value);

#endif
