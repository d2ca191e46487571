// GPT-2 in plain loops: tokens in, logits out. Read this page first. It is written from the
// arithmetic contract alone (notes/03-arithmetic.md) and shares nothing with the decoders but the
// loaded numbers; yet its logits equal theirs bit for bit.
#include "tests/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Contract 2. y (N) = x (K) W + b. One product after the other, k ascending, each added with a
// single rounding.
static void matmul(const linear *w, const float *x, float *y)
{
    for (size_t j = 0; j < w->N; j++) {
        float sum = 0;
        for (size_t k = 0; k < w->K; k++)
            sum = fmaf(x[k], linear_weight(w, k, j), sum);
        y[j] = w->bias ? sum + w->bias[j] : sum;
    }
}

// Contract 3. Element i goes to partial sum i mod 16; then 16 become 8, 4, 2, 1, each adding the
// one half the way further on.
static float fold(float partial[16])
{
    for (size_t half = 8; half >= 1; half /= 2)
        for (size_t j = 0; j < half; j++)
            partial[j] = partial[j] + partial[j + half];
    return partial[0];
}

static float sum(const float *x, size_t n)
{
    float partial[16] = {0};
    for (size_t i = 0; i < n; i++)
        partial[i % 16] = partial[i % 16] + x[i];
    return fold(partial);
}

static float sum_of_squares(const float *x, size_t n, float mean)
{
    float partial[16] = {0};
    for (size_t i = 0; i < n; i++)
        partial[i % 16] = fmaf(x[i] - mean, x[i] - mean, partial[i % 16]);
    return fold(partial);
}

// Contract 3. y (C) = (x - mean) / standard deviation, times gain, plus bias.
static void layer_norm(const norm *w, float eps, const float *x, float *y, size_t C)
{
    float mean = sum(x, C) / (float)C;
    float variance = sum_of_squares(x, C, mean) / (float)C;
    float r = 1.0f / sqrtf(variance + eps);
    for (size_t c = 0; c < C; c++)
        y[c] = fmaf((x[c] - mean) * r, w->gain[c], w->bias[c]);
}

// Contract 6. e^x = 2^n e^r with n whole and |r| <= ln(2)/2: adding 1.5 2^23 leaves no room for a
// fraction, which rounds to n.
static float exponential(float x)
{
    if (x < -104.0f)
        x = -104.0f;
    if (x > 89.0f)
        x = 89.0f;
    float n = fmaf(x, 0x1.715476p+0f, 0x1.8p+23f) - 0x1.8p+23f;
    float r = fmaf(n, 0x1.05c610p-29f, fmaf(n, -0x1.62e430p-1f, x));
    const float c[] = {0x1.6a23d0p-10f,
                       0x1.123a20p-7f,
                       0x1.5558f2p-5f,
                       0x1.555492p-3f,
                       0x1.fffffcp-2f,
                       1.0f,
                       1.0f};
    float p = c[0];
    for (size_t i = 1; i < 7; i++)
        p = fmaf(p, r, c[i]);
    return isnan(p) ? p : ldexpf(p, (int)n);
}

// Contract 6. GELU in its tanh form, written with one exponential.
static float gelu(float x)
{
    return x / (1.0f + exponential(x * fmaf(x * x, -0x1.2444f2p-4f, -0x1.988454p+0f)));
}

// Which rows are kept. all: every row up to its own. window:W+S: the last W, its own among them,
// and the first S.
bool oracle_sees(const kv_spec *spec, size_t t, size_t s)
{
    if (spec->keep == KV_WINDOW)
        return s <= t && (s + spec->recent > t || s < spec->sinks);
    return s <= t;
}

// How a number is kept in 16 bits: a sign, 5 bits of exponent, 10 of fraction.
double oracle_half(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

// The bits of the magnitudes ascend with them, so that halving finds the greatest that is not above
// |x|. The nearest is that one or the next; where both are as near, the one with an even last bit.
float oracle_as_half(float x)
{
    const double wanted = fabs((double)x);
    uint16_t below = 0, above = 0x7c00;
    while (above - below > 1) {
        const uint16_t middle = (uint16_t)((below + above) / 2);
        *(oracle_half(middle) <= wanted ? &below : &above) = middle;
    }
    const double down = wanted - oracle_half(below), up = oracle_half(above) - wanted;
    const uint16_t nearest = down < up || (down == up && below % 2 == 0) ? below : above;
    return copysignf((float)oracle_half(nearest), x);
}

// Contract 4. One head, one row: q (D) against the keys of the positions that row t sees, then
// their values, weighted. `stride` floats lie between one position's key and the next one's. What
// the row does not see takes no part; what it sees keeps its place in the sum by its position.
static void attend(const kv_spec *spec, const float *q, const float *k, const float *v,
                   size_t stride, size_t t, size_t D, float *p, float *y)
{
    float max = -INFINITY, partial[16] = {0};
    for (size_t s = 0; s <= t; s++) {
        float dot = 0;
        for (size_t d = 0; d < D; d++)
            dot = fmaf(q[d], k[s * stride + d], dot);
        p[s] = dot * (1.0f / sqrtf((float)D));
        max = oracle_sees(spec, t, s) && p[s] > max ? p[s] : max;
    }
    for (size_t s = 0; s <= t; s++)
        if (oracle_sees(spec, t, s)) {
            p[s] = exponential(p[s] - max);
            partial[s % 16] = partial[s % 16] + p[s];
        }
    float inverse = 1.0f / fold(partial);
    memset(y, 0, D * sizeof *y);
    for (size_t s = 0; s <= t; s++)
        if (oracle_sees(spec, t, s))
            for (size_t d = 0; d < D; d++)
                y[d] = fmaf(p[s] * inverse, v[s * stride + d], y[d]);
}

// One transformer block over all rows of x (T, C).
static void transform(const model *m, const kv_spec *spec, const layer *w, float *x, size_t T)
{
    const size_t C = m->config.C, F = m->config.F, D = C / m->config.H;
    float *qkv = malloc(T * 3 * C * sizeof *qkv), *p = malloc(T * sizeof *p);
    float *a = malloc(C * sizeof *a), *b = malloc(C * sizeof *b), *h = malloc(F * sizeof *h);
    for (size_t t = 0; t < T; t++) {
        layer_norm(&w->ln1, m->config.eps, x + t * C, a, C);
        matmul(&w->qkv, a, qkv + t * 3 * C);
        for (size_t c = C; spec->form == KV_F16 && c < 3 * C; c++)
            qkv[t * 3 * C + c] = oracle_as_half(qkv[t * 3 * C + c]);
    }
    for (size_t t = 0; t < T; t++) {
        for (size_t c = 0; c < C; c += D)
            attend(spec, qkv + t * 3 * C + c, qkv + C + c, qkv + 2 * C + c, 3 * C, t, D, p, a + c);
        matmul(&w->proj, a, b);
        for (size_t c = 0; c < C; c++)
            x[t * C + c] = x[t * C + c] + b[c];
        layer_norm(&w->ln2, m->config.eps, x + t * C, a, C);
        matmul(&w->fc, a, h);
        for (size_t f = 0; f < F; f++)
            h[f] = gelu(h[f]);
        matmul(&w->fcproj, h, b);
        for (size_t c = 0; c < C; c++)
            x[t * C + c] = x[t * C + c] + b[c];
    }
    free(qkv), free(p), free(a), free(b), free(h);
}

void oracle_logits(const model *m, const kv_spec *spec, const int *tokens, size_t T, size_t wanted,
                   float *logits)
{
    const size_t C = m->config.C;
    float *x = malloc(T * C * sizeof *x);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < C; c++)
            x[t * C + c] = linear_weight(&m->wte, c, (size_t)tokens[t]) + m->wpe[t * padded(C) + c];
    for (size_t l = 0; l < m->config.L; l++)
        transform(m, spec, &m->layers[l], x, T);
    for (size_t i = 0; i < wanted; i++) {
        float *last = x + (T - wanted + i) * C;
        layer_norm(&m->lnf, m->config.eps, last, last, C);
        matmul(&m->head, last, logits + i * m->config.V);
    }
    free(x);
}
