// What a finished generation tells about itself: a short block of figures for people, or a JSON
// object for programs.
#ifndef LOCKSTEP_REPORT_H
#define LOCKSTEP_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/generate/speculation.h"

// What became of --answers.
typedef enum report_answer {
    ANSWER_UNASKED,  // the option was not given
    ANSWER_FOUND,    // nothing was computed
    ANSWER_KEPT,     // computed, and kept
    ANSWER_LOST,     // computed, and could not be kept
    ANSWER_UNSEEDED, // drawn without a seed that was asked for: neither looked for nor kept
} report_answer;

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
    size_t restored;     // rows that --load-state put in place, and
    uint64_t restore_ns; // how long that took, the model's digest not counted; 0 without
    size_t computed;     // rows that the first pass computed, where the program counts them
    size_t rows;         // rows that all passes computed
    const char *context_end; // as in --context-end; NULL: the text ends with the context
    size_t drops;            // how often tokens at the front of the context were given up
    report_answer answer;
    uint64_t answer_ns; // that looking for it took
    bool rows_given;    // the prompt was given as rows: its ids mean nothing
    const char *draft;  // as in --draft, or NULL: then there are no counts
    const speculation_counts *counts;
} report;

// The time per output token as vLLM's benchmark defines it, (latency - TTFT) / (N - 1); N, the
// tokens generated, is > 1.
double report_tpot_ns(const report *r);

// Seven aligned lines, one more with a restored state, another end of the context or answers, and
// three more with a draft; what does not exist is n/a.
void report_figures(FILE *f, const report *r);

// The line of these that tells what became of --answers, if it was given; and the word for it in
// JSON.
void report_print_answer(FILE *f, const report *r);
const char *report_answer_word(report_answer a);

// One JSON object on one line, its keys as above plus "prompt_ids", "tpot_ns" and "tokens_per_s"
// (generated tokens over latency); null is what does not exist.
// "restored", with --load-state only, holds "tokens", "ns" and "computed"; "context_end", where
// tokens are given up, "policy", "drops" and "rows"; "answer", with --answers only, "found", "kept"
// or "not kept". "prompt_ids" is null where the prompt was given as rows.
// "speculation", with a draft only, holds it, "passes", "tokens_per_pass", "predicted", and by
// position "judged" and "accepted". "text" is that of the generated ids
// without the <|endoftext|> that ended them; each ill-formed UTF-8 sequence in it is replaced by
// U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts"). t is NULL for models
// without text. Errors of f itself stay in f, for its owner to find.
status report_json(FILE *f, const report *r, const tokenizer *t);

#endif
