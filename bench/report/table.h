// The CSV files that the commands leave, read again: every row whole, every number a number, or a
// message with its line.
#ifndef LOCKSTEP_BENCH_TABLE_H
#define LOCKSTEP_BENCH_TABLE_H

#include <stddef.h>

#include "common/file/file.h"

typedef struct table {
    char path[FILE_PATH_SIZE];
    size_t rows, columns;
    char **fields; // (1 + rows, columns), the names first: table_text
    char *text;    // the file itself, cut into fields; UTF-8 without control characters
} table;

// Reads DIR/NAME, whose header must begin with `columns`, such as "model,decoder"; there may be
// more. A file that was cut, or a row of another length, is refused. table_free frees what there
// is, also after a failure.
status table_read(const char *dir, const char *name, const char *columns, table *out);
void table_free(table *t);

// A field; row 0 is the header, rows are 1..rows.
const char *table_text(const table *t, size_t row, size_t column);

// A field as a number; NaN where it is empty or "nan". Refused: anything else, and what is
// infinite.
status table_number(const table *t, size_t row, size_t column, double *out);

#endif
