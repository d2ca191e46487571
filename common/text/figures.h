// What a finished generation tells about itself: a short block of figures for people, or a JSON
// object for programs.
#ifndef LOCKSTEP_REPORT_H
#define LOCKSTEP_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/text/tokenizer.h"

typedef struct report {
    const char *decoder, *model;
    const char *stop; // why it ended: "tokens" (as many as wanted), "eos" (<|endoftext|>) or
                      // "context" (it is full)
    const int *ids;   // (prompt + generated)
    size_t prompt, generated; // tokens
    uint64_t load_ns;         // model and tokenizer
    uint64_t tokenize_ns;     // 0 if the prompt was given as ids
    uint64_t ttft_ns;         // from the prompt's ids to the first generated id, sampling included
    uint64_t latency_ns; // from the prompt's ids to the last generated id; writing them out is not
                         // counted
    size_t kv_bytes;     // of the keys and values that the decoder holds at the end
} report;

// The time per output token as vLLM's benchmark defines it, (latency - TTFT) / (N - 1); N, the
// tokens generated, is > 1.
double report_tpot_ns(const report *r);

// Six aligned lines; what does not exist is n/a.
void report_figures(FILE *f, const report *r);

// One JSON object on one line, its keys as above plus "prompt_ids", "tpot_ns" and "tokens_per_s"
// (generated tokens over latency); null is what does not exist. "text" is that of the generated ids
// without the <|endoftext|> that ended them; each ill-formed UTF-8 sequence in it is replaced by
// U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts"). t is NULL for models
// without text. Errors of f itself stay in f, for its owner to find.
status report_json(FILE *f, const report *r, const tokenizer *t);

#endif
