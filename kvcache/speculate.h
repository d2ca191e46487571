// Speculation: a draft proposes tokens, one pass of the target verifies them all (Leviathan et al.
// 2023, Chen et al. 2023). A row of the target depends on the tokens before it alone, and its draw
// on (seed, position, logits): so the text is that of plain decoding, in every bit, whatever the
// draft says.
#ifndef LOCKSTEP_SPECULATE_H
#define LOCKSTEP_SPECULATE_H

#include "kvcache/draft.h"

extern const speculation_api speculate;

// With a draft that is already there, which speculate.close closes.
status speculate_with(const draft *d, const speculation_target *target, speculation **out);

#endif
