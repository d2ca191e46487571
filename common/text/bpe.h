// Byte-pair encoding of one word: of all neighbours that a merge joins, those of the first merge in
// the list are joined, from the left, until none is left.
#ifndef LOCKSTEP_BPE_H
#define LOCKSTEP_BPE_H

#include <stdint.h>

#include "common/text/vocabulary.h"

// Room for the longest word so far. Start with {.v = vocabulary}.
typedef struct bpe {
    const vocabulary *v;
    size_t capacity;         // bytes of a word
    struct bpe_symbol *word; // (capacity)
    uint64_t *heap;          // (2 capacity): what can be joined, the next one on top
    size_t waiting;          // in heap
} bpe;

// Writes the ids of n bytes to ids, at most n, and returns behind the last in *end.
status bpe_encode(bpe *b, const char *bytes, size_t n, int *ids, int **end);
void bpe_free(bpe *b);

#endif
