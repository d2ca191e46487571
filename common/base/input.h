// What a user hands in: whole numbers and lists of token ids.
#ifndef LOCKSTEP_INPUT_H
#define LOCKSTEP_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

// The n characters as a whole number of at most `most`: decimal digits and nothing else. False if
// they are not one.
bool input_whole(const char *digits, size_t n, uint64_t most, uint64_t *out);

// The decimal digits at *text, which moves behind them, as a whole number of at most `most`. False
// if there is none, or a larger one.
bool input_digits(const char **text, uint64_t most, uint64_t *out);

// Whether text ends in `end`, with something before it; *before: how many characters that is, or
// all of them.
bool input_ends_in(const char *text, const char *end, size_t *before);

// A list of ids separated by commas or white space, n characters, to a new array (free it with
// memory_free). Refused, naming the item and its place, unless each is a whole number below
// `limit`; limit <= 2^31.
status input_ids(const char *text, size_t n, size_t limit, int **ids, size_t *count);

#endif
