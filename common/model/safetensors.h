// Hugging Face's safetensors: 8 bytes length, a JSON header, the data.
// https://github.com/huggingface/safetensors#format
#ifndef LOCKSTEP_SAFETENSORS_H
#define LOCKSTEP_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/number/panels.h"

enum { SAFETENSORS_RANK = 8 }; // dimensions a tensor may have; a GPT-2's masks have 4

typedef struct safetensors_type safetensors_type; // F32 and its like

typedef struct safetensor {
    const char *name;
    const safetensors_type *type;
    size_t rank, shape[SAFETENSORS_RANK]; // the last dimension varies fastest
    uint64_t offset, bytes;               // its data in the file; aligned to nothing
} safetensor;

typedef struct safetensors safetensors;

// Opens a file and checks its header: no longer than the file or 100 MB; an object without
// duplicate keys; every tensor as large as its shape and dtype say; together the tensors cover the
// data exactly, without a gap or an overlap.
status safetensors_open(const char *path, safetensors **out);
void safetensors_close(safetensors *file);

// The i-th tensor by name, NULL from the last one on; and the one called `name`, or NULL.
const safetensor *safetensors_at(const safetensors *file, size_t i);
const safetensor *safetensors_find(const safetensors *file, const char *name);

// As what its numbers are kept without a loss: F16 or BF16, or F32 for those of any other dtype.
element safetensors_element(const safetensor *t);

// Elements first .. first + count - 1 of a tensor of F32, F16 or BF16, widened exactly to F32;
// another dtype is refused.
status safetensors_read(safetensors *file, const safetensor *t, size_t first, size_t count,
                        float *values);

#endif
