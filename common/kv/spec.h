// A spec says how a decoder keeps keys and values: which rows (keep) and in which form. It is what
// stands behind --kv: at most one word for each, in any order, separated by commas, as in
// "window:256+4,f16".
#ifndef LOCKSTEP_KV_SPEC_H
#define LOCKSTEP_KV_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/model/config.h"

// Which rows a later row sees.
typedef enum kv_keep {
    KV_ALL,    // "all": every row up to its own
    KV_WINDOW, // "window:W[+S]": the last W, its own among them, and the first S (attention sinks)
} kv_keep;

// How the numbers of a row are stored.
typedef enum kv_form {
    KV_F32, // "f32": as they are
    KV_F16, // "f16": IEEE-754 binary16, rounded to nearest even
} kv_form;

// All zero is plain: every row, F32.
typedef struct kv_spec {
    kv_keep keep;
    kv_form form;
    size_t recent, sinks; // W and S of window
    size_t page;          // positions in a page, a multiple of 16; 0: KV_PAGE
} kv_spec;

// Reads a spec for a model of this config. The failure names the word and what can stand there.
status kv_parse(const char *text, const config *c, kv_spec *out);

// Whether a store can be made after this spec, whoever has filled it in.
status kv_check(const kv_spec *spec);

// Whether it is plain.
bool kv_is_plain(const kv_spec *spec);

// The spec as kv_parse reads it, "all" for plain; returns text.
enum { KV_NAME = 96 };
const char *kv_name(const kv_spec *spec, char text[KV_NAME]);

#endif
