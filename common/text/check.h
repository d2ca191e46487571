// build/tokenize --check: what was understood of a model's tokenizer, and whether texts come back.
#ifndef LOCKSTEP_CHECK_H
#define LOCKSTEP_CHECK_H

#include <stdio.h>

#include "common/base/status.h"
#include "common/text/tokenizer.h"

// Prints to f which files were read and what they say, whether the tokenizer fits the model beside
// it, and how many of the built-in texts come back from their ids as they were. Fails where one
// does not.
status check_tokenizer(const char *dir, FILE *f);

// Fails, naming `what`, unless the ids of these n bytes decode to them, but for the spaces that the
// tokenizer puts before pieces.
status check_round_trip(const tokenizer *t, const char *what, const char *text, size_t n);

#endif
