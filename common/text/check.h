// build/tokenize --check: what was understood of a model's tokenizer, and whether texts come back.
#ifndef LOCKSTEP_CHECK_H
#define LOCKSTEP_CHECK_H

#include <stdio.h>

#include "common/base/status.h"

// Prints to f which files were read and what they say, whether the tokenizer fits the model beside
// it, and how many of the built-in texts come back from their ids as they were. Fails where one does
// not.
status check_tokenizer(const char *dir, FILE *f);

#endif
