// A progress bar on standard error: drawn on a terminal, silent anywhere else.
#ifndef LOCKSTEP_BENCH_PROGRESS_H
#define LOCKSTEP_BENCH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    const char *label;
    uint64_t begin_ns, drawn_ns; // on clock_ns
    bool shown, coloured;        // coloured unless NO_COLOR is set or TERM is dumb
} progress;

// Whether colours are welcome: not if NO_COLOR is set (no-color.org) or TERM is dumb or missing.
bool progress_wants_colour(void);

// Starts the clock; label is borrowed.
progress progress_begin(const char *label);

// The fraction done, 0 to 1. The time left follows from it and the time passed. Cheap: it draws ten
// times a second at most. One thread at a time.
void progress_update(progress *p, double done);

// Wipes the bar, so that what is printed next starts on an empty line.
void progress_end(progress *p);

#endif
