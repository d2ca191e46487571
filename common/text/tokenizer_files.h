// Which files make the tokenizer of a directory, and what they say together.
#ifndef LOCKSTEP_TOKENIZER_FILES_H
#define LOCKSTEP_TOKENIZER_FILES_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/text/vocabulary.h"

typedef struct tokenizer_rules {
    vocabulary v;
    bool prefix_space; // a space goes before each piece of text that does not begin with one
    const char *files; // what was read
} tokenizer_rules;

// Reads DIR/tokenizer.json, else DIR/vocab.json and DIR/merges.txt (with added_tokens.json and
// tokenizer_config.json, if they are there), else a merges.txt that is known to be OpenAI's.
status tokenizer_rules_read(const char *dir, tokenizer_rules *out);

#endif
