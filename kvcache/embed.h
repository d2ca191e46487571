// The embedding of a prompt: its final hidden states, behind the last layer norm, pooled to one
// row.
#ifndef LOCKSTEP_EMBED_H
#define LOCKSTEP_EMBED_H

#include "common/decoder.h"

// By a decoder of kvcache_decoder that has seen nothing yet, and has afterwards seen the T tokens.
// embedding (C) is, with pooling "last", the last row, and with "mean" their sum, added up in
// binary32 from +0 in the order of positions, over T.
status embed(decoder *d, const int *tokens, size_t T, const char *pooling, float *embedding);

#endif
