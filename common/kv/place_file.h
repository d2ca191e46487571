// The place file:DIR[:MIB]: pages in a file, and as many of them in memory as MIB allows.
#ifndef LOCKSTEP_KV_PLACE_FILE_H
#define LOCKSTEP_KV_PLACE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/file/scratch.h"
#include "common/kv/page.h"

// The file has a slot for each page of the store. Memory and file exchange parts of pages, a part
// being one head's keys and values: number slot G + g.
typedef struct place_file {
    scratch file;
    size_t G, bytes;      // parts of a page; bytes of a part
    size_t layers, stock; // stock: slots of a layer
    page *memory;         // (buffers, bytes)
    size_t buffers, own;  // the first layers G own of them belong to one head of one layer each
    size_t next;          // of the others: the one that is given away next
    size_t *buffer;       // (parts): 1 + where a part lies in memory, or 0
    bool *written;        // (parts): the file has it, perhaps as it was before a change
    size_t *part;         // (buffers): 1 + which part lies there, or 0
    bool *changed;        // (buffers): since the part was read or written
    size_t *newest;       // (layers, G): of a head's own buffers, the one given away last
    status failed;        // the first of place_file_part since this was last made NULL
} place_file;

// A file for `layers` layers of `stock` slots each, for a store of `pages` pages a layer. Fails
// where none can be made in the spec's directory, and where its MIB hold too few parts.
status place_file_create(const kv_spec *spec, const page_shape *shape, size_t layers, size_t stock,
                         size_t pages, place_file **out);
void place_file_destroy(place_file *f);

// Where head g of the page in this slot lies in memory, read from the file if it was not there. It
// stays until the next call. `change`: the caller is going to write there. NULL: the file has
// failed, now or since f->failed was last NULL, and f->failed says how.
page *place_file_part(place_file *f, size_t slot, size_t g, bool change);

// The slot's page is needed no more: its memory is free, and nothing of it will be read.
void place_file_drop(place_file *f, size_t slot);

// Layer l is about to be read: what the file has of its first `n` slots may be fetched meanwhile.
void place_file_expect(const place_file *f, size_t l, size_t n);

// No page is needed any more: the file gives its room back.
void place_file_clear(place_file *f);

// Bytes of the slot's page that are in memory.
size_t place_file_bytes(const place_file *f, size_t slot);

// Bytes of pages that the spec allows in memory.
size_t place_file_resident(const kv_spec *spec);

// Whether files in the spec's directory are memory (tmpfs), as far as the system says so.
bool place_file_in_memory(const kv_spec *spec);

#endif
