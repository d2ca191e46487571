// What generating text knows of speculation: several tokens from one pass, and what is counted of
// it. kvcache/speculate.h is where it is done.
#ifndef LOCKSTEP_SPECULATION_H
#define LOCKSTEP_SPECULATION_H

#include "common/decoder.h"
#include "common/generate/sampler.h"
#include "common/text/tokenizer.h"

enum { SPECULATION_MOST = 31 }; // tokens drafted for one pass: a window takes back as many for free

// Drafted tokens by their position in the draft, 0 the first.
typedef struct speculation_counts {
    size_t passes[SPECULATION_MOST + 1]; // of the target, by the number of tokens drafted for them
    size_t judged[SPECULATION_MOST];     // whose predecessors in the draft were all accepted
    size_t accepted[SPECULATION_MOST];   // of these
} speculation_counts;

// All passes; the tokens that they gave, one each and those accepted.
size_t speculation_passes(const speculation_counts *c);
size_t speculation_tokens(const speculation_counts *c);

// The share of judged tokens that was accepted, 0 where none was judged.
double speculation_rate(const speculation_counts *c);

// Tokens a pass as the rate a predicts them, if acceptance did not depend on position: the mean of
//
//     (1 - a^(k+1)) / (1 - a)
//
// over the passes, k being the number drafted for each (Leviathan et al. 2023, eq. 1).
double speculation_predicted(const speculation_counts *c);

// The target, and how tokens are drawn from it.
typedef struct speculation_target {
    const decoder_api *api;
    decoder *decoder;
    size_t T_max; // tokens that the decoder can hold
    const model *m;
    const tokenizer *t; // NULL if there is none
    sampling how;
    size_t n; // ids that can be drawn
} speculation_target;

typedef struct speculation speculation;

// A program that speculates has these functions.
typedef struct speculation_api {
    // `draft` as in --draft. Borrows what the target points at.
    status (*open)(const char *draft, const speculation_target *target, speculation **out);
    // One pass over ids (T), which has room for `most` >= 1 more: *n >= 1 tokens are put behind
    // them, those that plain decoding would choose. *logits: (*n, V), from which they were drawn,
    // the decoder's own. Where plain decoding would find no finite logits, ids[T] is -1 and *n 1.
    status (*pass)(speculation *s, int *ids, size_t T, size_t most, size_t *n,
                   const float **logits);
    const speculation_counts *(*counts)(const speculation *s);
    void (*close)(speculation *s); // NULL: nothing to do
} speculation_api;

#endif
