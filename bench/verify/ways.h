// The ways in which verify reaches a context: each is a script of calls of step.
#ifndef LOCKSTEP_BENCH_WAYS_H
#define LOCKSTEP_BENCH_WAYS_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/subject/subject.h"

// One call of step with T ids. The first `kept` are those of the fixed sequence; the rest are
// drafts, wrong on purpose, which the next move takes back. The logits of `wanted` rows are asked
// for: those of rows before `kept` can be compared.
typedef struct move {
    size_t kept, T, wanted;
    bool reset; // forget everything first
} move;

typedef struct way {
    const char *name;
    const subject *by;
    size_t T_max;    // of the decoders that make the moves
    size_t decoders; // 1, or 2 that take turns: move i is made by decoder i % 2, and only the first
                     // one's are compared
    move *moves;
    size_t n;
    bool independent; // every move can be made alone
} way;

enum {
    RECOMPUTED,
    ONE_BY_ONE,
    BY_2,
    BY_6,
    BY_7,
    BY_16,
    BY_100,
    FRESH,
    ROLLED_BACK,
    BESIDE_ANOTHER,
    WAYS
};

// Fills all ways for these ascending contexts. `judge` recomputes each of them alone, or under a
// spec that is not plain a few; `tested` reaches them, and what lies between, in nine ways.
// ways_free frees what there is, also after a failure.
status ways_plan(const subject *judge, const subject *tested, const size_t *contexts, size_t n,
                 way ways[WAYS]);
void ways_free(way ways[WAYS]);

// The ids of a move: (T) into `ids`.
void ways_ids(const move *m, size_t V, int *ids);

#endif
