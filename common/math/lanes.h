// Sixteen numbers of a narrow form, widened to binary32 at once. The only place where the
// compilers' vector types stand (GCC's and clang's): gcc 12 makes no vectors of these conversions
// by itself. Each conversion is exact, so that no bit depends on how it is compiled.
#ifndef LOCKSTEP_LANES_H
#define LOCKSTEP_LANES_H

#include <stdint.h>
#include <string.h>

#include "common/model/panels.h"

typedef float lanes_f32 __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t lanes_u32 __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef uint16_t lanes_u16 __attribute__((vector_size(LANES * sizeof(uint16_t))));

// Finite fp16 numbers (IEEE-754 binary16), subnormal ones too: their exponent and fraction stand
// 13 bits further left in a binary32 number, whose exponent is then 112 too small.
static inline void lanes_widen_f16(const uint16_t *from, float *to)
{
    lanes_u16 half;
    memcpy(&half, from, sizeof half);
    const lanes_u32 bits = __builtin_convertvector(half, lanes_u32);
    const lanes_u32 moved = (bits & 0x7fff) << 13 | (bits & 0x8000) << 16;
    lanes_f32 wide;
    memcpy(&wide, &moved, sizeof wide);
    wide *= 0x1p112f;
    memcpy(to, &wide, sizeof wide);
}

#endif
