// The decoder without a cache.
#ifndef LOCKSTEP_NAIVE_H
#define LOCKSTEP_NAIVE_H

#include "common/decoder.h"

extern const decoder_api naive_decoder;

#endif
