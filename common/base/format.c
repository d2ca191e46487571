// Numbers with three digits and a unit, or all digits in threes; words in lines.
#include "common/base/format.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *scaled(double x, double unit, const char *const *names, size_t n, char *text)
{
    size_t i = 0;
    for (; i + 1 < n && x >= 999.5 * (unit / 1000); i++) // what would print as 1000 goes up
        x /= unit;
    int decimals = i == 0 || x >= 99.95 ? 0 : x >= 9.995 ? 1 : 2;
    snprintf(text, FORMAT_ROOM, "%.*f %s", decimals, x, names[i]);
    return text;
}

const char *format_ns(double ns, char text[FORMAT_ROOM])
{
    static const char *const names[] = {"ns", "us", "ms", "s"};
    if (ns != ns) {
        strcpy(text, "n/a");
        return text;
    }
    return scaled(ns, 1000, names, sizeof names / sizeof *names, text);
}

const char *format_bytes(double bytes, char text[FORMAT_ROOM])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    return scaled(bytes, 1024, names, sizeof names / sizeof *names, text);
}

const char *format_whole(uint64_t n, char text[FORMAT_ROOM])
{
    char digits[FORMAT_ROOM];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n), to = 0;
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            text[to++] = ',';
        text[to++] = digits[i];
    }
    text[to] = '\0';
    return text;
}

void format_wrapped(FILE *f, const char *label, int indent, const char *text)
{
    enum { WIDTH = 80 };
    size_t column = strlen(label);
    fputs(label, f);
    while (*text) {
        const size_t word = strcspn(text, " ");
        if (column + 1 + word > WIDTH) {
            fprintf(f, "\n%*s", indent - 1, "");
            column = (size_t)indent - 1;
        }
        fprintf(f, " %.*s", (int)word, text);
        column += 1 + word;
        text += word + strspn(text + word, " ");
    }
    fputc('\n', f);
}

void format_word(FILE *f, const char *text)
{
    const bool plain =
        text[strspn(text,
                    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-")] ==
        '\0';
    if (plain && *text) {
        fputs(text, f);
        return;
    }
    fputc('\'', f);
    for (; *text; text++)
        fputs(*text == '\'' ? "'\\''" : (char[]){*text, '\0'}, f);
    fputc('\'', f);
}
