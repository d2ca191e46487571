// Snapshots: the state of a cached decoder in a file, and back. What a row is depends on the tokens
// before it alone, so keys and values, saved, are what computing them again would give.
#ifndef LOCKSTEP_SNAPSHOT_H
#define LOCKSTEP_SNAPSHOT_H

#include "common/generate/generate.h"

// Saves what d, of kvcache_decoder, holds; `digest` is that of its model (model_digest). With
// `hidden` the input of each layer in place of keys and values: half the bytes, at the price of a
// pass over all tokens, for no decoder keeps them.
status snapshot_save(decoder *d, const char *digest, bool hidden, const char *path);

// d goes on where the snapshot was taken; *tokens is how many rows it then holds. What is refused
// or damaged leaves d empty.
status snapshot_load(decoder *d, const char *digest, const char *path, size_t *tokens);

extern const state_api snapshot;

#endif
