// The words of the page are files in plots/page/: this reads them and fills in what a report says.
#ifndef LOCKSTEP_BENCH_TEMPLATE_H
#define LOCKSTEP_BENCH_TEMPLATE_H

#include <stdio.h>

#include "common/file/file.h"

enum { TEMPLATE_PARTS = 16 };

// A file of HTML in parts, each behind a line `<!-- NAME -->`.
typedef struct template
{
    char path[FILE_PATH_SIZE];
    char *text; // cut into the parts
    struct {
        const char *name, *text;
    } parts[TEMPLATE_PARTS];
    size_t count;
}
template;

// What stands for {{name}}: text, in which nothing is taken for HTML, HTML as it is, or what a
// function prints.
typedef struct template_value {
    const char *name, *text, *html;
    status (*print)(FILE *f, const void *what);
} template_value;

// All of DIR/NAME; free it with memory_free. Where it is missing, the message says the cure.
status template_file(const char *dir, const char *name, char **text);

// Reads DIR/NAME. A file without parts, or with too many, is refused. template_free frees what
// there is, also after a failure.
status template_read(const char *dir, const char *name, template *out);
void template_free(template *t);

// The text of a part; NULL if there is none.
const char *template_part(const template *t, const char *part);

// Prints a part, with values up to one without a name for its variables; `what` is for those
// that print. Refused: a part that is not there, and a variable that is not closed or has no
// value.
status template_fill(FILE *f, const template *t, const char *part, const template_value *values,
                     const void *what);

#endif
