// Numbers of a narrow form, widened to binary32 as many at once as a register holds. The only place
// where the compilers' vector types stand (GCC's and clang's). A row's numbers stand at the same
// bits of sixteen words (kernel.h), so that shifts are all it takes. Each conversion is exact, and
// each product and sum rounded once, so that no bit depends on how it is compiled.
#ifndef LOCKSTEP_LANES_H
#define LOCKSTEP_LANES_H

#include <stdint.h>
#include <string.h>

#include "common/math/kernel.h"
#include "common/number/numeric.h"

// Lanes of a register. gcc 12 keeps what is wider in memory.
#if defined(__AVX512F__)
enum { LANES_WIDE = 16 };
#elif defined(__AVX__)
enum { LANES_WIDE = 8 };
#else
enum { LANES_WIDE = 4 };
#endif
enum { LANES_PIECES = LANES / LANES_WIDE }; // of a panel's row, each as wide as a register

typedef float lanes_f32 __attribute__((vector_size(LANES_WIDE * sizeof(float))));
typedef uint16_t lanes_u16 __attribute__((vector_size(LANES_WIDE * sizeof(uint16_t))));
typedef int32_t lanes_i32 __attribute__((vector_size(LANES_WIDE * sizeof(int32_t))));
typedef uint32_t lanes_u32 __attribute__((vector_size(LANES_WIDE * sizeof(uint32_t))));

#define LANES_INLINE static inline __attribute__((always_inline))

// Words of a row, its bits shifted to their upper end.
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
    return x - (lanes_f32){0}; // as an operand of a vector, x is in all lanes
}

// a b + c. There is no operator for it; of this loop both compilers make one instruction.
LANES_INLINE lanes_f32 lanes_fma(lanes_f32 a, lanes_f32 b, lanes_f32 c)
{
    lanes_f32 d = {0};
#ifdef __clang__
#    pragma unroll
#endif
    for (size_t j = 0; j < LANES_WIDE; j++)
        d[j] = numeric_fma(a[j], b[j], c[j]);
    return d;
}

// Numbers of a narrower format, as binary32. magnitude: their bits but the sign, where binary32 has
// them; least: the format's least normal number, 2^e. With its exponent's bias replaced a number is
// right, unless its exponent is 0: then it is f 2^e, and was read as (1 + f) 2^(e-1), which is
// below 2^e, by as much as it is too large. Nothing here is subnormal: some processors take a
// hundred times longer to multiply such a number.
LANES_INLINE lanes_f32 lanes_narrow(lanes_u32 magnitude, lanes_u32 sign, float least)
{
    const numeric_bits32 below = {.f = least / 2};
    const lanes_f32 read = lanes_of(magnitude + below.u);
    const lanes_i32 above = (lanes_i32)(read - least); // with the sign of that number
    const lanes_f32 wide = read + (lanes_f32)(above & (above < 0));
    return (lanes_f32)((lanes_u32)wide | sign);
}

// The numbers in the upper bits of the words, without their scale, where they have one, and without
// these. Shifted to the right, a negative word is filled with its sign.
LANES_INLINE lanes_f32 lanes_widen(element of, lanes_u32 words)
{
    const lanes_i32 with_sign = (lanes_i32)words;
    switch (of) {
    case ELEMENT_F16:
        return lanes_narrow(words >> 3 & 0x0fffe000, words & 0x80000000, 0x1p-14f);
    case ELEMENT_BF16:
        return lanes_of(words & 0xffff0000);
    case ELEMENT_FP8:
        return lanes_narrow(words >> 4 & 0x07f00000, words & 0x80000000, 0x1p-6f);
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

// fp16 numbers, one beside the other.
LANES_INLINE lanes_f32 lanes_halves(const uint16_t *from)
{
    lanes_u16 halves;
    memcpy(&halves, from, sizeof halves);
    return lanes_widen(ELEMENT_F16, __builtin_convertvector(halves, lanes_u32) << 16);
}

#endif
