// One SHA-256 that tells whether two machines, compilers or decoders compute the same bits.
#ifndef LOCKSTEP_BENCH_DIGEST_H
#define LOCKSTEP_BENCH_DIGEST_H

#include <stddef.h>

#include "bench/base/options.h"
#include "bench/subject/subject.h"

enum { DIGEST_HEX = 65 }; // 64 hexadecimal digits and their zero

// The digest of n rows of V logits as little-endian floats: those that follow the first contexts[i]
// tokens of the fixed sequence (bench/base/contexts.h), i ascending. contexts: (n) ascending,
// within 1..T. One decoder walks through them all.
status digest_logits(const subject *of, const model *m, const size_t *contexts, size_t n,
                     char hex[DIGEST_HEX]);

// Receives the digest of one stage of one layer (-1 outside the layers), in the order of
// computation.
typedef void digest_sink(void *user, stage s, int layer, const char *hex);

// One step of a fresh decoder over T tokens of the fixed sequence: for every stage of every layer,
// the digest of the observer's values in (position, head, element) order, as little-endian floats.
// of->api->observe must not be NULL.
status digest_stages(const subject *of, const model *m, size_t T, digest_sink *sink, void *user);

// `bench digest`: prints the above, or compares them with a file of golden digests.
command digest_command;

#endif
