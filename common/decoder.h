// What a decoder is: the one interface through which generate, bench and tests know any of them. A
// plug-in needs this header alone.
#ifndef LOCKSTEP_DECODER_H
#define LOCKSTEP_DECODER_H

#include <stddef.h>

#include "common/base/status.h"
#include "common/model/model.h"

enum { DECODER_API_VERSION = 1 };

// The stages of a forward pass in the order of computation. From LN1 to FCPROJ they repeat for each
// layer.
typedef enum stage {
    STAGE_EMBED,   // wte[token] + wpe[t]: (C)
    STAGE_LN1,     // (C)
    STAGE_Q,       // (C), heads side by side
    STAGE_K,       // (C)
    STAGE_V,       // (C)
    STAGE_SCORES,  // per head, after scaling, over the row's own keys: (t + 1)
    STAGE_SOFTMAX, // per head: (t + 1)
    STAGE_ATTEND,  // per head: (D)
    STAGE_PROJ,    // (C), before it is added to the residual stream
    STAGE_LN2,     // (C)
    STAGE_FC,      // (F)
    STAGE_GELU,    // (F)
    STAGE_FCPROJ,  // (C), before it is added to the residual stream
    STAGE_LNF,     // (C), of the last position only
    STAGE_LOGITS,  // (V), of the last position only
    STAGES
} stage;

// "embed", "ln1", "q", ...: the name used in reports.
const char *stage_name(stage s);

// Called once per (stage, layer, head, position) with the n values just computed. layer is -1 for
// embed, lnf and logits; head is -1 where a stage is not per head. Within one stage and layer,
// positions may come head by head.
typedef void observer(void *user, stage s, int layer, int head, size_t position,
                      const float *values, size_t n);

// Whether a decoder for T_max tokens can take these T ids: 1 <= T <= T_max, every id below V. Every
// step begins with it.
status decoder_check(const model *m, size_t T_max, const int *tokens, size_t T);

typedef struct decoder decoder; // each strategy defines its own

typedef struct decoder_api {
    unsigned version; // DECODER_API_VERSION
    const char *name;
    // A decoder for sequences of up to T_max tokens. It borrows m, which must outlive it.
    status (*create)(const model *m, size_t T_max, decoder **out);
    // tokens is the WHOLE sequence, (T) ids, 1 <= T <= T_max. *logits: (V) of the last token, the
    // decoder's, valid until its next call. A failed step changes nothing.
    status (*step)(decoder *d, const int *tokens, size_t T, const float **logits);
    void (*reset)(decoder *d); // forget everything seen
    void (*destroy)(decoder *d);
    // The following may be NULL in a plug-in ("logits only").
    void (*observe)(decoder *d, observer *fn, void *user); // fn NULL: stop
    size_t (*length)(const decoder *d, size_t layer);      // rows of K and V held; 0 for naive
    status (*read_kv)(const decoder *d, size_t layer, size_t head, size_t t, float *k,
                      float *v); // (D) each
} decoder_api;

// A plug-in defines this table, under this name, and nothing else is seen of it: `make mine
// SRC=yours.c` builds one.
__attribute__((visibility("default"))) extern const decoder_api lockstep_decoder;

#endif
