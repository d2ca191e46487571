// The state of a decoder, saved and restored from the command line.
#ifndef LOCKSTEP_STATE_H
#define LOCKSTEP_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/decoder.h"
#include "common/generate/figures.h"

// A program whose decoder's state can be saved has these functions (kvcache/snapshot/snapshot.h).
// `digest` is that of the decoder's model; `computed` is how many rows its steps have computed.
typedef struct state_api {
    status (*check)(const kv_spec *spec, bool hidden, const char *path); // before anything is run
    status (*save)(decoder *d, const char *digest, bool hidden, const char *path);
    status (*load)(decoder *d, const char *digest, const char *path, size_t *tokens);
    size_t (*computed)(decoder *d);
} state_api;

// --load-state PATH; fills in what the report says of it.
status state_load(const state_api *api, decoder *d, const model *m, const char *path, report *r);

// --save-state TEXT: "FILE" or "FILE,hidden". Bytes of FILE, and which of the two it is; whether a
// decoder of this spec can be saved; and saves it.
size_t state_file(const char *text, bool *is_hidden);
status state_check(const state_api *api, const kv_spec *spec, const char *text);
status state_save(const state_api *api, decoder *d, const model *m, const char *text);

// The failure where a program has no such functions; `what` is "save" or "load".
status state_refuse(const char *program, const char *what);

#endif
