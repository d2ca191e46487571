// What a forward pass shows of itself: its stages, and the function that is called with each row
// of numbers as soon as it has been computed.
#ifndef LOCKSTEP_OBSERVER_H
#define LOCKSTEP_OBSERVER_H

#include <stddef.h>

// The stages in the order of computation. From LN1 to FCPROJ they repeat for each layer.
typedef enum stage {
    STAGE_EMBED,    // wte[token] + wpe[t]: (C)
    STAGE_LN1,      // (C)
    STAGE_Q,        // (C), heads side by side
    STAGE_K,        // (G D), K/V heads side by side, before it takes the form in which it is kept
    STAGE_V,        // (G D), likewise
    STAGE_STORED_K, // per K/V head: (D), in the form that later rows read
    STAGE_STORED_V, // per K/V head: (D), likewise
    STAGE_SEES,     // per K/V head: the positions that the row sees, ascending
    STAGE_SCORES,   // per head, after scaling: one for each position that the row sees
    STAGE_SOFTMAX,  // per head: likewise
    STAGE_ATTEND,   // per head: (D)
    STAGE_PROJ,     // (C), before it is added to the residual stream
    STAGE_LN2,      // (C)
    STAGE_FC,       // (F)
    STAGE_GELU,     // (F)
    STAGE_FCPROJ,   // (C), before it is added to the residual stream
    STAGE_LNF,      // (C), of the last `wanted` positions only
    STAGE_LOGITS,   // (V), of the last `wanted` positions only
    STAGES
} stage;

// "embed", "ln1", "q", ...: the name used in reports.
const char *stage_name(stage s);

// Called once per (stage, layer, head, position) with the n values just computed. layer is -1 for
// embed, lnf and logits; head is -1 where a stage is not per head. Within one stage and layer,
// positions may come head by head.
typedef void observer(void *user, stage s, int layer, int head, size_t position,
                      const float *values, size_t n);

#endif
