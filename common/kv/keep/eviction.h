// Which rows one head keeps under heavy:R+H, and a journal of who left and of the scores, so that
// the last rows can be taken back.
#ifndef LOCKSTEP_KV_EVICTION_H
#define LOCKSTEP_KV_EVICTION_H

#include <stddef.h>
#include <stdint.h>

enum { JOURNAL = 32 }; // rows that can be taken back: drafts

// A row that is kept. Its key and value stay in their slot as long as it is kept, and for as long
// as the journal may bring it back.
typedef struct kept {
    uint32_t position, slot;
    float score;
} kept;

// One head of one layer. The journal's entry of row t is number t mod JOURNAL.
typedef struct head {
    size_t recent, most; // R; R + H, or fewer where there are no more rows
    kept *rows;          // (most + 1) by position, ascending
    size_t count;
    uint32_t *spare; // (slots) those that are free, the next one last
    size_t spares;
    kept gone[JOURNAL]; // which row left after row t; its slot is NOWHERE if none did
    float *scores;      // (JOURNAL, most) of all rows kept before row t, in their order
} head;

// Nothing is kept; slots 0..slots-1 are free.
void eviction_begin(head *h, size_t slots);

// Row t joins with score 0, in the next free slot.
void eviction_join(head *h, size_t t);

// After row t, whose weights have been added to the scores: if too many rows are kept, one leaves.
void eviction_leave(head *h, size_t t);

// Row t, the last one, has never been. At most JOURNAL rows, one after the other.
void eviction_undo(head *h, size_t t);

// Row t of this head; NULL: it is not kept.
const kept *eviction_find(const head *h, size_t t);

#endif
