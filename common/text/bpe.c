// Byte-pair encoding of one word in O(n log n), with a heap of the places where two symbols can be
// joined. Like Hugging Face's tokenizers it joins one place at a time, so that a merge may also
// make way for one that stands before it in the list.
#include "common/text/bpe.h"

#include <stdbool.h>

#include "common/base/memory.h"

enum { NONE = VOCABULARY_NONE };

// A part of a word, kept at the index of its first byte.
typedef struct bpe_symbol {
    int id;             // NONE: joined to the one before
    int previous, next; // NONE: at the word's end
} symbol;

// An entry of the heap: the rank of a merge, and where its left part stands. The lowest goes first:
// the first merge, and of its places the leftmost.
static uint64_t entry(int rank, int left)
{
    return (uint64_t)rank << 32 | (uint32_t)left;
}

static void push(bpe *b, uint64_t new)
{
    uint64_t *heap = b->heap;
    size_t at = b->waiting++;
    for (; at > 0 && new < heap[(at - 1) / 2]; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = new;
}

static uint64_t pop(bpe *b)
{
    uint64_t *heap = b->heap, first = heap[0], last = heap[--b->waiting];
    size_t at = 0;
    for (size_t child = 1; child < b->waiting; child = 2 * at + 1) {
        // At the end heap[child + 1] is `last`, still there: no harm.
        child += heap[child + 1] < heap[child];
        if (last <= heap[child])
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

// The merge that joins the symbol at `left` to the next one, or NONE.
static int rank_at(const bpe *b, int left)
{
    const symbol *l = &b->word[left];
    return l->id == NONE || l->next == NONE ? NONE
                                            : vocabulary_rank(b->v, l->id, b->word[l->next].id);
}

static void offer(bpe *b, int left)
{
    const int rank = left == NONE ? NONE : rank_at(b, left);
    if (rank != NONE)
        push(b, entry(rank, left));
}

static void join(bpe *b, int made, int left)
{
    symbol *l = &b->word[left], *r = &b->word[l->next];
    r->id = NONE;
    l->id = made;
    l->next = r->next;
    if (l->next != NONE)
        b->word[l->next].previous = left;
    offer(b, l->previous);
    offer(b, left);
}

// What was offered may have been joined since, or stand beside another symbol.
static void join_all(bpe *b)
{
    while (b->waiting > 0) {
        const uint64_t top = pop(b);
        const int left = (int)(uint32_t)top, rank = rank_at(b, left);
        const int made = b->v->merges[top >> 32].made;
        if (rank != NONE && b->v->merges[rank].made == made)
            join(b, made, left);
    }
}

static status make_room(bpe *b, size_t n)
{
    if (n <= b->capacity)
        return NULL;
    memory_free(b->word);
    memory_free(b->heap);
    b->capacity = n;
    b->word = memory_array(n, sizeof *b->word);
    b->heap = memory_array(n, 2 * sizeof *b->heap);
    return b->word && b->heap ? NULL : memory_failed("the longest word of the text");
}

status bpe_encode(bpe *b, const char *bytes, size_t n, int *ids, int **end)
{
    status s = make_room(b, n);
    if (s)
        return s;
    for (size_t i = 0; i < n; i++)
        b->word[i] = (symbol){b->v->byte_id[(unsigned char)bytes[i]], (int)i - 1,
                              i + 1 < n ? (int)i + 1 : NONE};
    for (size_t i = 0; i < n; i++)
        offer(b, (int)i);
    join_all(b);
    for (int i = 0; i != NONE; i = b->word[i].next)
        *ids++ = b->word[i].id;
    *end = ids;
    return NULL;
}

void bpe_free(bpe *b)
{
    memory_free(b->word);
    memory_free(b->heap);
}
