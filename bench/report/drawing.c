// Text is escaped, and a picture becomes base64 (RFC 4648): an image can neither run a script nor
// load a file.
#include "bench/report/drawing.h"

#include <string.h>

void drawing_text(FILE *f, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&':
            fputs("&amp;", f);
            break;
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        case '\'':
            fputs("&#39;", f);
            break;
        case '\t':
            putc(' ', f);
            break;
        default:
            putc((unsigned char)*text < 0x20 && *text != '\n' ? '?' : *text, f);
        }
}

status drawing_check(const char *path, const char *svg)
{
    static const char end[] = "</svg>";
    size_t n = strlen(svg);
    while (n > 0 && strchr(" \t\r\n", svg[n - 1]))
        n--;
    if (!strstr(svg, "<svg") || n < strlen(end) ||
        strncmp(svg + n - strlen(end), end, strlen(end)) != 0)
        return status_fail(
            "%s: the drawing was cut short, or is none of gnuplot's; draw it again with make plots",
            path);
    return NULL;
}

void drawing_data(FILE *f, const char *svg)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    fputs("data:image/svg+xml;base64,", f);
    for (size_t left = strlen(svg); left > 0; left -= left < 3 ? left : 3) {
        unsigned bits = 0;
        for (size_t i = 0; i < 3; i++)
            bits = bits << 8 | (i < left ? (unsigned char)svg[i] : 0);
        for (size_t i = 0; i < 4; i++)
            putc(i <= left ? digits[bits >> (18 - 6 * i) & 63] : '=', f);
        svg += left < 3 ? left : 3;
    }
}
