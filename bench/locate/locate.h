// The locator: where two runs part, and what that looks like.
#ifndef LOCKSTEP_BENCH_LOCATE_H
#define LOCKSTEP_BENCH_LOCATE_H

#include <jansson.h>
#include <stdio.h>

#include "bench/locate/trace.h"

// What kind of difference it is.
typedef enum located { LOCATED_ROUNDING, LOCATED_PRECISION, LOCATED_BUG } located;

// How a row differs from what it should be, from the most telling to the least.
typedef enum pattern {
    PATTERN_STALE,    // the position was last computed from a token that the sequence does not have
                      // any more
    PATTERN_LENGTH,   // the row has another length: other keys are looked at
    PATTERN_COPY,     // it is the row of another place, to the last bit
    PATTERN_NAN,      // NaN or Inf where there was none
    PATTERN_ZEROS,    // all zero
    PATTERN_FRESH,    // what memory holds in a plug-in's process before anyone writes it
                      // (PLUGIN_FILLING)
    PATTERN_PERMUTED, // the right numbers in the wrong order
    PATTERN_SHORTER,  // each number is one of a shorter format, and near the right one
    PATTERN_MEMORY,   // the same byte again and again: memory freed, or never written
    PATTERN_FACTOR,   // each number multiplied by sqrt(D), or divided by it
    PATTERN_SIGN,     // zeros of the other sign
    PATTERN_TINY,     // differences of a few units in the last place, spread over the row
    PATTERN_BEYOND,   // no row differs, but one was computed at or behind the end of the sequence
    PATTERN_OTHER,    // none of these
    PATTERNS
} pattern;

typedef struct location {
    bool found; // false: the logits differ, but nothing that could be observed does
    place at;
    size_t element; // the first that differs in this row
    float expected, got;
    size_t n, expected_n; // elements of the row, and how many there should be
    size_t differing;     // how many of them differ
    double apart;         // their largest difference, as a share of the row's largest element
    double logits_apart;  // the same of the failing context's logits; 0 where they agree
    size_t heads, positions,
        from_on; // heads of the same row that differ; positions at which the stage differs; those
                 // from here on
    pattern pattern;
    place copy_of; // for PATTERN_COPY
    located kind;
    const char *suspects; // classic bugs that look like this
    char evidence[160];   // what was seen of it, as a sentence; or empty
    bool changing;        // the same calls, made again, go wrong elsewhere or not at all
    bool late;            // stored one slot behind its own
    bool shifted;         // positions are off by the same in all rows,
    bool restarts;        // or start from 0 again
    bool idle;            // the last call computed fewer rows than it was asked for
    const way *path;      // how the context was reached, borrowed: by moves 0..failing
    size_t failing, context;
} location;

// Runs the judge on the failing move's text and w's moves 0..failing under observation, and finds
// the first difference by position, then layer, stage, head, element. logits_apart: of the row of
// logits that failed, by locate_apart; 0 where they agree.
status locate(const model *m, const subject *judge, const way *w, size_t failing,
              double logits_apart, location *out);

// Sets l->suspects from the rest.
void location_suspect(location *l);

// In lines of 80 columns.
void location_print(const location *l, FILE *f);
json_t *location_json(const location *l); // the caller's; NULL if out of memory

// The largest difference of two rows as a share of the largest element expected; infinite where a
// NaN or Inf came in.
double locate_apart(const float *expected, const float *got, size_t n);

#endif
