// How a tensor's numbers are packed: piece by piece, each to its place, in the form in which they
// are kept.
#ifndef LOCKSTEP_PACK_H
#define LOCKSTEP_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "common/number/panels.h"

// What becomes of a tensor (rows, columns).
typedef enum pack_as {
    PACK_MATRIX,     // (K, N): panels
    PACK_TRANSPOSED, // (N, K): panels
    PACK_ROWS,       // binary32 rows, each padded to whole cache lines
} pack_as;

typedef struct packing {
    pack_as as;
    element of;           // of panels: ELEMENT_F32, F16, BF16 or Q8
    size_t rows, columns; // of the tensor
    void *numbers;
    uint16_t *scales; // of Q8: (ceil(N/16), ceil(K/32), 16) fp16 numbers behind the numbers
} packing;

// A part of a tensor, whose numbers stand one beside the other, row by row. Where rows of a panel
// share a word or a scale, it begins and ends with them, or with the tensor.
typedef struct pack_part {
    size_t row, rows, column, columns;
} pack_part;

// Bytes of all numbers and of all scales: whole cache lines, SIZE_MAX if there is no such size.
size_t pack_bytes(const packing *p);

// Gives the tensor its place, pack_bytes bytes at `to`, with zeros where it has no numbers.
void pack_begin(packing *p, void *to);

// Packs values; `narrow` has room for as many 16-bit numbers. Returns how many they are, or the
// index of the first that gives its block no scale.
size_t pack_values(const packing *p, pack_part part, const float *values, uint16_t *narrow);

// values[i], rounded to F16 or BF16: the nearest one, of two the one with an even last bit. They
// have to be such that this one is finite.
void pack_round(element of, float *values, size_t n, uint16_t *narrow);

#endif
