// Keeps: which rows a later row sees, and therefore which a store has to hold.
#ifndef LOCKSTEP_KV_KEEP_H
#define LOCKSTEP_KV_KEEP_H

#include "common/kv/spec.h"
#include "common/math/softmax.h"

typedef struct keep {
    // The positions that row t sees.
    visible (*sees)(const kv_spec *spec, size_t t);
    // Positions from the sinks' end up to this one may be forgotten once row t - 1 has been
    // computed, with those before it kept for a rollback: rows from t on do not need them.
    size_t (*forgets)(const kv_spec *spec, size_t t);
    // Where to go on exactly when rows 0..t-1 are known and positions between the sinks and
    // `dropped` are gone: at most t.
    size_t (*resumes)(const kv_spec *spec, size_t dropped, size_t t);
    // Positions that a layer must have room for, of T, when pages have P.
    size_t (*room)(const kv_spec *spec, size_t P, size_t T);
} keep;

const keep *keep_of(const kv_spec *spec);

extern const keep keep_window, keep_heavy;

#endif
