// The forms kivi4 and kivi2 (Liu et al. 2024): a group of numbers as 16, or 4, equal steps from the
// least to the greatest of them. Keys are grouped per channel over positions (group.c), because a
// few channels are large in every key; values per position over channels.
//
// s = fp16((greatest - least) / (steps)), z = fp16(least), q = (x - z) / s to the nearest whole
// number, ties to even; what is read is fma(q, s, z). A group's scale is the pair s, z.
#include <math.h>
#include <string.h>

#include "common/number/form.h"
#include "common/number/numeric.h"

static float find_least(const float *x, size_t n)
{
    float least = x[0];
#pragma omp simd reduction(min : least)
    for (size_t i = 0; i < n; i++)
        least = x[i] < least ? x[i] : least;
    return least;
}

static float find_greatest(const float *x, size_t n)
{
    float greatest = x[0];
#pragma omp simd reduction(max : greatest)
    for (size_t i = 0; i < n; i++)
        greatest = x[i] > greatest ? x[i] : greatest;
    return greatest;
}

// The index of the first that equals one of them.
static size_t find(const float *x, size_t n, float one)
{
    size_t i = 0;
    while (i + 1 < n && (x[i] < one || x[i] > one))
        i++;
    return i;
}

static size_t write_kivi(const float *from, size_t n, float steps, uint8_t *q, uint16_t *scale)
{
    const size_t finite = form_first_beyond(from, n, INFINITY);
    if (finite < n)
        return finite;
    const size_t least = find(from, n, find_least(from, n)),
                 greatest = find(from, n, find_greatest(from, n));
    const float wanted = (from[greatest] - from[least]) / steps;
    if (!form_is_half(from[least]) || !form_is_half(wanted))
        return form_is_half(from[least]) ? greatest : least;
    scale[0] = form_narrow(wanted);
    scale[1] = form_narrow(from[least]);
    const float s = numeric_half(scale[0]), z = numeric_half(scale[1]);
    memset(q, 0, n);
#pragma omp simd
    for (size_t i = 0; i < (s > 0 ? n : 0); i++) {
        const float step = rintf((from[i] - z) / s);
        q[i] = (uint8_t)(step < 0 ? 0 : step > steps ? steps : step);
    }
    return n;
}

static size_t write_kivi4(const float *from, size_t n, void *to, uint16_t *scale)
{
    return write_kivi(from, n, 15, to, scale);
}

static size_t write_kivi2(const float *from, size_t n, void *to, uint16_t *scale)
{
    return write_kivi(from, n, 3, to, scale);
}

static void read_kivi(const void *from, const uint16_t *scale, size_t n, float *to)
{
    const uint8_t *q = from;
    for (size_t i = 0; i < n; i++)
        to[i] = numeric_fma((float)q[i], numeric_half(scale[0]), numeric_half(scale[1]));
}

const form form_kivi4 = {1, 4, 0, 2, ELEMENT_KIVI4, write_kivi4, read_kivi};
const form form_kivi2 = {1, 2, 0, 2, ELEMENT_KIVI2, write_kivi2, read_kivi};
