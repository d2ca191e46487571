// Where drafts come from: a smaller model of the same vocabulary, or the text itself.
#ifndef LOCKSTEP_DRAFT_H
#define LOCKSTEP_DRAFT_H

#include "common/generate/speculation.h"

typedef struct draft {
    size_t k; // tokens proposed at most, 1 to SPECULATION_MOST
    // Proposes what follows ids (T): puts at most k ids, each below V, behind them, where there is
    // room, and returns how many. May be wrong, never fails: what cannot be proposed is not.
    size_t (*propose)(void *state, int *ids, size_t T, size_t k);
    void *state;
    void (*close)(void *state);
} draft;

enum { DRAFT_K = 4, DRAFT_NGRAM = 3 }; // unless others are given

// `text`: DIR[:K], a model that draws by the target's own rule, or lookup[:N,K]: of the last N
// tokens (at most 3), or else of fewer, the latest earlier occurrence, and what follows it there.
status draft_open(const char *text, const speculation_target *target, draft *out);

// The proposals of a lookup, as above.
size_t draft_lookup(size_t ngram, int *ids, size_t T, size_t k);

#endif
