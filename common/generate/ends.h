// Which tokens end a text: eos_token_id of a model's files.
#ifndef LOCKSTEP_ENDS_H
#define LOCKSTEP_ENDS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

enum { ENDS_MOST = 16 };

typedef struct ends {
    size_t n;
    int ids[ENDS_MOST];
} ends;

// From DIR/generation_config.json, else DIR/config.json: one id, a list of them, or null for none.
// Where neither speaks of it, that of <|endoftext|> (`end_of_text`, -1: there is none). An id
// beyond the model's last is kept: it never comes.
status ends_read(const char *dir, int end_of_text, ends *out);

bool ends_with(const ends *e, int id);

#endif
