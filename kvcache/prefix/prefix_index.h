// Which pages can be found again, and which of them goes next: policy alone, without keys, values
// or a model. Entries are the caller's; an index links them.
#ifndef LOCKSTEP_PREFIX_INDEX_H
#define LOCKSTEP_PREFIX_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

enum { PREFIX_ROOT = 32 }; // bytes of a root, a SHA-256

// A page of P tokens behind another one. The caller fills in the first three fields.
typedef struct prefix_entry {
    struct prefix_entry *parent;     // the page before it, or NULL: it begins the sequence
    const int *tokens;               // (P)
    unsigned char root[PREFIX_ROOT]; // what every page of a sequence was computed with
    // The index's own.
    uint64_t hash;                      // of parent and tokens
    size_t depth;                       // pages from the beginning to this one, itself among them
    size_t children;                    // pages whose parent it is
    size_t users;                       // requests that use it now
    uint64_t uses;                      // requests that have used it
    uint64_t made, touched;             // on the caller's clock
    struct prefix_entry *next;          // of those with the same bucket
    struct prefix_entry *older, *newer; // of those that nobody uses, in the order of their touch
} prefix_entry;

typedef enum prefix_order {
    PREFIX_LRU, // what was touched longest ago goes first
    PREFIX_LFU, // what was used least often; of several, what was touched longest ago
} prefix_order;

typedef uint64_t prefix_hash(uint64_t before, const int *tokens, size_t n);

typedef struct prefix_policy {
    prefix_order order;
    uint64_t idle;     // an entry goes when it was not touched for longer than that; 0: never
    uint64_t absolute; // and when it was made longer ago than that; 0: never
    prefix_hash *hash; // NULL: prefix_hash_tokens
} prefix_policy;

typedef struct prefix_index {
    prefix_policy policy;
    size_t P, entries, buckets;
    prefix_entry **bucket;         // (buckets)
    prefix_entry *oldest, *newest; // of those that nobody uses
} prefix_index;

// An index of pages of P tokens; `expected` entries make it as quick as it gets.
status prefix_index_create(const prefix_policy *policy, size_t P, size_t expected,
                           prefix_index *out);
void prefix_index_free(prefix_index *x);

// splitmix64 over the tokens. Not collision resistant, and need not be: a hash only finds.
uint64_t prefix_hash_tokens(uint64_t before, const int *tokens, size_t n);

// The entry with these tokens, (P), behind `parent`, or, where that is NULL, at the beginning under
// `root`; all of that is compared. NULL: there is none, or its time is over.
prefix_entry *prefix_index_find(const prefix_index *x, const unsigned char root[PREFIX_ROOT],
                                const prefix_entry *parent, const int *tokens, uint64_t now);

// From now on e can be found; one request uses it. Its parent can be found. What is equal to it
// cannot.
void prefix_index_insert(prefix_index *x, prefix_entry *e, uint64_t now);

// e stays where it is, for whoever is no request, until prefix_index_end.
void prefix_index_hold(prefix_index *x, prefix_entry *e);

// A request begins to use e, and ends to: the end is the touch. The pages of a request are to end
// from the last to the first, so that leaves are older than what they stand on.
void prefix_index_use(prefix_index *x, prefix_entry *e);
void prefix_index_end(prefix_index *x, prefix_entry *e, uint64_t now);

// The entry that goes next, and NULL where all are in use. Never one with children.
prefix_entry *prefix_index_victim(const prefix_index *x);

// One whose time is over, that nobody uses and that has no children; NULL: there is none. Where a
// page's absolute lifetime ends, all behind it have to go before it.
prefix_entry *prefix_index_expired(const prefix_index *x, uint64_t now);

// e, which nobody uses and which has no children, can be found no more.
void prefix_index_remove(prefix_index *x, prefix_entry *e);

#endif
