// The decoder with a KV cache.
#ifndef LOCKSTEP_KVCACHE_H
#define LOCKSTEP_KVCACHE_H

#include "common/decoder.h"

extern const decoder_api kvcache_decoder;

#endif
