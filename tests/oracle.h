// The third GPT-2: scalar loops, to judge the two decoders by.
#ifndef LOCKSTEP_TESTS_ORACLE_H
#define LOCKSTEP_TESTS_ORACLE_H

#include "common/model/model.h"

// logits (V) of the last of T >= 1 tokens, every id below V. Slow: it recomputes everything, one
// number at a time.
void oracle_logits(const model *m, const int *tokens, size_t T, float *logits);

#endif
