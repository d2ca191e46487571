// The second tier of a prompt cache: pages that had to leave memory, in a file. What cannot be read
// back exactly is not there: a prompt computes its rows again.
#ifndef LOCKSTEP_PREFIX_DISK_H
#define LOCKSTEP_PREFIX_DISK_H

#include <xxhash.h>

#include "common/file/scratch.h"
#include "common/kv/page.h"
#include "kvcache/prefix/prefix_index.h"

// The place of a page in the file.
typedef struct prefix_slot {
    prefix_entry entry;       // first, so that a pointer to it is one to this
    int *tokens;              // (P)
    XXH128_hash_t hash;       // of its bytes, as they were written
    bool lost;                // they could not be read back
    struct prefix_slot **use; // what points here as long as the slot is this page's; or NULL
} prefix_slot;

typedef struct prefix_disk {
    scratch file;
    size_t P, bytes; // tokens and bytes of a page
    prefix_index index;
    prefix_slot *slot; // (most)
    size_t most, made; // slots that the budget pays for, of which so many have been used
    size_t *free;      // (most) slots that have been used and are not
    size_t frees;
} prefix_disk;

// A file in `dir` for `budget` bytes of pages of so many bytes and P tokens, given up in the order
// of the policy. Refused where none can be made there, or where no page fits.
status prefix_disk_create(const char *dir, size_t budget, const prefix_policy *policy, size_t P,
                          size_t bytes, prefix_disk **out);
void prefix_disk_destroy(prefix_disk *d);

// The slot of the page with these tokens, (P), behind that of `before`, or, where that is NULL, at
// the beginning under `root`. NULL: there is none, its time is over, or it is lost.
prefix_slot *prefix_disk_find(const prefix_disk *d, const unsigned char root[PREFIX_ROOT],
                              const prefix_slot *before, const int *tokens, uint64_t now);

// From now on *use is the slot, and NULL once it is another page's.
void prefix_disk_use(prefix_slot *s, prefix_slot **use);

// The page that e describes, pages (bytes), gets a slot behind `before`, which *use then is. It is
// as old as e. Where there is no room, or the disk fails, *use stays NULL.
void prefix_disk_write(prefix_disk *d, prefix_slot *before, const prefix_entry *e,
                       const page *pages, uint64_t now, prefix_slot **use);

// A page that is in a slot and was used in memory as well: *e says how often, and when last.
void prefix_disk_touch(prefix_disk *d, prefix_slot *s, const prefix_entry *e);

// Reads a slot. False: the disk failed, or the bytes are not those that were written; nobody finds
// the slot again.
bool prefix_disk_read(prefix_disk *d, prefix_slot *s, page *to);

#endif
