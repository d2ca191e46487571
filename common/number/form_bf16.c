// The form bf16: the upper half of a binary32 number, so that its range stays and 7 bits of
// fraction are left. Rounded to nearest, ties to even.
#include "common/number/form.h"
#include "common/number/numeric.h"

// Adding one less than half of the last place, and one more where that place is odd, rounds. From
// 0x1.ffp127 on that gives Inf, and is refused as Inf and NaN are.
static size_t write_bf16(const float *from, size_t n, void *to, uint16_t *scale)
{
    uint16_t *upper = to;
    (void)scale;
    const size_t fit = form_first_beyond(from, n, 0x1.ffp127f);
#pragma omp simd
    for (size_t i = 0; i < fit; i++) {
        const uint32_t bits = (numeric_bits32){.f = from[i]}.u;
        upper[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    return fit;
}

static void read_bf16(const void *from, const uint16_t *scale, size_t n, float *to)
{
    const uint16_t *upper = from;
    (void)scale;
    for (size_t i = 0; i < n; i++)
        to[i] = (numeric_bits32){.u = (uint32_t)upper[i] << 16}.f;
}

const form form_bf16 = {2, 16, 0, 0, ELEMENT_BF16, write_bf16, read_bf16};
