// A trace of requests, and what an index counts on it: policies replayed without a model.
#ifndef LOCKSTEP_BENCH_PREFIX_REPLAY_H
#define LOCKSTEP_BENCH_PREFIX_REPLAY_H

#include "kvcache/prefix/prefix_index.h"

enum { REPLAY_BLOCK = 512 }; // tokens of a block

typedef struct replay_request {
    uint64_t ms;   // when it came
    size_t tokens; // of its prompt
    size_t first;  // of its blocks, in trace.ids
    size_t blocks; // ceil(tokens / REPLAY_BLOCK)
} replay_request;

typedef struct replay_trace {
    replay_request *requests; // (n)
    size_t n;
    int *ids; // (blocks): equal ids are equal prefixes
    size_t blocks;
} replay_trace;

// Reads one JSON object a line, as Mooncake's traces have them. The failure names file, line and
// key. replay_free in any case.
status replay_read(const char *path, replay_trace *out);
void replay_free(replay_trace *t);

// How a trace is replayed: a request hits its longest prefix that is there, all its blocks are
// touched and inserted, and what exceeds the capacity leaves.
typedef struct replay_way {
    prefix_policy policy; // lifetimes in milliseconds
    size_t capacity;      // blocks; 0: no limit
    bool first_to_last;   // blocks are touched in that order, and a block may leave before those
                          // behind it: what happens to a cache that does not know of chains
    bool full_only;       // a request's last block is left out if it is not full
} replay_way;

typedef struct replay_counts {
    size_t hits, misses, evictions; // blocks
} replay_counts;

status replay_run(const replay_trace *t, const replay_way *way, replay_counts *out);

#endif
