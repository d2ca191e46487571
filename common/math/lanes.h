// Sixteen numbers of a narrow form, widened to binary32 at once. The only place where the
// compilers' vector types stand (GCC's and clang's). A row's numbers stand at the same bits of
// sixteen words (kernel.h), so that shifts are all it takes. Each conversion is exact, and each
// product and sum rounded once, so that no bit depends on how it is compiled.
#ifndef LOCKSTEP_LANES_H
#define LOCKSTEP_LANES_H

#include <stdint.h>
#include <string.h>

#include "common/math/kernel.h"
#include "common/number/numeric.h"

// Compilers warn that such vectors are handed over in another way on machines without registers
// as wide. Here none is handed over: every function is a part of its caller.
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float lanes_f32 __attribute__((vector_size(LANES * sizeof(float))));
typedef uint16_t lanes_u16 __attribute__((vector_size(LANES * sizeof(uint16_t))));
typedef int32_t lanes_i32 __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t lanes_u32 __attribute__((vector_size(LANES * sizeof(uint32_t))));

#define LANES_INLINE static inline __attribute__((always_inline))

// The words of a row, its bits shifted to their upper end.
LANES_INLINE lanes_u32 lanes_words(const uint32_t *from, unsigned left)
{
    lanes_u32 words;
    memcpy(&words, from, sizeof words);
    return words << left;
}

// The lanes' bits as binary32 numbers.
LANES_INLINE lanes_f32 lanes_of(lanes_u32 bits)
{
    lanes_f32 wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

// Asks memory for the cache line at an address, which need not be there.
LANES_INLINE void lanes_fetch(uintptr_t at)
{
    __builtin_prefetch((const void *)at);
}

LANES_INLINE lanes_f32 lanes_load(const float *from)
{
    lanes_f32 x;
    memcpy(&x, from, sizeof x);
    return x;
}

LANES_INLINE lanes_f32 lanes_all(float x)
{
    return (lanes_f32){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

// a b + c. There is no operator for it; of this loop both compilers make one instruction.
LANES_INLINE lanes_f32 lanes_fma(lanes_f32 a, lanes_f32 b, lanes_f32 c)
{
    lanes_f32 d = {0};
#ifdef __clang__
#    pragma unroll
#endif
    for (size_t j = 0; j < LANES; j++)
        d[j] = numeric_fma(a[j], b[j], c[j]);
    return d;
}

// binary16 and E4M3FN are binary32 numbers whose exponents are 112 or 120 too small, subnormal ones
// too.
#define LANES_F16 0x1p112f
#define LANES_FP8 0x1p120f

// The numbers in the upper bits of the words, without their scale, where they have one, and without
// these. Shifted to the right, a negative word is filled with its sign.
LANES_INLINE lanes_f32 lanes_widen(element of, lanes_u32 words)
{
    const lanes_i32 with_sign = (lanes_i32)words;
    switch (of) {
    case ELEMENT_F16:
        return lanes_of((lanes_u32)(with_sign >> 3) & 0x8fffe000);
    case ELEMENT_BF16:
        return lanes_of(words & 0xffff0000);
    case ELEMENT_FP8:
        return lanes_of((lanes_u32)(with_sign >> 4) & 0x87f00000);
    case ELEMENT_Q8:
        return __builtin_convertvector(with_sign >> 24, lanes_f32);
    case ELEMENT_Q4:
        return __builtin_convertvector((lanes_i32)(words >> 28) - 8, lanes_f32);
    case ELEMENT_KIVI4:
        return __builtin_convertvector((lanes_i32)(words >> 28), lanes_f32);
    default: // kivi2
        return __builtin_convertvector((lanes_i32)(words >> 30), lanes_f32);
    }
}

// Sixteen fp16 numbers, one beside the other.
LANES_INLINE lanes_f32 lanes_halves(const uint16_t *from)
{
    lanes_u16 halves;
    memcpy(&halves, from, sizeof halves);
    return lanes_widen(ELEMENT_F16, __builtin_convertvector(halves, lanes_u32) << 16) * LANES_F16;
}

#endif
