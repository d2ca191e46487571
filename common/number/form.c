// What the forms share, and the plain one.
#include "common/number/form.h"

#include <math.h>
#include <string.h>

#include "common/number/numeric.h"

static size_t write_f32(const float *from, size_t n, void *to, uint16_t *scale)
{
    (void)scale;
    memcpy(to, from, n * sizeof *from);
    return n;
}

static void read_f32(const void *from, const uint16_t *scale, size_t n, float *to)
{
    (void)scale;
    memcpy(to, from, n * sizeof *to);
}

static inline uint32_t magnitude(float x)
{
    return (numeric_bits32){.f = x}.u & 0x7fffffff;
}

// The bits of magnitudes are ordered as these are, and NaN's are the greatest.
static uint32_t greatest_magnitude(const float *x, size_t n)
{
    uint32_t greatest = 0;
#pragma omp simd reduction(max : greatest)
    for (size_t i = 0; i < n; i++)
        greatest = magnitude(x[i]) > greatest ? magnitude(x[i]) : greatest;
    return greatest;
}

size_t form_first_beyond(const float *x, size_t n, float limit)
{
    const bool none = greatest_magnitude(x, n) < magnitude(limit);
    for (size_t i = 0; !none && i < n; i++)
        if (magnitude(x[i]) >= magnitude(limit))
            return i;
    return n;
}

size_t form_greatest(const float *x, size_t n)
{
    const uint32_t greatest = greatest_magnitude(x, n);
    size_t i = 0;
    if (greatest >= magnitude(INFINITY))
        return form_first_beyond(x, n, INFINITY);
    while (magnitude(x[i]) < greatest)
        i++;
    return i;
}

const form form_f32 = {4, 32, 0, 0, ELEMENT_F32, write_f32, read_f32};
