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

// The same; sees (L, G, T, T), all false before: sees[l][h][t][s] is whether row t saw position s.
void oracle_run(const model *m, const kv_spec *spec, const int *tokens, size_t T, size_t wanted,
                float *logits, bool *sees);

// Whether row t sees position s, under all or window.
bool oracle_sees(const kv_spec *spec, size_t t, size_t s);

// What the 16 bits of a binary16 number stand for (IEEE 754-2008, 3.4); those of one that is not
// finite give 2^16 or more.
double oracle_half(uint16_t bits);

// What the 16 bits of a bfloat16 number stand for, and the 8 bits of an E4M3FN number (Micikevicius
// et al. 2022, table 1), whose codes beyond 448 stand for NaN there and go on counting here.
double oracle_bfloat(uint16_t bits);
double oracle_fp8(uint16_t bits);

// A finite x as the nearest of these, the one of two with an even code. |x| < 65520 for the first;
// fp8 ends at 448.
float oracle_as_half(float x);
float oracle_as_bfloat(float x);
float oracle_as_fp8(float x);

// The n numbers of a block, at most 32, as form q8 keeps them.
void oracle_as_q8(float *x, size_t n);

#endif
