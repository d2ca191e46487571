// Lists of kept rows: in, out, and back.
#include "common/kv/keep/eviction.h"

#include <string.h>

static const uint32_t NOWHERE = UINT32_MAX;

void eviction_begin(head *h, size_t slots)
{
    h->count = 0;
    h->spares = 0;
    for (size_t i = slots; i-- > 0;) // so that they go out in ascending order
        h->spare[h->spares++] = (uint32_t)i;
    for (size_t i = 0; i < JOURNAL; i++)
        h->gone[i].slot = NOWHERE;
}

// Row t joins, in a slot that has been written. The journal notes the scores before it; its entry
// was that of row t - JOURNAL, which now cannot be taken back any more.
void eviction_join(head *h, size_t t)
{
    kept *gone = &h->gone[t % JOURNAL];
    float *scores = h->scores + t % JOURNAL * h->most;
    for (size_t i = 0; i < h->count; i++)
        scores[i] = h->rows[i].score;
    h->rows[h->count++] = (kept){(uint32_t)t, h->spare[--h->spares], 0};
    if (gone->slot != NOWHERE)
        h->spare[h->spares++] = gone->slot;
    gone->slot = NOWHERE;
}

// After row t: if there are too many, the one with the lowest score among the positions up to t - R
// leaves, the first of several.
void eviction_leave(head *h, size_t t)
{
    size_t lowest = 0;
    if (h->count <= h->most)
        return;
    for (size_t i = 1; i < h->count && h->rows[i].position + h->recent <= t; i++)
        if (h->rows[i].score < h->rows[lowest].score)
            lowest = i;
    h->gone[t % JOURNAL] = h->rows[lowest];
    h->count--;
    memmove(h->rows + lowest, h->rows + lowest + 1, (h->count - lowest) * sizeof *h->rows);
}

// Row t has never been: it leaves, who left because of it comes back, and scores are as before.
void eviction_undo(head *h, size_t t)
{
    kept *gone = &h->gone[t % JOURNAL];
    size_t i = --h->count;
    h->spare[h->spares++] = h->rows[i].slot;
    if (gone->slot != NOWHERE) {
        for (; i > 0 && h->rows[i - 1].position > gone->position; i--)
            h->rows[i] = h->rows[i - 1];
        h->rows[i] = *gone;
        h->count++;
    }
    gone->slot = NOWHERE;
    for (i = 0; i < h->count; i++)
        h->rows[i].score = h->scores[t % JOURNAL * h->most + i];
}

const kept *eviction_find(const head *h, size_t t)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->rows[i].position == t)
            return &h->rows[i];
    return NULL;
}
