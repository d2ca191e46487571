// Checked allocation: no overflow, no surprise, and a hook that lets a test make any allocation
// fail.
#ifndef LOCKSTEP_MEMORY_H
#define LOCKSTEP_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

enum { CACHE_LINE = 64 }; // bytes; also one row of a panel: 16 floats

// `count` elements of `size` bytes, zeroed, aligned to a cache line; NULL if they cannot be had.
// Free with memory_free.
void *memory_array(size_t count, size_t size);

// `bytes` bytes, NOT zeroed, in whole pages, so that they can be protected; from 2 MiB on aligned
// to 2 MiB, with huge pages advised where the system has them. Free with memory_free.
void *memory_block(size_t bytes);

// realloc for growing buffers; on failure NULL, and `old` stays as it was. `size` is that of one
// element.
void *memory_resize(void *old, size_t count, size_t size);

void memory_free(void *p);

// The failure to return when one of the above gave NULL: "out of memory for WHAT".
status memory_failed(const char *what);

// Whether a failure is one of these, as it was returned. (Behind what callers put before it may
// stand anything, words of a user's among it.)
bool memory_is_short(status s);

// For tests: the n-th allocation from now fails (1 = the next); 0 switches this off. Returns how
// many there were since the last call. Not for use while other threads allocate.
size_t memory_fail_at(size_t n);

// For tests: the most bytes that this thread asked for at once since its last call, granted or not.
size_t memory_largest(void);

#endif
