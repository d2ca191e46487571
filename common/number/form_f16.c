// The form f16: IEEE-754 binary16, half the bytes of F32. A row's own scores already read what is
// stored, so that a result does not depend on when the row was computed. What binary16 cannot hold,
// |x| >= 65520, Inf and NaN, is an error: no number is changed in silence.
#include <math.h>

#include "common/number/form.h"
#include "common/number/numeric.h"

// Rounded to nearest, ties to even. Below 2^-14, where binary16 is subnormal, adding 1/2 to the
// magnitude lines its last bit up with that of the sum, which the addition then rounds; from there
// on the last 13 bits of the fraction are rounded off.
static inline uint16_t narrow(float x)
{
    numeric_bits32 bits = {.f = x};
    const uint32_t sign = bits.u >> 16 & 0x8000;
    bits.u &= 0x7fffffff;
    numeric_bits32 small = {.f = bits.f + 0.5f};
    const uint32_t subnormal = small.u - 0x3f000000;
    const uint32_t normal = (bits.u + 0xfff + (bits.u >> 13 & 1)) - (112u << 23);
    return (uint16_t)(sign | (bits.f < 0x1p-14f ? subnormal : normal >> 13));
}

uint16_t form_narrow(float x)
{
    return narrow(x);
}

bool form_is_half(float x)
{
    return fabsf(x) < 65520.0f;
}

static size_t write_f16(const float *from, size_t n, void *to, uint16_t *scale)
{
    uint16_t *half = to;
    (void)scale;
    const size_t fit = form_first_beyond(from, n, 65520.0f);
#pragma omp simd
    for (size_t i = 0; i < fit; i++)
        half[i] = narrow(from[i]);
    return fit;
}

static void read_f16(const void *from, const uint16_t *scale, size_t n, float *to)
{
    const uint16_t *half = from;
    (void)scale;
    for (size_t i = 0; i < n; i++)
        to[i] = numeric_half(half[i]);
}

const form form_f16 = {2, 16, 0, 0, ELEMENT_F16, write_f16, read_f16};
