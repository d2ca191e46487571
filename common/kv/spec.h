// A spec says how a decoder keeps keys and values: which rows (keep), in which form, and where
// (place). It is what stands behind --kv: at most one word for each, in any order, separated by
// commas, as in "window:256+4,f16,file:/var/tmp:64".
#ifndef LOCKSTEP_KV_SPEC_H
#define LOCKSTEP_KV_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

// Which rows a later row sees.
typedef enum kv_keep {
    KV_ALL,    // "all": every row up to its own
    KV_WINDOW, // "window:W[+S]": the last W, its own among them, and the first S (attention sinks)
    KV_HEAVY,  // "heavy:R+H": the last R and, per head, the H that most was attended to
} kv_keep;

// How the numbers of a row are stored.
typedef enum kv_form {
    KV_F32,   // "f32": as they are
    KV_F16,   // "f16": IEEE-754 binary16, rounded to nearest even
    KV_BF16,  // "bf16": the upper half of a binary32 number, rounded to nearest even
    KV_FP8,   // "fp8": E4M3FN, rounded to nearest even; beyond 448: 448
    KV_Q8,    // "q8": blocks of 32 channels, 8 bits each and a scale
    KV_Q4,    // "q4": the same with 4 bits
    KV_KIVI4, // "kivi4[:G]": 4 bits between a least and a greatest number: keys per channel over
              // groups of G positions, values per position over groups of G channels
    KV_KIVI2, // "kivi2[:G]": the same with 2 bits
    KV_FORMS,
} kv_form;

// The largest group of kivi.
enum { KV_GROUP = 128 };

// The word for a form.
const char *kv_form_word(kv_form form);
#define KV_FORM_WORDS "f32, f16, bf16, fp8, q8, q4, kivi4[:G] or kivi2[:G]"

enum { KV_DIR = 96 }; // characters of a directory, with its zero

// All zero is plain: every row, F32, in memory.
typedef struct kv_spec {
    kv_keep keep;
    kv_form form;
    size_t recent, sinks; // W and S of window
    size_t heavy;         // H of heavy, whose R is `recent`
    size_t group;         // G of kivi: 16, 32, 64 or 128; 0 for the other forms
    size_t page;          // positions in a page, a multiple of 16; 0: KV_PAGE
    char dir[KV_DIR];     // "file:DIR[:MIB]": pages lie in a file there, or "": in memory
    size_t resident;      // bytes of pages that may be in memory all the same; 0: 16 MiB
} kv_spec;

// Reads a spec. The failure names the word and what can stand there.
status kv_parse(const char *text, kv_spec *out);

// Whether a store can be made after this spec, whoever has filled it in.
status kv_check(const kv_spec *spec);

// Whether it is plain.
bool kv_is_plain(const kv_spec *spec);

// The spec as kv_parse reads it, "all" for plain; returns text.
enum { KV_NAME = 96 + KV_DIR };
const char *kv_name(const kv_spec *spec, char text[KV_NAME]);

// The same without the place, which changes no bit.
const char *kv_name_in_memory(const kv_spec *spec, char text[KV_NAME]);

// How its numbers are stored (common/number/form.h).
const struct form *form_of(const kv_spec *spec);

#endif
