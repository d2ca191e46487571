// The numbers and tables of the report's page, as HTML.
#ifndef LOCKSTEP_BENCH_REPORT_TABLES_H
#define LOCKSTEP_BENCH_REPORT_TABLES_H

#include "bench/report/report.h"

// Three significant digits; a dash for NaN.
void report_number(FILE *f, double value);

// A whole number in threes, 2,097,152; a dash for NaN.
void report_whole(FILE *f, double n);

// Text for people, in which x^2 stands for a square.
void report_prose(FILE *f, const char *text);

// A table with its caption, in a box of its own to scroll in. `kind` tells the tables of section
// `id` apart.
void report_table_begin(FILE *f, const char *id, const char *kind, const char *caption);
void report_table_end(FILE *f);

// What was measured at the largest place, in a line for each metric, with the slopes; nothing where
// a story has none.
void report_answer(FILE *f, const report_data *r, const story *s);

// Whether the picture of a story shows no speed-up but of what was verified.
bool report_may_compare(const report_data *r, const story *s);

// All tables of a story whose experiment was measured.
status report_tables(FILE *f, const report_data *r, const story *s);

#endif
