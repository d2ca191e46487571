// A prompt cache for many users: the pages of several decoders in one pool, found by their tokens,
// within a budget of bytes. Prompt caching as providers sell it, vLLM's automatic prefix caching
// (Kwon et al. 2023), here with tokens compared.
#ifndef LOCKSTEP_PREFIX_H
#define LOCKSTEP_PREFIX_H

#include "common/kv/pool.h"
#include "common/model/model.h"
#include "kvcache/prefix/prefix_index.h"
#include "kvcache/prefix/prefix_preset.h"

typedef uint64_t prefix_clock(void); // nanoseconds; only differences count

typedef struct prefix_options {
    size_t budget;        // bytes of pages and of what is known of them, at every moment
    prefix_policy policy; // lifetimes in nanoseconds; 0: the preset's
    prefix_clock *clock;  // NULL: clock_ns
    prefix_preset preset; // how much of what is found a request uses
    const char *dir;      // where pages go that have to make room, found and read back from there;
                          // NULL: nowhere
    size_t disk;          // bytes of pages there
} prefix_options;

typedef struct prefix_counters {
    uint64_t hits;          // pages found and used
    uint64_t misses;        // look-ups that found no page
    uint64_t evictions;     // pages that had to make room, or whose time was over
    uint64_t read_back;     // hits that came from disk
    uint64_t lost;          // pages that could not be read back as they were written
    uint64_t tokens_reused; // rows that were not computed
    size_t bytes;           // now, of the budget
} prefix_counters;

// The budget that holds the pages of a text of T tokens, and what is known of them.
size_t prefix_budget(const config *c, const kv_spec *spec, size_t T);

// A pool for decoders of m under this spec, which outlive neither of them. A budget below one page
// is refused.
status prefix_create(const model *m, const kv_spec *spec, const prefix_options *o, kv_pool **out);
void prefix_destroy(kv_pool *pool);

// The breakpoints of the next request, n positions in ascending order (prefix_preset.h): only those
// presets heed them.
void prefix_mark(kv_pool *pool, const size_t *breakpoints, size_t n);

prefix_counters prefix_count(const kv_pool *pool);

// What must be equal for rows to be shared, as one SHA-256: the config's numbers, the weights, the
// version of the arithmetic, keep and form, page size, namespace (or NULL).
status prefix_root(const model *m, const kv_spec *spec, const char *space,
                   unsigned char root[PREFIX_ROOT]);

#endif
