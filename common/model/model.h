// The weights of a GPT-2, packed once so that every decoder streams them: const, and borrowed by
// whoever computes.
#ifndef LOCKSTEP_MODEL_H
#define LOCKSTEP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/model/config.h"
#include "common/number/panels.h"

// y = x W + b with W of shape (K, N). Column n of W is lane n % 16 of panel n / 16; a panel is (K,
// 16) row-major, its elements as wide as those of the checkpoint (common/number/panels.h), the
// panels follow one another. Padding lanes hold 0.
typedef struct linear {
    const void *panels;     // (ceil(N/16), K, 16) numbers `of` this kind
    const float *bias;      // (padded N), or NULL: no bias
    const uint16_t *scales; // of Q8: (ceil(N/16), ceil(K/32), 16) fp16 numbers; otherwise NULL
    element of;             // F32, F16, BF16 or Q8
    size_t K, N;
} linear;

// W[k][n] as binary32, for readers that want the matrix and not its packing; and the bytes that N
// outputs take, scales included, padding not: what is read to multiply.
float linear_weight(const linear *w, size_t k, size_t n);
size_t linear_bytes(const linear *w, size_t N);

// Its outputs from `first` on, a multiple of LANES, in place.
linear linear_from(const linear *w, size_t first);

// The blocks of rows of a panel that have a scale each.
size_t linear_blocks(const linear *w);

typedef struct norm {
    const float *gain, *bias; // (padded C) each
} norm;

typedef struct layer {
    norm ln1;
    linear qkv;  // h.N.attn.c_attn: (C, C + 2 G D), q then k then v
    linear proj; // h.N.attn.c_proj: (C, C)
    norm ln2;
    linear fc;     // h.N.mlp.c_fc: (C, F)
    linear fcproj; // h.N.mlp.c_proj: (F, C)
} layer;

// How matrices are kept: those of the linear layers, the embeddings of the tokens, the head.
typedef enum model_weights {
    MODEL_AS_STORED, // at the checkpoint's own width, F32, F16 or BF16: exact
    MODEL_Q8, // rounded when they are loaded, a loss that is defined: blocks of 32 along K of each
              // output have a scale d, an fp16 number, and 8 bits a number (common/number)
} model_weights;

#define MODEL_ROUNDED " (q8)" // behind the name of a model whose matrices are rounded

typedef struct model {
    struct config config;  // "struct": C++ takes the name for the type otherwise
    char *name;            // as given by the user
    char *label;           // the same, with MODEL_ROUNDED where weights are rounded
    model_weights weights; // how they are kept
    bool synthetic;        // no files, no tokenizer
    linear wte; // (C, V): column v is the embedding of token v, and, when tied, what makes logit v
    const float *wpe; // (T, padded C) row-major
    layer *layers;    // (L)
    norm lnf;
    linear head;  // wte again, or lm_head.weight: (C, V), no bias
    float *block; // all of the above in one allocation
    size_t block_bytes;
    const float *given; // (given_rows, C): rows handed in by whoever has them, as they enter the
                        // first layer; id V + r names row r of them. NULL: none
    size_t given_rows;
} model;

// The directory of the model used when none is named.
const char *model_default(void);

// Loads a directory as Hugging Face publishes it (config.json, model.safetensors or shards) or
// generates "synthetic:..." (common/model/config.h). On failure *out is NULL and the message names
// file, tensor and cure.
status model_load(const char *name, model **out);

// The same with matrices kept so.
status model_load_as(const char *name, model_weights weights, model **out);

// What stands behind --weights: "q8", or NULL for MODEL_AS_STORED.
status model_parse_weights(const char *text, model_weights *out);

void model_free(model *m);

// The numbers of a model that model_load_as would load, and the bytes of its packed weights,
// without loading them: V is that of wte.
status model_peek(const char *name, model_weights weights, config *out, size_t *bytes);

// The label: that of a directory of this project without the path before it.
const char *model_label(const model *m);

// Bytes of the packed weights of an F32 model, padding included, before anything is loaded.
size_t model_packed_bytes(const config *c, bool tied);

// Hexadecimal SHA-256 that names these weights: of their files (common/model/checkpoint.h), or of
// the synthetic model's canonical name; rounded ones have another. 65 bytes with its zero.
status model_digest(const model *m, char hex[65]);

#endif
