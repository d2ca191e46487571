// The forms q8 and q4: blocks of 32 channels of one row, each number as a few bits times the
// block's scale d, an fp16 number. The ROUNDED d divides and multiplies: with another d on one side
// every number would be off by as much as d was rounded.
//
// q8: d = fp16(greatest magnitude / 127), q = x / d to the nearest whole number, ties to even.
// q4: m is the FIRST number of greatest magnitude, with its sign; d = fp16(m / -8), so that m
// itself is -8 d, the end of the range with one step more; q = floor(x / d + 8.5), less 8 when it
// is read. These are llama.cpp's q8_0 and q4_0.
#include <math.h>

#include "common/number/form.h"
#include "common/number/numeric.h"

enum { BLOCK = 32 };

static inline float clamp(float x, float least, float most)
{
    return x < least ? least : x > most ? most : x;
}

static size_t write_q8(const float *from, size_t n, void *to, uint16_t *scale)
{
    int8_t *q = to;
    const size_t greatest = form_greatest(from, n);
    const float wanted = fabsf(from[greatest]) / 127.0f;
    if (!form_is_half(wanted))
        return greatest;
    *scale = form_narrow(wanted);
    const float d = numeric_half(*scale);
    float step[BLOCK] = {0};
#pragma omp simd
    for (size_t i = 0; i < (d > 0 ? n : 0); i++)
        step[i] = clamp(rintf(from[i] / d), -127, 127);
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)step[i];
    return n;
}

static void read_q8(const void *from, const uint16_t *scale, size_t n, float *to)
{
    const int8_t *q = from;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)q[i] * numeric_half(*scale);
}

static size_t write_q4(const float *from, size_t n, void *to, uint16_t *scale)
{
    uint8_t *q = to;
    const size_t greatest = form_greatest(from, n);
    const float wanted = from[greatest] / -8.0f;
    if (!form_is_half(wanted))
        return greatest;
    *scale = form_narrow(wanted);
    const float d = numeric_half(*scale);
    if (d == 0)
        *scale = 0; // +0, so that what is read is +0
    float step[BLOCK] = {0};
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        step[i] = clamp(floorf(from[i] / d + 8.5f), 0, 15);
    for (size_t i = 0; i < n; i++)
        q[i] = d == 0 ? 8 : (uint8_t)step[i];
    return n;
}

static void read_q4(const void *from, const uint16_t *scale, size_t n, float *to)
{
    const uint8_t *q = from;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)(q[i] - 8) * numeric_half(*scale);
}

const form form_q8 = {1, 8, BLOCK, 1, ELEMENT_Q8, write_q8, read_q8};
const form form_q4 = {1, 4, BLOCK, 1, ELEMENT_Q4, write_q4, read_q4};
