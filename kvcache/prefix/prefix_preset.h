// What providers promise of their prompt caches, and the fields in which they report it.
#ifndef LOCKSTEP_PREFIX_PRESET_H
#define LOCKSTEP_PREFIX_PRESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

enum { PREFIX_BREAKPOINTS = 4, PREFIX_FIELDS = 256 };

typedef struct prefix_preset {
    const char *name;
    size_t smallest, step;     // tokens of the smallest hit, and how it grows; 0: one page
    bool marked;               // only what ends at a breakpoint is stored and used,
    bool implicit;             // where none is set, all
    size_t page;               // positions of a page that `step` fits; 0: that of the spec
    double idle_s, absolute_s; // lifetimes; 0: none
} prefix_preset;

// The i-th of all of them; NULL behind the last.
const prefix_preset *prefix_preset_at(size_t i);

// "own", "openai", "openai-breakpoints", "anthropic" or "vllm".
status prefix_preset_named(const char *name, prefix_preset *out);

// Of m tokens that are found, how many a request uses. `breakpoints` (n) ascending.
size_t prefix_preset_admits(const prefix_preset *p, size_t m, const size_t *breakpoints, size_t n);

// Up to which token a request of T tokens is stored.
size_t prefix_preset_stores(const prefix_preset *p, size_t T, const size_t *breakpoints, size_t n);

// What a request of T tokens came to, as the provider's JSON fields; returns text. `cached` tokens
// were read and `written` stored.
const char *prefix_preset_fields(const prefix_preset *p, size_t T, size_t cached, size_t written,
                                 char text[PREFIX_FIELDS]);

#endif
