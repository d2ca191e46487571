// Reads SVG tag by tag and prints what it knows.
#include "bench/report/drawing.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

enum { DEEPEST = 32, NAME = 32, VALUE = 1 << 16 };

typedef struct reader {
    FILE *f;
    const char *path, *prefix, *title;
    const char *at;
    char open[DEEPEST][NAME]; // the elements that are open, outermost first
    size_t depth;
    size_t hidden; // the depth from which on nothing is printed; 0: everything is
    bool drawn;    // the outermost element was opened
    char value[VALUE];
} reader;

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

static bool is_one_of(const char *name, const char *const *list)
{
    while (*list && strcmp(name, *list) != 0)
        list++;
    return *list;
}

// The variable for a colour of the light drawings; NULL for any other colour.
static const char *variable_of(const char *value)
{
    static const struct {
        unsigned rgb;
        const char *variable;
    } palette[] = {{0xffffff, "var(--paper)"}, {0x1f2328, "var(--ink)"},
                   {0x000000, "var(--ink)"},   {0xd8dee4, "var(--faint)"},
                   {0xd55e00, "var(--naive)"}, {0x0072b2, "var(--cached)"}};
    unsigned r, g, b, rgb = 0x1000000;
    if (sscanf(value, "rgb(%u,%u,%u)", &r, &g, &b) == 3 && (r | g | b) < 256)
        rgb = r << 16 | g << 8 | b;
    else if (*value == '#' && strlen(value) == 7)
        rgb = (unsigned)strtoul(value + 1, NULL, 16);
    else if (strcmp(value, "black") == 0)
        rgb = 0;
    for (size_t i = 0; i < sizeof palette / sizeof *palette; i++)
        if (palette[i].rgb == rgb)
            return palette[i].variable;
    return NULL;
}

// An attribute that a drawing needs; others, such as fonts, are the page's own matter.
static status print_attribute(reader *r, const char *name)
{
    static const char *const kept[] = {"d",
                                       "x",
                                       "y",
                                       "cx",
                                       "cy",
                                       "r",
                                       "x1",
                                       "x2",
                                       "y1",
                                       "y2",
                                       "dy",
                                       "width",
                                       "height",
                                       "points",
                                       "transform",
                                       "fill",
                                       "stroke",
                                       "color",
                                       "font-size",
                                       "font-weight",
                                       "font-style",
                                       "text-anchor",
                                       "opacity",
                                       "fill-opacity",
                                       "fill-rule",
                                       "rotate",
                                       "stroke-width",
                                       "stroke-linecap",
                                       "stroke-linejoin",
                                       "stroke-dasharray",
                                       NULL};
    const char *value = r->value;
    if (strcmp(name, "id") == 0)
        fprintf(r->f, " id=\"%s-", r->prefix);
    else if (strcmp(name, "xlink:href") == 0 || strcmp(name, "href") == 0) {
        if (*value++ != '#')
            return status_fail(
                "%s: it refers to something outside itself; draw it again with make plots",
                r->path);
        fprintf(r->f, " href=\"#%s-", r->prefix);
    } else if (is_one_of(name, kept)) {
        const char *variable = variable_of(value);
        fprintf(r->f, " %s=\"", name);
        value = variable ? variable : value;
    } else
        return NULL;
    drawing_text(r->f, value);
    fputc('"', r->f);
    return NULL;
}

static status cut(const reader *r)
{
    return status_fail(
        "%s: the drawing was cut short, or is none of gnuplot's; draw it again with make plots",
        r->path);
}

static status take_name(reader *r, char name[NAME])
{
    size_t n = strcspn(r->at, " \t\r\n=/><'\"");
    if (n == 0 || n >= NAME)
        return cut(r);
    memcpy(name, r->at, n);
    name[n] = '\0';
    r->at += n;
    return NULL;
}

static void skip_space(reader *r)
{
    r->at += strspn(r->at, " \t\r\n");
}

// name='value' or name="value"
static status take_attribute(reader *r, char name[NAME])
{
    status failed = take_name(r, name);
    skip_space(r);
    if (failed || *r->at++ != '=')
        return cut(r);
    skip_space(r);
    char quote = *r->at++;
    const char *end = quote == '"' || quote == '\'' ? strchr(r->at, quote) : NULL;
    if (!end || end - r->at >= VALUE || memchr(r->at, '<', (size_t)(end - r->at)))
        return cut(r);
    memcpy(r->value, r->at, (size_t)(end - r->at));
    r->value[end - r->at] = '\0';
    r->at = end + 1;
    return NULL;
}

// The outermost element has nothing of its own but the size.
static status print_root_attribute(reader *r, const char *name)
{
    double x, y, width, height;
    if (strcmp(name, "viewBox") != 0)
        return NULL;
    if (sscanf(r->value, "%lf %lf %lf %lf", &x, &y, &width, &height) != 4)
        return cut(r);
    fprintf(r->f, " viewBox=\"%g %g %g %g\" role=\"img\" aria-label=\"", x, y, width, height);
    drawing_text(r->f, r->title);
    fputc('"', r->f);
    r->drawn = true;
    return NULL;
}

static void close_element(reader *r)
{
    if (!r->hidden)
        fprintf(r->f, "</%s>%s", r->open[r->depth - 1],
                strcmp(r->open[r->depth - 1], "g") == 0 ? "\n" : "");
    r->depth--;
    if (r->depth < r->hidden)
        r->hidden = 0;
}

static status open_element(reader *r)
{
    static const char *const shown[] = {"svg",      "g",    "defs", "circle", "path",
                                        "rect",     "use",  "text", "tspan",  "polygon",
                                        "polyline", "line", NULL};
    static const char *const dropped[] = {"title",   "desc",        "filter",
                                          "feFlood", "feComposite", NULL};
    char attribute[NAME];
    if (r->depth == DEEPEST || (r->depth == 0 && r->drawn))
        return cut(r);
    char *name = r->open[r->depth++];
    status failed = take_name(r, name);
    if (!failed && (r->depth == 1) != (strcmp(name, "svg") == 0))
        failed = cut(r);
    if (!failed && !is_one_of(name, shown) && !is_one_of(name, dropped))
        failed = status_fail(
            "%s: it holds <%s>, which no drawing here needs; draw it again with make plots",
            r->path, name);
    if (!failed && !r->hidden && is_one_of(name, dropped))
        r->hidden = r->depth;
    if (!failed && !r->hidden)
        fprintf(r->f, "<%s", name);
    for (skip_space(r); !failed && *r->at != '>' && *r->at != '/'; skip_space(r)) {
        failed = take_attribute(r, attribute);
        if (!failed && !r->hidden)
            failed =
                r->depth == 1 ? print_root_attribute(r, attribute) : print_attribute(r, attribute);
    }
    if (failed)
        return failed;
    bool empty = *r->at == '/';
    r->at += empty;
    if (*r->at++ != '>')
        return cut(r);
    if (!r->drawn)
        return cut(r);
    if (!r->hidden)
        fputc('>', r->f);
    if (empty)
        close_element(r);
    return NULL;
}

// What stands behind a '<'.
static status take_tag(reader *r)
{
    const char *end;
    char name[NAME];
    if (*r->at == '?' || strncmp(r->at, "!--", 3) == 0) {
        end = strstr(r->at, *r->at == '?' ? "?>" : "-->");
        r->at = end ? end + (*r->at == '?' ? 2 : 3) : r->at;
        return end ? NULL : cut(r);
    }
    if (*r->at != '/')
        return open_element(r);
    r->at++;
    status failed = take_name(r, name);
    skip_space(r);
    if (failed || *r->at++ != '>' || r->depth == 0 || strcmp(name, r->open[r->depth - 1]) != 0)
        return cut(r);
    close_element(r);
    return NULL;
}

// Words between tags are escaped already, but for what gnuplot may have left: a lone &.
static void take_words(reader *r)
{
    bool words = r->depth > 0 && !r->hidden && r->open[r->depth - 1][0] == 't'; // text, tspan
    for (; *r->at && *r->at != '<'; r->at++) {
        size_t n = *r->at == '&' ? strspn(r->at + 1, "#abcdefghijklmnopqrstuvwxyz0123456789") : 0;
        if (words)
            fputs(*r->at == '&' && r->at[1 + n] != ';' ? "&amp;" : (char[]){*r->at, '\0'}, r->f);
    }
}

status drawing_inline(FILE *f, const char *path, const char *svg, const char *prefix,
                      const char *title)
{
    reader *r = memory_array(1, sizeof *r);
    if (!r)
        return memory_failed("a drawing");
    *r = (reader){.f = f, .path = path, .prefix = prefix, .title = title, .at = svg};
    status failed = NULL;
    while (!failed && *r->at)
        if (*r->at == '<') {
            r->at++;
            failed = take_tag(r);
        } else
            take_words(r);
    if (!failed && (r->depth > 0 || !r->drawn))
        failed = cut(r);
    memory_free(r);
    return failed;
}
