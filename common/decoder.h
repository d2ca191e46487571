// What a decoder is: the one interface through which generate, bench and tests know any of them. A
// plug-in needs this header alone. It can be included from C++ as well.
#ifndef LOCKSTEP_DECODER_H
#define LOCKSTEP_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/kv/spec.h"
#include "common/math/observer.h"
#include "common/model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { DECODER_API_VERSION = 2 };

// What a decoder is made for.
typedef struct decoder_options {
    size_t T_max; // tokens that it must be able to hold; a model has config.T positions
    kv_spec kv;   // which rows it keeps, in which form, where; all zero is plain: every row, F32
    struct kv_pool *pool; // pages shared with other decoders of this model and spec (common/kv/
                          // pool.h), or NULL: memory of its own. It outlives them; one thread.
    const char *space;    // the namespace of shared pages, or NULL
} decoder_options;

typedef struct decoder decoder; // each strategy defines its own

// The functions of one strategy. Version 2.
typedef struct decoder_api {
    unsigned version; // DECODER_API_VERSION
    const char *name;
    // A decoder on m, which it borrows and which must outlive it. Refuses a spec that it does not
    // implement.
    status (*create)(const model *m, const decoder_options *o, decoder **out);
    // tokens is the WHOLE sequence, (T) ids, 1 <= T <= T_max. *logits: (wanted, V), contiguous, of
    // the last `wanted` tokens, 1 <= wanted <= T; the decoder's own, valid until its next call. A
    // step that is refused for its arguments or for want of memory changes nothing. One that fails
    // on the way may have forgotten rows, and says so by holds; what a later step returns is the
    // same in every bit.
    status (*step)(decoder *d, const int *tokens, size_t T, size_t wanted, const float **logits);
    void (*reset)(decoder *d); // forget everything seen
    void (*destroy)(decoder *d);
    // The following may be NULL in a plug-in ("logits only").
    void (*observe)(decoder *d, observer *fn, void *user); // fn NULL: stop
    // Would row T, the next one after a step with T tokens, read row t in this layer and K/V head?
    bool (*holds)(const decoder *d, size_t layer, size_t head, size_t t);
    // That key and value, (D) each, as row T would read them; refused where holds is false.
    status (*read_kv)(const decoder *d, size_t layer, size_t head, size_t t, float *k, float *v);
    // Bytes of the pages in memory that hold a row, scales included; a shared page counts for each
    // decoder.
    size_t (*bytes)(const decoder *d);
} decoder_api;

// Whether a decoder for T_max tokens can take these T ids and return `wanted` rows of logits:
// 1 <= wanted <= T <= T_max, T <= config.T, every id below V. Every step begins with it.
status decoder_check(const model *m, size_t T_max, const int *tokens, size_t T, size_t wanted);

// Bytes that a decoder on a model of this config allocates which keeps K and V of `layers` layers:
// its activations, its keys and values, and the logits of `wanted` rows. SIZE_MAX if that
// overflows.
size_t decoder_memory(const config *c, size_t layers, const kv_spec *spec, size_t T_max,
                      size_t wanted);

// A plug-in defines this table, under this name, and nothing else is seen of it: `make mine
// SRC=yours.c` builds one.
__attribute__((visibility("default"))) extern const decoder_api lockstep_decoder;

#ifdef __cplusplus
}
#endif

#endif
