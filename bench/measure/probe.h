// What one core can do at best, found by trying: multiply-adds in registers, and reading memory.
#ifndef LOCKSTEP_BENCH_PROBE_H
#define LOCKSTEP_BENCH_PROBE_H

#include <stddef.h>

#include "common/base/status.h"

// A processor's peak is what the best of several programs reaches: each has the shape that suits
// some machine.
enum { PROBES_FMA = 5, PROBES_READ = 6 };
const char *probe_fma_name(size_t i);
const char *probe_read_name(size_t i);

// FLOP/s of probe i, measured for about 10 ms. A multiply-add counts as two operations.
double probe_fma(size_t i);

// The best of all of them.
double probe_fma_best(void);

// Memory to read, in huge pages where the system has them.
typedef struct probe_block {
    float *at;
    size_t n; // floats
} probe_block;

// As large as what it is compared with, so that caches help both alike: `bytes` rounded up to 1
// MiB, at most 1 GiB.
status probe_block_create(size_t bytes, probe_block *out);
void probe_block_free(probe_block *block);

// Bytes per second of probe i, which reads every byte of the block once.
double probe_read(size_t i, const probe_block *block);

// Bytes per second of reading the first `bytes` of it again and again, by the best probe: what the
// cache that holds them delivers.
double probe_read_again(const probe_block *block, size_t bytes);

#endif
