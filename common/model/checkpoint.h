// The weights of a directory: model.safetensors or shards, and their tensors under the names of
// Hugging Face's GPT-2, whatever a wrapper has put before them.
#ifndef LOCKSTEP_CHECKPOINT_H
#define LOCKSTEP_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/model/safetensors.h"

typedef struct checkpoint checkpoint;

// One tensor. `name` has lost its prefixes: transformer. and those of wrappers, _orig_mod. and
// module., in any order.
typedef struct checkpoint_tensor {
    const char *name;
    const safetensor *is;
    safetensors *file;
    const char *path; // of that file, for messages
    bool used;        // whoever looks for tensors that have no place
} checkpoint_tensor;

// Opens DIR/model.safetensors, or else the shards of DIR/model.safetensors.index.json, each of
// which must hold exactly the tensors that the index says. A directory whose weights are in another
// format only is refused by its name.
status checkpoint_open(const char *dir, checkpoint **out);
void checkpoint_close(checkpoint *c);

// What messages call the weights: the one file, or the index.
const char *checkpoint_path(const checkpoint *c);

// The i-th tensor by name, NULL from the last one on; and the one called `name`, or NULL.
checkpoint_tensor *checkpoint_at(const checkpoint *c, size_t i);
checkpoint_tensor *checkpoint_find(const checkpoint *c, const char *name);

// Hexadecimal SHA-256 of DIR/model.safetensors; of shards, that of what `sha256sum` prints for
// them in the order of their names.
status checkpoint_digest(const char *dir, char hex[65]);

#endif
