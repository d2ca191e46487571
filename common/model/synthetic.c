// Weights made from their names: a hash of name, seed and index, nothing carried from one element
// to the next.
#include "common/model/synthetic.h"

#include "common/base/random.h"

static uint64_t fnv1a64(const char *text)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return h;
}

void synthetic_fill(const char *name, uint64_t seed, float offset, float scale, size_t first,
                    size_t count, float *values)
{
    const uint64_t start = (fnv1a64(name) ^ seed) + first;
    const float unit = scale * 0x1p-23f;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        int32_t n =
            (int32_t)(random_splitmix64(start + i) >> 40) - (1 << 23); // 24 bits: exact in a float
        values[i] = offset + (float)n * unit;
    }
}

float synthetic_matrix_scale(size_t fan_in)
{
    float scale = 1;
    for (size_t reach = 4; reach < fan_in; reach *= 4) // fan_in is at most 2^26 (4 C): no overflow
        scale /= 2;
    return scale;
}
