// What generating text knows of answers that are kept: kvcache/answers.h is where it is done.
#ifndef LOCKSTEP_GENERATE_ANSWERS_H
#define LOCKSTEP_GENERATE_ANSWERS_H

#include "common/generate/ends.h"
#include "common/generate/sampler.h"
#include "common/kv/spec.h"
#include "common/model/model.h"

enum { ANSWERS_WEIGHTS = 65 }; // bytes of a digest, with its zero

// All that an answer depends on.
typedef struct question {
    const char *what;  // "text", "request" or "embedding": each has answers of its own form
    const char *space; // the namespace of who asks, or NULL
    const model *m;
    const char *weights; // the digest of its weights, by answers_api
    const kv_spec *spec;
    const int *ids; // (n) of the prompt
    size_t n;
    const char *pooling;     // of an embedding: then nothing below counts; else NULL
    size_t drawable;         // ids that can be drawn
    const ends *ends;        // the ids that end the text, or NULL: none does
    sampling how;            // also the seed
    size_t tokens;           // to generate at most
    const char *context_end; // as in --context-end
    const char *const *stop; // (stops) the text ends before the first of these
    size_t stops;
} question;

// A program that keeps answers has these functions.
typedef struct answers_api {
    // Refuses a directory that is not there or that cannot be written to.
    status (*check)(const char *dir);
    // The digest of a model's weights, once for all questions.
    status (*weigh)(const model *m, char weights[ANSWERS_WEIGHTS]);
    // *bytes: the answer to q in a new array (memory_free), (*n) bytes with a zero behind them;
    // NULL: there is none. What is there but damaged, or not the answer to q, is none: then a line
    // is returned that says so.
    status (*find)(const char *dir, const question *q, char **bytes, size_t *n);
    // Keeps n bytes as the answer to q.
    status (*keep)(const char *dir, const question *q, const void *bytes, size_t n);
} answers_api;

#endif
