// How the next token is chosen from the logits: the best one, or one drawn with temperature, top-k,
// top-p and a seed.
#ifndef LOCKSTEP_SAMPLER_H
#define LOCKSTEP_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct sampling {
    float temperature; // finite, >= 0; 0 is greedy: always the first of the best logits
    size_t top_k;      // draw among the k best logits only (Fan et al. 2018, section 5.4); 0: off
    float top_p;   // 0 < p <= 1: draw among the fewest best logits that together have at least this
                   // probability ("nucleus sampling", Holtzman et al. 2020, section 3.1), measured
                   // among what top_k left; 1: off
    uint64_t seed; // the same seed, settings, position and logits give the same id on every machine
} sampling;

typedef struct sampler sampler;

// A sampler that chooses among the ids 0..n-1, n >= 1: the tokens that have a text, which may be
// fewer than the logits.
status sampler_create(const sampling *how, size_t n, sampler **out);
void sampler_free(sampler *s);

// An id below n chosen by its logit, logits: (n or more); -1 if one of the n is infinite or not a
// number. Equal logits rank by id, the lower first. An id's weight is exp((logit - best) /
// temperature), and its chance that weight over the sum of all candidates'. The draw is an
// exponential race: of the candidates the one with the least E / weight wins, E = -ln of a hash of
// (seed, position, id). `position` is the place that the token will have in the sequence. So a draw
// depends on nothing that was drawn before, and two models that agree mostly draw alike.
int sampler_choose(sampler *s, const float *logits, size_t position);

#endif
