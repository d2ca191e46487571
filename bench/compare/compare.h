// Two matrices of logits, of any two implementations: how far apart they are, and whether that is
// rounding or a bug.
#ifndef LOCKSTEP_BENCH_COMPARE_H
#define LOCKSTEP_BENCH_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/base/options.h"
#include "common/file/npy.h"

// The roughest arithmetic that a difference may be blamed on. A row's distance is the root mean
// square of B - A over the standard deviation of A's logits in that row, where what is masked in
// both is left out and outliers are drawn in (rows.c); beyond `limit` it is a bug
// (notes/07-your-own-cache.md shows the measurements behind the limits).
typedef struct compare_precision {
    const char *name;
    double limit;
} compare_precision;

typedef enum verdict { VERDICT_IDENTICAL, VERDICT_ROUNDING, VERDICT_BUG } verdict;

enum { COMPARE_TOP = 5 };

// Why a row is no rounding: it moved too far; or KL or the largest logit, which is no tie, say so.
typedef enum compare_beyond { WITHIN, BEYOND_DISTANCE, BEYOND_KL, BEYOND_TOP1 } compare_beyond;

// NaN and NaN are equal here, whatever their bits. An infinity or a NaN in one matrix alone makes a
// row's distance infinite.
typedef struct comparison_row {
    size_t differing;      // elements whose bits differ,
    size_t first;          // the first of them
    size_t masked;         // logits that are masked in both, by -Inf, -1e9, -65504 and the like
    double max_difference; // |B - A|, over what is finite in both and not masked,
    size_t max_column;     // and where
    uint64_t max_ulps;     // sticks at INT64_MAX
    double distance;       // as above
    double offset;         // what is added to all of A's row; 0 unless the rest is rounding
    double kl;             // of softmax(B) from softmax(A), in nats; NaN where a row has none
    size_t top1_a, top1_b; // the largest logit's column
    size_t top5; // how many of the COMPARE_TOP largest (or of all, if fewer) are the same columns
    compare_beyond beyond; // the limit, or what KL and the largest logit allow
} comparison_row;

// What all the wrong rows have in common.
enum { COMPARE_EVIDENCE = 400 };

typedef struct compare_diagnosis {
    const char *name;                // NULL: nothing to explain, every difference is rounding
    size_t first, rows;              // the first row that shows it, and how many do
    char evidence[COMPARE_EVIDENCE]; // a sentence
} compare_diagnosis;

typedef struct comparison {
    const char *a_path, *b_path; // borrowed
    size_t rows, columns;
    bool as_double; // bits and ulps are those of float64; else of float32, a float64 being rounded
                    // to it
    comparison_row *row; // (rows)
    size_t differing;    // numbers
    size_t masked;       // in both
    size_t differing_rows;
    size_t first;                  // the first differing row,
    double first_a, first_b;       // and its first differing numbers
    size_t largest;                // row of the largest difference,
    size_t max_ulps_row;           // of the most ulps,
    size_t farthest;               // of the largest distance
    size_t max_kl_row;             // and of the largest divergence
    double median_distance;        // of the differing rows
    double mean_kl;                // of those rows that have one; NaN if none has
    size_t top1;                   // rows whose largest logit is in the same column
    double top5;                   // mean share of common columns among the largest
    size_t beyond, first_beyond;   // rows beyond the limit, and the first
    bool log_probs_a, log_probs_b; // every row is log-probabilities; if of one alone, the other
                                   // was turned into such before anything was compared
    const compare_precision *precision;
    compare_diagnosis diagnosis;
    size_t repeat_differing; // numbers that differ between two runs of B
    verdict verdict;
} comparison;

// The precision of that name; NULL if there is none.
const compare_precision *compare_precision_find(const char *name);

// The finest precision that allows such a distance; NULL if none does.
const compare_precision *compare_precision_for(double distance);

// Whether no row stands out of the others, as rounding looks.
bool compare_is_even(const comparison *c);

// Compares B with A, the reference. Refused: matrices of different shape, without numbers, or with
// nothing finite. Free it with compare_free.
status compare_matrices(const npy_matrix *a, const npy_matrix *b,
                        const compare_precision *precision, comparison *out);
void compare_free(comparison *c);

// B once more, from the same call: if bits differ, B is not repeatable, which explains all else.
// Refused: another shape.
status compare_again(comparison *c, const npy_matrix *b, const npy_matrix *again);

const char *compare_verdict_name(verdict v);

// Why the verdict is what it is, in one or two sentences.
enum { COMPARE_WHY = 1024 };
void compare_explain(const comparison *c, char text[COMPARE_WHY]);

// For people, with a table of the first, the worst and the first bad rows, or of all; its last line
// is the verdict.
void compare_print(FILE *f, const comparison *c, bool all_rows);

// For programs: one JSON object, with "per_row" if all_rows; null is what is not a finite number.
status compare_print_json(FILE *f, const comparison *c, bool all_rows);

// `bench compare A.npy B.npy`.
command compare_command;

#endif
