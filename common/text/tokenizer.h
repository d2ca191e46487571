// GPT-2's byte-level BPE: text to ids and back, lossless for any bytes.
#ifndef LOCKSTEP_TOKENIZER_H
#define LOCKSTEP_TOKENIZER_H

#include <stddef.h>

#include "common/base/status.h"
#include "common/model/model.h"

typedef struct tokenizer tokenizer;

// The tokenizer of a model: what every program uses that steps one. A tokenizer with more tokens
// than the model has rows of wte is refused. *out is NULL for a synthetic model, which has none.
status tokenizer_load_for(const model *m, tokenizer **out);

// The tokenizer in a directory by itself, which must be understood in full (notes/12-files.md); and
// whether it fits a model with V rows of wte.
status tokenizer_load(const char *dir, tokenizer **out);
status tokenizer_fits(const tokenizer *t, const char *dir, size_t V);
void tokenizer_free(tokenizer *t);

// Tokens known: the ids are 0 .. size - 1. And that of <|endoftext|>, or -1 if there is none.
size_t tokenizer_size(const tokenizer *t);
int tokenizer_end_of_text(const tokenizer *t);

// What the files say (common/text/tokenizer_files.h), for whoever shows it.
const struct tokenizer_rules *tokenizer_about(const tokenizer *t);

// n bytes of text (any bytes, at most 2^29) to ids in a new array; free it with memory_free. Added
// tokens in the text are cut out as tokens, as the files list them; "<|endoftext|>" is ordinary
// text where they list none, as in GPT-2's own encoder. On failure *ids is NULL. One tokenizer may
// encode on several threads at once.
status tokenizer_encode(const tokenizer *t, const char *text, size_t n, int **ids, size_t *count);

// The bytes of one token, not zero-terminated; NULL and length 0 for an id that is not a token.
const char *tokenizer_decode(const tokenizer *t, int id, size_t *length);

#endif
