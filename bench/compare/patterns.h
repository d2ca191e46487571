// What a wrong row of numbers looks like beside the right one: known patterns, found in plain
// arrays. Nothing here knows of files or of decoders.
#ifndef LOCKSTEP_BENCH_PATTERNS_H
#define LOCKSTEP_BENCH_PATTERNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum patterns_kind {
    PATTERNS_NONE,
    PATTERNS_MEMORY,        // the same byte again and again: memory freed, or never written
    PATTERNS_LOG_PROBS,     // one of the two holds log-probabilities, the other logits
    PATTERNS_OFFSET,        // one constant added to the row, which softmax does not see
    PATTERNS_PROBABILITIES, // got is softmax(expected)
    PATTERNS_FACTOR,        // one constant multiplied with the row
    PATTERNS_PRECISION,     // every number is one of a shorter format, and near the right one
    PATTERNS_HEADS,         // blocks of D numbers, each right, in another order
    PATTERNS_ORDER,         // the right numbers in another order that is not one of blocks
    PATTERNS_KINDS
} patterns_kind;

// The evidence; what a kind does not name is 0.
typedef struct patterns_finding {
    patterns_kind kind;
    uint32_t bits;      // MEMORY: what is repeated, as 32 bits,
    size_t first;       // from this element on,
    size_t elements;    // and how many hold it
    double offset;      // LOG_PROBS, OFFSET: got - expected
    bool of_expected;   // LOG_PROBS: it is expected that holds them
    double factor;      // FACTOR: got / expected
    size_t D;           // HEADS: size of a block; FACTOR: factor = sqrt(D) or 1/sqrt(D), else 0
    size_t heads;       // HEADS: n/D
    const char *format; // PRECISION: float16, bfloat16, float8 e4m3, float8 e5m2, int8, int4
    double quantum;     // PRECISION: step between neighbours at the row's largest number
    bool truncated;     // PRECISION: always towards zero
} patterns_finding;

// Looks at one row of n numbers, `got` beside `expected`: logits, scores, keys, values or whatever
// a stage computes, in any unit. Floats are to be widened by a cast, and `as_double` says that they
// were doubles. What is masked in both is to be left out by the caller. `room` is (2n).
patterns_finding patterns_find(const double *expected, const double *got, size_t n, bool as_double,
                               double *room);

// Pearson's correlation of the two, in -1 to 1; 0 if either is constant.
double patterns_correlation(const double *expected, const double *got, size_t n);

// log(sum of exp(x)), n > 0, without overflow: log-probabilities are x minus this.
double patterns_log_sum_exp(const double *x, size_t n);

// The name of a kind, for people and programs alike.
const char *patterns_name(patterns_kind kind);

#endif
