// One run of a generating program, and its parts, each in a file of its own or in generate.c.
#ifndef LOCKSTEP_RUN_H
#define LOCKSTEP_RUN_H

#include "common/file/npy.h"
#include "common/generate/ends.h"
#include "common/generate/figures.h"
#include "common/generate/generate.h"
#include "common/generate/options.h"
#include "common/generate/run/context_end.h"
#include "common/generate/sampler.h"
#include "common/text/tokenizer.h"

typedef struct run {
    const generate_program *program;
    const decoder_api *api; // the program's
    options options;
    const char *text; // the prompt or its ids as given, (bytes)
    size_t bytes;
    char *read;       // text, if it had to be read
    npy_matrix given; // the prompt's rows of --from-hidden
    float *rows;      // (prompt, C) the same, as the model is given them
    model *model;
    kv_spec spec;
    tokenizer *tokenizer; // NULL for a synthetic model, and where ids do without
    ends ends;            // the ids that end a text
    sampler *sampler;
    size_t drawable; // ids that it chooses among
    decoder *decoder;
    speculation *speculation; // NULL unless there is a draft
    npy_writer *logits;       // NULL unless wanted
    int *ids;                 // (prompt + most): the prompt, then what was generated
    size_t most;       // tokens that can be generated: as many as wanted and as the context allows
    context_view view; // of these, those that a step is given
    char end[CONTEXT_END_TEXT];    // what becomes of the others
    char weights[ANSWERS_WEIGHTS]; // of the model, as answers know them
    char *answer;                  // that was found, or NULL
    size_t answered;               // tokens in it, which stand behind the prompt's
    float *embedding;              // (C), or NULL unless wanted
    report report;
} run;

// Options that do not go together, or not with this program, are refused with the reason.
status run_check_options(run *r);

// The prompt as text or ids as they are given, before anything is loaded; then as token ids. Rows
// in place of ids are attached to the model, and ids beyond its vocabulary name them.
status run_read_prompt(run *r);
status run_tokenize(run *r);

// --hidden: the prompt's rows as they enter the first layer.
status run_write_hidden(run *r);

// --answers: looks for one, and keeps one that was not found.
status run_find_answer(run *r);
status run_keep_answer(run *r);

// The text, or what was wanted in place of it; whether its latest id ends it.
status run_generate(run *r);
bool run_at_end_of_text(const run *r);
status run_flush_output(void);

// --embed: the prompt's embedding, and the line that tells it.
status run_embed(run *r);
status run_print_embedding(run *r);

#endif
