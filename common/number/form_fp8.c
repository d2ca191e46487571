// The form fp8: E4M3FN (Micikevicius et al. 2022), a sign, 4 bits of exponent, 3 of fraction, no
// Inf. Rounded to nearest, ties to even; what is finite and beyond 448, the largest, becomes 448.
#include <math.h>

#include "common/number/form.h"
#include "common/number/numeric.h"

// As for binary16: below 2^-6, where E4M3 is subnormal, adding 2^14 lines its last bit, 2^-9, up
// with that of the sum, which the addition then rounds; from there on the last 20 bits of the
// fraction are rounded off.
static inline uint8_t narrow(float x)
{
    numeric_bits32 bits = {.f = x};
    const uint32_t sign = bits.u >> 24 & 0x80;
    bits.u &= 0x7fffffff;
    bits.f = bits.f < 448.0f ? bits.f : 448.0f;
    numeric_bits32 small = {.f = bits.f + 0x1p14f};
    const uint32_t subnormal = small.u - 0x46800000;
    const uint32_t normal = (bits.u + 0x7ffff + (bits.u >> 20 & 1)) - (120u << 23);
    return (uint8_t)(sign | (bits.f < 0x1p-6f ? subnormal : normal >> 20));
}

static size_t write_fp8(const float *from, size_t n, void *to, uint16_t *scale)
{
    uint8_t *code = to;
    (void)scale;
    const size_t fit = form_first_beyond(from, n, INFINITY);
#pragma omp simd
    for (size_t i = 0; i < fit; i++)
        code[i] = narrow(from[i]);
    return fit;
}

static void read_fp8(const void *from, const uint16_t *scale, size_t n, float *to)
{
    const uint8_t *code = from;
    (void)scale;
    for (size_t i = 0; i < n; i++) {
        const numeric_bits32 bits = {.u = (code[i] & 0x7fu) << 20 | (code[i] & 0x80u) << 24};
        to[i] = bits.f * 0x1p120f;
    }
}

const form form_fp8 = {1, 8, 0, 0, ELEMENT_FP8, write_fp8, read_fp8};
