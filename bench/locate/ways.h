// The ways in which verify reaches a context: each is a script of calls of step.
#ifndef LOCKSTEP_BENCH_WAYS_H
#define LOCKSTEP_BENCH_WAYS_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/subject/subject.h"

// How a text differs from the fixed sequence from id `kept` on. All drafts are other ids. The rest
// change one place, and what a cache that compares too little compares stays the same: the low bits
// of an id, the ids in any order, their sum, their neighbours.
typedef enum edit {
    EDIT_DRAFTS,
    EDIT_PLUS_1,
    EDIT_HIGH_BIT,  // the highest that can be flipped: the same low bits, however many are compared
    EDIT_SWAPPED,   // with the next one
    EDIT_SAME_SUM,  // one more, and the next one less
    EDIT_SAME_HASH, // one more, and the next one 31 less: h = 31 h + id is the same
    EDIT_DELETED,
    EDIT_INSERTED,
    EDIT_ROTATED, // to the end of the text
    EDITS,
    EDIT_NO_ID = EDITS // one that the vocabulary does not have
} edit;

// One call of step with T ids. The first `kept` are those of the fixed sequence; the rest are wrong
// on purpose, and the next move takes them back. The logits of `wanted` rows are asked for: those
// of rows before `kept` can be compared.
typedef struct move {
    size_t kept, T, wanted;
    edit edit;
    bool reset;     // forget everything first
    bool renew;     // destroy the decoder first, and make another one
    bool refused;   // the arguments are wrong: the step must be refused, and change nothing
    size_t decoder; // which of the way's decoders makes it
    const int *ids; // (T) ids of its own, borrowed, in place of all that; NULL
} move;

typedef struct way {
    const char *name;
    const subject *by;
    size_t T_max;    // of the decoders that make the moves,
    size_t T_other;  // and of the second one; 0: the same
    size_t decoders; // 1, or 2 that live at once; only the first one's logits are compared
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
    EDITED,
    BESIDE_ANOTHER,
    RANDOM_WALK, // as far as it has been walked (bench/verify/walk.h)
    WAYS
};

// Fills all ways for these ascending contexts. `judge` recomputes each of them alone, or under a
// spec that is not plain a few; `tested` reaches them, and what lies between, in the others.
// The random walk is left empty. ways_free frees what there is, also after a failure.
status ways_plan(const subject *judge, const subject *tested, const size_t *contexts, size_t n,
                 way ways[WAYS]);
void ways_free(way ways[WAYS]);

// Tokens that one of its decoders, 0 or 1, is made for.
size_t ways_room(const way *w, size_t which);

// Adds a move to a way.
status ways_add(way *w, move m);

// The calls that lead to move `last`, as words: "reset; step(1); step(20, 4 drafts)", with the
// number of tokens; the middle of many is left out. Returns text.
enum { WAYS_CALLS = 512 };
const char *ways_calls(const way *w, size_t last, char text[WAYS_CALLS]);

// The ids of a move: its own, or (T) written into `room`.
const int *ways_ids(const move *m, size_t V, int *room);

#endif
