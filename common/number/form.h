// Forms: how the numbers of a key or a value are stored, and read again.
#ifndef LOCKSTEP_FORM_H
#define LOCKSTEP_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/number/panels.h"

typedef struct form {
    size_t width;  // bytes of a number as `write` leaves it, one beside the other
    size_t bits;   // of a number in a page
    size_t block;  // numbers that share a scale; 0: there are none, or spec.group says it
    size_t scales; // fp16 numbers of a block
    element of;    // what the kernel finds in a panel
    // Stores n numbers, at most a block. Returns the index of the first that has no such form, or
    // of one that gives the block no scale; or n.
    size_t (*write)(const float *from, size_t n, void *to, uint16_t *scale);
    // Reads n of them, as every row does.
    void (*read)(const void *from, const uint16_t *scale, size_t n, float *to);
} form;

extern const form form_f32, form_f16, form_bf16, form_fp8, form_q8, form_q4, form_kivi4, form_kivi2;

// |x| < 65520 as the bits of binary16, rounded to nearest, ties to even. Back: numeric_half.
uint16_t form_narrow(float x);

// Whether |x| < 65520: the magnitudes that round to a finite binary16 number. NaN does not.
bool form_is_half(float x);

// The index of the first number that is not of a magnitude below `limit`, or n. With INFINITY, of
// the first that is not finite.
size_t form_first_beyond(const float *x, size_t n, float limit);

// The index of the first number of greatest magnitude, or of the first that is not finite; n > 0.
size_t form_greatest(const float *x, size_t n);

#endif
