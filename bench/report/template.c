// Variables are {{name}}, and each must have a value.
#include "bench/report/template.h"

#include <string.h>

#include "bench/report/drawing.h"
#include "common/base/memory.h"

static const char opening[] = "<!-- ", closing[] = " -->";

// The line that ends at `end` begins a part: it is cut out of the text.
static status take_part(template *t, char *line, char *end)
{
    char *name = line + strlen(opening), *close = strstr(name, closing);
    if (!end || !close || close + strlen(closing) != end || t->count == TEMPLATE_PARTS)
        return status_fail("%s: a part begins with a line such as <!-- name -->, and there are no "
                           "more than %d",
                           t->path, TEMPLATE_PARTS);
    if (line > t->text)
        line[-1] = '\0'; // the newline that ends the part before,
    *line = '\0';        // which may be empty
    *close = '\0';
    t->parts[t->count].name = name;
    t->parts[t->count++].text = end + 1;
    return NULL;
}

static status cut_parts(template *t)
{
    const size_t n = strlen(t->text);
    status failed = NULL;
    if (n > 0 && t->text[n - 1] == '\n')
        t->text[n - 1] = '\0'; // as all parts end
    for (char *line = t->text, *end; line && !failed; line = end ? end + 1 : NULL) {
        end = strchr(line, '\n');
        if (strncmp(line, opening, strlen(opening)) == 0)
            failed = take_part(t, line, end);
    }
    return failed || t->count
               ? failed
               : status_fail("%s: no line such as <!-- name --> begins a part", t->path);
}

status template_file(const char *dir, const char *name, char **text)
{
    size_t n;
    *text = NULL;
    if (!file_exists(dir, name))
        return status_fail("%s/%s is missing: the report reads its words where this program was "
                           "built; restore them there with git checkout plots/page",
                           dir, name);
    return file_read(dir, name, text, &n);
}

status template_read(const char *dir, const char *name, template *out)
{
    *out = (template){.count = 0};
    status failed = file_path(dir, name, out->path);
    if (!failed)
        failed = template_file(dir, name, &out->text);
    return failed ? failed : cut_parts(out);
}

void template_free(template *t)
{
    memory_free(t->text);
    t->text = NULL;
    t->count = 0;
}

const char *template_part(const template *t, const char *part)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->parts[i].name, part) == 0)
            return t->parts[i].text;
    return NULL;
}

static status print_value(FILE *f, const template *t, const char *name, size_t n,
                          const template_value *values, const void *what)
{
    const template_value *v = values;
    while (v->name && (strlen(v->name) != n || strncmp(v->name, name, n) != 0))
        v++;
    if (!v->name || !(v->text || v->html || v->print))
        return status_fail("%s: nothing is known that could stand for {{%.*s}}", t->path, (int)n,
                           name);
    if (v->print)
        return v->print(f, what);
    if (v->html)
        fputs(v->html, f);
    else
        drawing_text(f, v->text);
    return NULL;
}

status template_fill(FILE *f, const template *t, const char *part, const template_value *values,
                     const void *what)
{
    const char *at = template_part(t, part), *open;
    status failed = NULL;
    if (!at)
        return status_fail("%s: there is no part <!-- %s -->", t->path, part);
    for (; !failed && (open = strstr(at, "{{"));) {
        const char *name = open + 2, *end = strstr(name, "}}");
        if (!end || end - name > 32)
            return status_fail("%s: {{%.20s is not closed with }}", t->path, name);
        fwrite(at, 1, (size_t)(open - at), f);
        failed = print_value(f, t, name, (size_t)(end - name), values, what);
        at = end + 2;
    }
    if (!failed)
        fputs(at, f);
    return failed;
}
