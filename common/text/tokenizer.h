// GPT-2's byte-level BPE: text to ids and back, lossless for any bytes.
#ifndef LOCKSTEP_TOKENIZER_H
#define LOCKSTEP_TOKENIZER_H

#include <stddef.h>

#include "common/base/status.h"

typedef struct tokenizer tokenizer;

// Reads DIR/merges.txt (and DIR/vocab.json, which must then agree), else DIR/tokenizer.json (merges
// as "a b" or
// ["a","b"]).
status tokenizer_load(const char *dir, tokenizer **out);
void tokenizer_free(tokenizer *t);

// Tokens known: 256 bytes + merges + 1. The last id is <|endoftext|>.
size_t tokenizer_size(const tokenizer *t);
int tokenizer_end_of_text(const tokenizer *t);

// n bytes of text (any bytes, at most 2^29) to ids in a new array; free it with memory_free.
// "<|endoftext|>" in the text is ordinary text. On failure *ids is NULL. One tokenizer may encode
// on several threads at once.
status tokenizer_encode(const tokenizer *t, const char *text, size_t n, int **ids, size_t *count);

// The bytes of one token, not zero-terminated; NULL and length 0 for an id that is not a token.
const char *tokenizer_decode(const tokenizer *t, int id, size_t *length);

#endif
