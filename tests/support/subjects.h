// naive and kvcache, plain, as what commands of build/bench look at.
#ifndef LOCKSTEP_TESTS_SUBJECTS_H
#define LOCKSTEP_TESTS_SUBJECTS_H

#include "bench/subject/subject.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"

static const subject support_ours[] = {{.api = &naive_decoder, .name = "naive"},
                                       {.api = &kvcache_decoder, .name = "kvcache"}};

#endif
