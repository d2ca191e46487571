// The header of a snapshot. What it may say follows from the model, the spec and the rows: so one
// that is read is compared with the one that would be written.
#ifndef LOCKSTEP_SNAPSHOT_HEADER_H
#define LOCKSTEP_SNAPSHOT_HEADER_H

#include <stdbool.h>

#include "common/kv/spec.h"
#include "common/math/softmax.h"
#include "common/model/model.h"

#define SNAPSHOT_BEGINNING "{\"__metadata__\":{\"xxh3_128\":\"" // then its digits
#define SNAPSHOT_CURE "save it anew, or leave out --load-state"

enum {
    SNAPSHOT_LENGTH = 8, // bytes: the header's length, before the header
    SNAPSHOT_HASH = 32,  // hexadecimal digits
};

// What decides the header. Behind it come the tensors: `tokens` (held.to), I32; then of each layer
// `layer.0.k` and `layer.0.v`, (G, R, D) as stored, or `layer.0.hidden`, (R, C), F32. R counts the
// positions that `held` names.
typedef struct snapshot_about {
    const model *m;
    const char *digest; // of m, hexadecimal
    kv_spec spec;       // its place does not count
    bool hidden;
    visible held;
} snapshot_about;

// The dtype of keys and values, or of hidden states; NULL where a form's numbers come with scales,
// for which a tensor has no room.
const char *snapshot_dtype(const snapshot_about *a);

typedef struct snapshot_text {
    char *at;
    size_t n, room;
} snapshot_text;

// The header with its length before it, in whole cache lines, to be freed with memory_free; *data:
// bytes of all tensors.
status snapshot_make_header(const snapshot_about *a, const char *hash, snapshot_text *t,
                            size_t *data);

// Bytes that it has at most.
size_t snapshot_header_room(const config *c);

// Finds `hidden` and `held` in a header with its length before it; refuses another's state, by
// name, and more than T_max tokens. `path` is what messages call the file.
status snapshot_read_header(const char *path, const snapshot_text *t, size_t T_max,
                            snapshot_about *a);

// "PATH: HOW: " and the cure.
status snapshot_damaged(const char *path, const char *how);

#endif
