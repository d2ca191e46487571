// Forms: how the numbers of a key or a value are stored, and read again.
#ifndef LOCKSTEP_KV_FORM_H
#define LOCKSTEP_KV_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/kv/spec.h"
#include "common/math/kernel.h"

typedef struct form {
    const char *name;
    size_t width; // bytes of an element
    element of;   // what the kernel finds in a panel
    // Stores n numbers. Returns the index of the first that has no such form, or n.
    size_t (*write)(const float *from, size_t n, void *to);
    // Reads n of them, as every row does.
    void (*read)(const void *from, size_t n, float *to);
} form;

const form *form_of(const kv_spec *spec);

extern const form form_f16;

#endif
