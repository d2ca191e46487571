// The arithmetic contract's scalars: a correctly rounded fma, an exp and a GELU that give the same
// bits on every machine. Each is written so that a compiler can run it on 16 lanes at once;
// notes/03-arithmetic.md explains every line.
#ifndef LOCKSTEP_NUMERIC_H
#define LOCKSTEP_NUMERIC_H

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"

#ifdef __FAST_MATH__
#    error "Lockstep promises bits: build without -ffast-math, -Ofast and their parts"
#endif
static_assert(FLT_EVAL_METHOD == 0,
              "float expressions must be evaluated in float: build with SSE2 on x86, not x87");
static_assert(FLT_RADIX == 2 && FLT_MANT_DIG == 24 && DBL_MANT_DIG == 53,
              "float and double must be IEEE-754");

typedef union numeric_bits32 {
    float f;
    uint32_t u;
} numeric_bits32;

// An IEEE-754 binary16 number as binary32: the same bits, but that its exponent is 112 smaller.
// Exact, subnormal numbers included.
static inline float numeric_half(uint16_t half)
{
    const numeric_bits32 bits = {.u = (half & 0x7fffu) << 13 | (half & 0x8000u) << 16};
    return bits.f * 0x1p112f;
}

typedef union numeric_bits64 {
    double f;
    uint64_t u;
} numeric_bits64;

// a b + c, rounded once, without the instruction for it, several times faster than libm's: the
// product is exact in double; TwoSum (Knuth) gives the sum's error, which is folded into the last
// bit ("round to odd", Boldo and Melquiond 2008) so that narrowing rounds correctly. Shifts and
// sums only: SSE2 can neither compare nor multiply 64-bit integers.
static inline float numeric_fma_software(float a, float b, float c)
{
    double product = (double)a * b, addend = c;
    numeric_bits64 sum = {.f = product + addend};
    double from_addend = sum.f - product;
    numeric_bits64 error = {.f = (product - (sum.f - from_addend)) + (addend - from_addend)};
    uint64_t inexact = ((error.f < 0) | (error.f > 0)) ? 1 : 0; // a NaN, from Inf - Inf, is neither
    uint64_t beyond = (sum.u ^ error.u) >> 63 & inexact; // the sum was rounded away from zero
    sum.u = (sum.u - beyond) | inexact;                  // truncated, then made odd
    return (float)sum.f;
}

#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__)
enum { NUMERIC_HARDWARE_FMA = 1 };
#else
enum { NUMERIC_HARDWARE_FMA = 0 };
#endif

// a b + c, rounded once (IEEE-754 fusedMultiplyAdd).
static inline float numeric_fma(float a, float b, float c)
{
    return NUMERIC_HARDWARE_FMA ? fmaf(a, b, c) : numeric_fma_software(a, b, c);
}

// e^x, below 1.1 ulp of the exact value for every float (0.892 at most: `make exhaustive`); +Inf
// above 88.72, gradual underflow to 0 below -87.33; NaN gives NaN. Cody and Waite's reduction x = n
// ln 2 + r, a polynomial of degree 6 on |r| <= ln(2)/2 (minimax for the relative error, found by
// Lawson's iteration), then 2^n in two factors, so that a subnormal result is rounded only once, in
// the last product.
static inline float numeric_exp(float x)
{
    const float log2_e = 0x1.715476p+0f, ln2_high = 0x1.62e430p-1f, ln2_low = -0x1.05c610p-29f;
    const numeric_bits32 shift = {
        .f = 0x1.8p+23f}; // adding it rounds to a whole number, which is then in the low bits
    x = x < -104.0f ? -104.0f : x; // e^-104 is 0 and e^89 is +Inf already
    x = x > 89.0f ? 89.0f : x;
    numeric_bits32 shifted = {.f = numeric_fma(x, log2_e, shift.f)};
    float n = shifted.f - shift.f;
    float r = numeric_fma(n, -ln2_low, numeric_fma(n, -ln2_high, x));
    float p = 0x1.6a23d0p-10f;
    p = numeric_fma(p, r, 0x1.123a20p-7f);
    p = numeric_fma(p, r, 0x1.5558f2p-5f);
    p = numeric_fma(p, r, 0x1.555492p-3f);
    p = numeric_fma(p, r, 0x1.fffffcp-2f);
    p = numeric_fma(p, r, 1.0f);
    p = numeric_fma(p, r, 1.0f);
    uint32_t raised = shifted.u - shift.u + 256,
             half = raised >> 1; // n + 256 is positive; half - 128 is n / 2
    numeric_bits32 factor = {.u = (half - 128 + 127) << 23},
                   rest = {.u = (raised - half - 128 + 127) << 23};
    return p * factor.f * rest.f;
}

// gelu_new (Hendrycks and Gimpel 2016, eq. 2): x/2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi)
// (x + 0.044715 x^3). |error| <= 2^-20 max(|x|, FLT_MIN) for every finite float (2^-22.95 at most:
// `make exhaustive`).
static inline float numeric_gelu(float x)
{
    const float slope = -0x1.988454p+0f,
                cubic = -0x1.2444f2p-4f; // -2 sqrt(2/pi), and 0.044715 times that
    return x / (1.0f + numeric_exp(x * numeric_fma(x * x, cubic, slope)));
}

// ln x for a normal x > 0, in binary64: relative error below 2^-49 (`build/tests --filter
// 'sampler/*'`). x = 2^e m with m in [sqrt(1/2), sqrt(2)), and with z = (m - 1) / (m + 1)
//
//     ln m = 2 (z + z^3/3 + z^5/5 + ... + z^21/21)
//
// The next term is below 2^-56 of the sum. Each operation is rounded once and stands in a fixed
// order, so the bits are the same on every machine. m - 1 is exact, so small results keep all their
// digits. For the sampler alone: no decoder takes a logarithm.
static inline double numeric_log(double x)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcdu; // sqrt(1/2)
    const double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
    const numeric_bits64 bits = {.f = x};
    const int64_t e = (int64_t)(bits.u - root_half) >> 52;
    const numeric_bits64 m = {.u = bits.u - ((uint64_t)e << 52)};
    const double z = (m.f - 1) / (m.f + 1), square = z * z;
    double tail = 1.0 / 21;
    tail = tail * square + 1.0 / 19;
    tail = tail * square + 1.0 / 17;
    tail = tail * square + 1.0 / 15;
    tail = tail * square + 1.0 / 13;
    tail = tail * square + 1.0 / 11;
    tail = tail * square + 1.0 / 9;
    tail = tail * square + 1.0 / 7;
    tail = tail * square + 1.0 / 5;
    tail = tail * square + 1.0 / 3;
    const double ln_m = 2 * z + 2 * z * square * tail;
    return (double)e * ln2_high + ((double)e * ln2_low + ln_m);
}

// Whether the processor computes with subnormal numbers, as the contract wants it, or flushes them
// to zero.
bool numeric_keeps_subnormals(void);

// For main to call before it computes: refuses a rounding mode other than to nearest and flushed
// subnormals (a program or library linked with -ffast-math switches that on), and says on standard
// error where a build has no hardware FMA.
status numeric_ready(const char *program);

// Units in the last place between two floats: how many floats lie between them, plus one. NaN
// counts like the number its bits make.
static inline uint64_t numeric_ulps(float a, float b)
{
    const numeric_bits32 x = {.f = a}, y = {.f = b};
    const int64_t from = x.u >> 31 ? -(int64_t)(x.u & 0x7fffffff) : (int64_t)x.u,
                  to = y.u >> 31 ? -(int64_t)(y.u & 0x7fffffff) : (int64_t)y.u;
    return (uint64_t)(from < to ? to - from : from - to);
}

#endif
