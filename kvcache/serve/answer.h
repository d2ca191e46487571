// What a request is answered with: OpenAI's objects, as JSON.
#ifndef LOCKSTEP_ANSWER_H
#define LOCKSTEP_ANSWER_H

#include "kvcache/serve/service.h"

// Each returns a line of text without its newline, to be freed with free(), or NULL where there is
// no memory.

// The whole answer to a job that has ended: choices, usage and times, or an error. `number` makes
// its id. `line` is that of a file of requests; 0: there is none.
char *answer_whole(const job_view *j, const char *name, size_t number, size_t line);

// A failure that belongs to no job.
char *answer_error(const char *message, const char *param, const char *code, bool refused,
                   size_t line);

// A piece of a streamed answer: n bytes of text, of which those that are not UTF-8 become U+FFFD,
// and, in the last one, why it ended (else NULL). `begins`: the first one, which names the role.
char *answer_piece(const job_view *j, const char *name, size_t number, const char *text, size_t n,
                   bool begins, const char *finish);

// What the job used, as the last piece of a stream: it has no choices.
char *answer_usage(const job_view *j, const char *name, size_t number);

// The list of models: one.
char *answer_models(const char *name);

#endif
