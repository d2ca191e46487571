// Text generation from the command line: all of a program but the decoder it is given.
#ifndef LOCKSTEP_GENERATE_H
#define LOCKSTEP_GENERATE_H

#include "common/decoder.h"
#include "common/generate/answers.h"
#include "common/generate/options.h"
#include "common/generate/speculation.h"
#include "common/generate/state.h"

// What a program is made of. What is NULL, it cannot do: then the options for it are refused.
typedef struct generate_program {
    const decoder_api *decoder;
    size_t layers;                      // whose keys and values the decoder keeps at a time; 0: all
    const speculation_api *speculates;  // --draft
    const state_api *states;            // --save-state and --load-state
    status (*serves)(const options *o); // --requests and --serve, of which it does all
    const answers_api *answers;         // --answers
    // --embed: the embedding (C) of T tokens by a decoder that has seen none yet.
    status (*embeds)(decoder *d, const int *tokens, size_t T, const char *pooling,
                     float *embedding);
} generate_program;

// Does what the arguments ask (see options.h): text, ids or JSON to standard output, the rest to
// standard error. Returns the exit status: 0 done, 1 failed, 2 usage error, 128 + n ended by signal
// n. Ignores SIGPIPE from then on.
int generate_main(const generate_program *program, int argc, char **argv);

// For `serves`: the signal that asked for an end, or 0, and the failure that says so.
int generate_interruption(void);
status generate_interrupted(void);

#endif
