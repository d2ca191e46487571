// Weights made from their names, the same bits on every machine, so that a full-size model needs no
// download.
#ifndef LOCKSTEP_SYNTHETIC_H
#define LOCKSTEP_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

// Elements first .. first + count - 1, in row-major order, of the tensor with Hugging Face's `name`
// (without "transformer."):
//     h = splitmix64((fnv1a64(name) ^ seed) + i),  values[i - first] = offset + ((h >> 40) - 2^23)
//     * 2^-23 * scale
// scale is a power of two, so the product is exact, and the sum is rounded once. splitmix64(x) is
// the first output of the generator with state x (Steele, Lea, Flood: Fast Splittable Pseudorandom
// Number Generators, 2014, in Vigna's form); fnv1a64 is RFC 9923's. The low 40 bits of h are not
// used.
void synthetic_fill(const char *name, uint64_t seed, float offset, float scale, size_t first,
                    size_t count, float *values);

// The largest power of two s with s <= 2 / sqrt(fan_in), at most 1: 2^-e with the smallest e for
// which 4 * 4^e >= fan_in.
float synthetic_matrix_scale(size_t fan_in);

#endif
