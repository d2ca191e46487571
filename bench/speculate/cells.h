// What bench speculate times: texts with a draft, and passes over several rows.
#ifndef LOCKSTEP_BENCH_CELLS_H
#define LOCKSTEP_BENCH_CELLS_H

#include "common/generate/speculation.h"

// A model, a decoder on it, and room for a text.
typedef struct site {
    model *m;
    tokenizer *t; // NULL: fixed tokens are the prompt
    decoder *d;
    size_t T_max, tokens; // tokens generated for a sample
    size_t context;       // of CELL_ROWS: behind so many tokens stand the rows, however many
    int *ids, *truth;     // (T_max + 1)
    size_t truth_length;  // of what plain greedy decoding gives, prompt included; 0: not yet known
} site;

enum { CELL_NAME = 64 };

typedef enum cell_kind { CELL_PLAIN, CELL_DRAFT, CELL_FORCED, CELL_ROWS } cell_kind;

typedef struct cell {
    cell_kind kind;
    site *at;
    char name[CELL_NAME]; // "draft" (common/models/draft), "lookup"; "plain"; "right 0.7"; "rows"
    size_t x;             // tokens drafted for a pass; rows of a pass
    float temperature;
    double rate; // CELL_FORCED: the chance of a drafted token to be right
    size_t taken;
    speculation_counts counts; // of all samples, warming up included
} cell;

enum { CELL_CONTEXT = 500 }; // less where the model takes less

// A site for texts of `tokens` generated tokens and, with `rows` > 0, for passes over so many rows:
// then its prompts are fixed tokens. site_free frees what there is, also after a failure.
status site_open(const char *model_name, size_t tokens, size_t rows, site *out);
void site_free(site *s);

// One sample: nanoseconds a token behind the first pass's, or those of the pass.
status cell_take(cell *c, double *ns);

#endif
