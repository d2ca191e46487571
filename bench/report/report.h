// The report: everything that was verified and measured, on one page for people and in one file for
// programs.
#ifndef LOCKSTEP_BENCH_REPORT_H
#define LOCKSTEP_BENCH_REPORT_H

#include <jansson.h>

#include "bench/curves/curves.h"
#include "bench/report/table.h"

// A median of a summary, with its interval.
typedef struct report_median {
    const char *model, *decoder, *metric;
    double x, samples, throttled;
    estimate value;
} report_median;

enum {
    REPORT_SWEEP = EXPERIMENTS, // behind the experiments of build/bench curves, in report_data.of
    REPORT_ROOFLINE,
    REPORT_STRATEGIES, // from here on: what report_plain has
    REPORT_SHARES,
    REPORT_PREFIX,
    REPORT_PLACEMENT,
    REPORT_TRACE,
    REPORT_SNAPSHOT,
    REPORT_SPECULATE,
    REPORT_SERVE,
    REPORT_PASSES,
    REPORT_ALL
};

// The summary, or the points of the roofline; the fits; the counts, the memory, or the roofs.
enum { REPORT_SUMMARY, REPORT_FITS, REPORT_MORE, REPORT_TABLES };

// A column that the page shows: its name in the file, its heading, and what its numbers are divided
// by; REPORT_TEXT: it holds text, REPORT_COUNT: whole numbers.
enum { REPORT_COUNT = -1, REPORT_TEXT = 0 };
typedef struct report_column {
    const char *name, *heading;
    double divisor;
} report_column;

enum { REPORT_COLUMNS = 12 };

// What a command has left in one CSV file, and is shown as it stands there.
typedef struct report_plain {
    const char *name, *question, *command, *csv, *caption;
    const char *model; // the one that the command takes unless another is asked for
    size_t texts;      // columns before the numbers
    report_column shown[REPORT_COLUMNS];
} report_plain;

extern const report_plain report_plains[REPORT_ALL - REPORT_STRATEGIES];

// An experiment and its files. `problem` says why there is nothing more, or is empty.
typedef struct measured {
    const char *name, *question, *x, *unit;
    const experiment *curve;   // NULL: it is not one of build/bench curves
    const report_plain *plain; // NULL: it is not shown as it stands
    table tables[REPORT_TABLES];
    report_median *medians;
    size_t n;
    json_t *context;
    char *conclusion; // NULL: none
    char command[1024], problem[1024];
} measured;

// Reads m->plain's file, and prints its table, and what measures it.
status report_read_plain(const char *dir, measured *m);
void report_print_plain(FILE *f, const char *id, const measured *m);
void report_plain_command(FILE *f, const measured *m);

// Prints " -d SUBJECT" for a decoder of m, whose name is as it was measured; a plug-in, of which
// only the digest is known, as PLUGIN.so.
void report_print_decoder(FILE *f, const measured *m, const char *name);

// One picture of the page and what belongs to it: plots/ID.gp draws it, and
// plots/page/sections/ID.html holds the words.
typedef struct story {
    size_t of; // which experiment's: an index into report_data.of
    const char *id;
    const char *metric; // the only one that its table shows; NULL: all of the experiment's
} story;

// All of them, in the order of the page; those of one experiment stand together.
enum { REPORT_STORIES = 24 };
extern const story report_stories[REPORT_STORIES];

enum { REPORT_LIGHT, REPORT_DARK, REPORT_THEMES };

typedef struct report_data {
    char results[FILE_PATH_SIZE], plots[FILE_PATH_SIZE], out[FILE_PATH_SIZE];
    json_t *verified; // an array, as results.json has it
    measured of[REPORT_ALL];
    char *pictures[REPORT_STORIES][REPORT_THEMES]; // SVG files, both or none
    size_t problems;                               // files that are there and cannot be shown
} report_data;

// The longest context up to which the build that measured m has verified the model of a median and
// the decoder called `who`; 0: it has not.
size_t report_verified(const report_data *r, const measured *m, const char *model_name,
                       const char *who);

// For results_write, with the report as `what`: the page.
status report_print_page(FILE *f, const void *what);

// `build/bench report [DIR]`
command report_command;

#endif
