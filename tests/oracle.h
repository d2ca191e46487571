// The third GPT-2: scalar loops, to judge the two decoders by.
#ifndef LOCKSTEP_TESTS_ORACLE_H
#define LOCKSTEP_TESTS_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv/spec.h"
#include "common/model/model.h"

// logits (wanted, V) of the last 1 <= wanted <= T of these tokens, every id below V, where keys and
// values are kept under this spec. Slow: it recomputes everything, one number at a time.
void oracle_logits(const model *m, const kv_spec *spec, const int *tokens, size_t T, size_t wanted,
                   float *logits);

// Whether row t sees position s.
bool oracle_sees(const kv_spec *spec, size_t t, size_t s);

// What the 16 bits of a binary16 number stand for (IEEE 754-2008, 3.4); those of one that is not
// finite give 2^16 or more.
double oracle_half(uint16_t bits);

// |x| < 65520 as the nearest of these, the even one of two.
float oracle_as_half(float x);

#endif
