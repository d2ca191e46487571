// The tokens of a byte-level BPE: the bytes of each id, which two tokens join to which third, and
// the tokens that are cut out of the text before anything else.
#ifndef LOCKSTEP_VOCABULARY_H
#define LOCKSTEP_VOCABULARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

enum { VOCABULARY_NONE = -1, VOCABULARY_BYTES = 256 };

// Some characters, of a file or of a token.
typedef struct span {
    const char *at, *end;
} span;

typedef struct vocabulary_token {
    size_t at, n; // its bytes: bytes[at .. at + n - 1]
} vocabulary_token;

typedef struct vocabulary_merge {
    int left, right, made;
} vocabulary_merge;

typedef struct vocabulary_added {
    int id;
    span bytes;
    bool late; // looked for only where no early one was found (Hugging Face's "normalized")
} vocabulary_added;

typedef struct vocabulary {
    size_t size;              // tokens: the ids are 0 .. size - 1
    vocabulary_token *tokens; // (size)
    char *bytes;              // of all tokens
    int end_of_text;          // the id of <|endoftext|>, or VOCABULARY_NONE
    int byte_id[VOCABULARY_BYTES];
    size_t merge_count;
    vocabulary_merge *merges; // (merge_count), by rank: the first in the file is done first
    int *by_parts;            // (slots): a rank, or VOCABULARY_NONE; open addressing
    size_t slots;             // a power of two, at least twice as many as merges
    size_t added_count;
    vocabulary_added *added; // (added_count): the early ones first, each kind by its bytes
    char *key;               // (longest + 1): room to put two parts together
    size_t longest;          // bytes of the longest key
} vocabulary;

// Fills *v from `ids`, an object {"token": id}, and `added`, an array of {"content", "id", "late"}.
// The ids must be 0, 1, 2, ... without a gap, every one of the 256 bytes must have a token.
status vocabulary_make(const json_t *ids, const json_t *added, vocabulary *v);
void vocabulary_free(vocabulary *v);

// Makes room for so many merges, then takes them one by one, in order, as the files spell them.
status vocabulary_expect_merges(vocabulary *v, size_t count);
status vocabulary_add_merge(vocabulary *v, const json_t *ids, span left, span right);

// The rank of the merge that joins these two tokens, or VOCABULARY_NONE.
int vocabulary_rank(const vocabulary *v, int left, int right);

// The bytes of token `id`.
static inline span vocabulary_bytes(const vocabulary *v, int id)
{
    const char *at = v->bytes + v->tokens[id].at;
    return (span){at, at + v->tokens[id].n};
}

// GPT-2 writes bytes as visible characters: most as themselves, the others in ascending order as
// U+0100, U+0101, ... Writes the UTF-8 of that character, and returns its length (1 or 2).
size_t vocabulary_spell(int byte, char out[3]);

#endif
