// The strategies that bench knows, in one table: a further one is one more line.
#ifndef LOCKSTEP_BENCH_DECODERS_H
#define LOCKSTEP_BENCH_DECODERS_H

#include "common/decoder.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"

// The first is what the others are compared with.
static const decoder_api *const decoders[] = {
    &naive_decoder,
    &kvcache_decoder,
};

enum { DECODERS = sizeof decoders / sizeof *decoders };

#endif
