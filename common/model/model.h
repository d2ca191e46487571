// The weights of a GPT-2, packed once so that every decoder streams them: const, and borrowed by
// whoever computes.
#ifndef LOCKSTEP_MODEL_H
#define LOCKSTEP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/model/config.h"
#include "common/model/panels.h"

// y = x W + b with W of shape (K, N). Column n of W is lane n % 16 of panel n / 16; a panel is (K,
// 16) row-major, the panels follow one another. Padding lanes hold 0.
typedef struct linear {
    const float *panels; // (ceil(N/16), K, 16)
    const float *bias;   // (padded N), or NULL: no bias
    size_t K, N;
} linear;

// W[k][n], for readers that want the matrix and not its packing.
static inline float linear_weight(const linear *w, size_t k, size_t n)
{
    return w->panels[(n / LANES * w->K + k) * LANES + n % LANES];
}

typedef struct norm {
    const float *gain, *bias; // (padded C) each
} norm;

typedef struct layer {
    norm ln1;
    linear qkv;  // h.N.attn.c_attn: (C, 3C), q then k then v
    linear proj; // h.N.attn.c_proj: (C, C)
    norm ln2;
    linear fc;     // h.N.mlp.c_fc: (C, F)
    linear fcproj; // h.N.mlp.c_proj: (F, C)
} layer;

typedef struct model {
    struct config config; // "struct": C++ takes the name for the type otherwise
    char *name;           // as given by the user
    bool synthetic;       // no files, no tokenizer
    linear wte; // (C, V): column v is the embedding of token v, and, when tied, what makes logit v
    const float *wpe; // (T, padded C) row-major
    layer *layers;    // (L)
    norm lnf;
    linear head;  // wte again, or lm_head.weight: (C, V), no bias
    float *block; // all of the above in one allocation
    size_t block_bytes;
} model;

// The directory of the model used when none is named.
const char *model_default(void);

// Loads a directory as Hugging Face publishes it (config.json, model.safetensors or shards) or
// generates "synthetic:..." (design, section 7). F32, F16, BF16 are widened exactly. On failure
// *out is NULL and the message names file, tensor and cure.
status model_load(const char *name, model **out);

void model_free(model *m);

// The numbers of a directory's model, without its weights: V is that of wte, as when it is loaded.
status model_peek(const char *dir, config *out);

// The name to show: a directory of this project without the path before it.
const char *model_label(const model *m);

// Bytes of the packed weights, padding included, before anything is loaded; and bytes a decoder
// streams for one token's linear layers.
size_t model_packed_bytes(const config *c, bool tied);

// Hexadecimal SHA-256 that names these weights: of their files (common/model/checkpoint.h), or of
// the synthetic model's canonical name. 65 bytes with its zero.
status model_digest(const model *m, char hex[65]);

#endif
