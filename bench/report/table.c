// CSV (RFC 4180) as results_csv_text writes it.
#include "bench/report/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/text/utf8.h"

// Takes one field off *at, unquoted in place; *end is the character behind it: a comma, a newline,
// or zero.
static char *take_field(char **at, char *end)
{
    char *start = *at, *to = start, *from = start;
    bool quoted = *from == '"';
    for (from += quoted; *from && (quoted || (*from != ',' && *from != '\n')); from++) {
        if (quoted && *from == '"' && *++from != '"') {
            quoted = false;
            from--;
            continue;
        }
        *to++ = *from == '\n' ? '?' : *from;
    }
    *end = *from;
    *at = from + (*from != '\0');
    *to = '\0';
    return start;
}

static status add_field(table *t, size_t *n, char *field)
{
    if ((*n & (*n - 1)) == 0) { // doubles at powers of two
        char **more = memory_resize(t->fields, *n ? 2 * *n : 1, sizeof *more);
        if (!more)
            return memory_failed(t->path);
        t->fields = more;
    }
    t->fields[(*n)++] = field;
    return NULL;
}

// One row: the header if there are no columns yet.
static status take_row(table *t, char **at, size_t *n)
{
    size_t before = *n, line = t->columns ? 2 + t->rows : 1;
    char end = ',';
    while (end == ',') {
        status failed = add_field(t, n, take_field(at, &end));
        if (failed)
            return failed;
    }
    if (end != '\n')
        return status_fail("%s, line %zu: the file was cut short", t->path, line);
    if (t->columns && *n - before != t->columns)
        return status_fail("%s, line %zu: %zu fields instead of %zu", t->path, line, *n - before,
                           t->columns);
    t->rows += t->columns > 0;
    t->columns = *n - before;
    return NULL;
}

// Whether the header begins with these names.
static bool begins_with(const table *t, const char *columns)
{
    for (size_t k = 0; *columns; k++) {
        size_t length = strcspn(columns, ",");
        if (k >= t->columns || strlen(t->fields[k]) != length ||
            strncmp(t->fields[k], columns, length) != 0)
            return false;
        columns += length + (columns[length] == ',');
    }
    return true;
}

status table_read(const char *dir, const char *name, const char *columns, table *out)
{
    size_t bytes, n = 0;
    *out = (table){0};
    status failed = file_path(dir, name, out->path);
    if (!failed)
        failed = file_read(dir, name, &out->text, &bytes);
    if (failed)
        return failed;
    utf8_clean(out->text, bytes);
    char *at = out->text;
    do
        failed = take_row(out, &at, &n);
    while (!failed && *at);
    if (!failed && !begins_with(out, columns))
        failed = status_fail("%s: the columns are not %s", out->path, columns);
    return failed;
}

void table_free(table *t)
{
    memory_free(t->fields);
    memory_free(t->text);
    *t = (table){0};
}

const char *table_text(const table *t, size_t row, size_t column)
{
    return t->fields[row * t->columns + column];
}

status table_number(const table *t, size_t row, size_t column, double *out)
{
    const char *text = table_text(t, row, column);
    char *end;
    *out = *text ? strtod(text, &end) : NAN;
    if (*text && (*end != '\0' || isinf(*out)))
        return status_fail("%s, line %zu: %s is '%.40s', not a number", t->path, row + 1,
                           table_text(t, 0, column), text);
    return NULL;
}
