// A response cache: whole answers, each in a file of a directory, found by all that they depend on.
//
// What is generated is the same bits on every machine, so an answer that is kept is what computing
// it again would give. That holds as far as the key does: one setting that it lacks, and another
// request's answer is given. So the file holds the question too, and a hit compares it.
#ifndef LOCKSTEP_ANSWERS_H
#define LOCKSTEP_ANSWERS_H

#include "common/generate/answers.h"

status answers_check(const char *dir);
status answers_weigh(const model *m, char weights[ANSWERS_WEIGHTS]);
status answers_find(const char *dir, const question *q, char **bytes, size_t *n);
status answers_keep(const char *dir, const question *q, const void *bytes, size_t n);

extern const answers_api answers;

// The name of the file for q: the SHA-256 of the question as text, 65 bytes with its zero.
status answers_name(const question *q, char hex[65]);

#endif
