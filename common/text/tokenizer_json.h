// What a tokenizer.json of Hugging Face's asks for. Every part of it is understood, or the file is
// refused by that part's name: a part left out would give other ids without a word.
#ifndef LOCKSTEP_TOKENIZER_JSON_H
#define LOCKSTEP_TOKENIZER_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"

// Checks all parts but model.vocab and model.merges. *prefix_space: whether a space is put before
// each piece of text. *added: the added tokens, [{"content", "id", "late"}], to be released.
status tokenizer_json_read(const json_t *root, bool *prefix_space, json_t **added);

// One added token, as tokenizer.json and tokenizer_config.json describe it, put behind the others.
status tokenizer_json_add(json_t *added, const json_t *described, json_int_t id);

#endif
