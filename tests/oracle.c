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

// 8 bits of exponent, 7 of fraction.
double oracle_bfloat(uint16_t bits)
{
    const int exponent = bits >> 7 & 255, fraction = bits & 127;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, -133) : ldexp(128 + fraction, exponent - 134);
    return bits >> 15 ? -magnitude : magnitude;
}

// 4 bits of exponent, 3 of fraction.
double oracle_fp8(uint16_t bits)
{
    const int exponent = bits >> 3 & 15, fraction = bits & 7;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, -9) : ldexp(8 + fraction, exponent - 10);
    return bits >> 7 ? -magnitude : magnitude;
}

// The bits of the magnitudes ascend with them, so that halving finds the greatest that is not above
// |x|. The nearest is that one or the next; where both are as near, the one with an even last bit.
static float nearest(double value(uint16_t bits), uint16_t above, float x)
{
    const double wanted = fabs((double)x);
    uint16_t below = 0;
    while (above - below > 1) {
        const uint16_t middle = (uint16_t)((below + above) / 2);
        *(value(middle) <= wanted ? &below : &above) = middle;
    }
    const double down = wanted - value(below), up = value(above) - wanted;
    const uint16_t found = down < up || (down == up && below % 2 == 0) ? below : above;
    return copysignf((float)value(found), x);
}

float oracle_as_half(float x)
{
    return nearest(oracle_half, 0x7c00, x);
}

float oracle_as_bfloat(float x)
{
    return nearest(oracle_bfloat, 0x7f80, x);
}

float oracle_as_fp8(float x)
{
    return fabsf(x) >= 448 ? copysignf(448, x) : nearest(oracle_fp8, 0x7e, x);
}

// q8: n numbers of a block as whole multiples of a scale.
void oracle_as_q8(float *x, size_t n)
{
    float greatest = 0;
    for (size_t i = 0; i < n; i++)
        greatest = fabsf(x[i]) > greatest ? fabsf(x[i]) : greatest;
    const float d = oracle_as_half(greatest / 127.0f);
    for (size_t i = 0; i < n; i++) {
        const float q = d > 0 ? nearbyintf(x[i] / d) : 0;
        x[i] = (float)(int)(q > 127 ? 127 : q < -127 ? -127 : q) * d;
    }
}

// q4: the first number of greatest magnitude is -8 scales.
static void keep_q4(float *x, size_t n)
{
    float m = 0;
    for (size_t i = n; i-- > 0;)
        m = fabsf(x[i]) >= fabsf(m) ? x[i] : m;
    const float d = oracle_as_half(m / -8.0f);
    for (size_t i = 0; i < n; i++) {
        const float q = floorf(x[i] / d + 8.5f);
        x[i] = d == 0 ? 0 : (float)((int)(q < 0 ? 0 : q > 15 ? 15 : q) - 8) * d;
    }
}

// kivi: n numbers, `step` floats apart, as 2^bits equal steps from the least to the greatest.
static void keep_kivi(float *x, size_t n, size_t step, int bits)
{
    float least = x[0], greatest = x[0];
    for (size_t i = 0; i < n; i++) {
        least = x[i * step] < least ? x[i * step] : least;
        greatest = x[i * step] > greatest ? x[i * step] : greatest;
    }
    const float steps = (float)((1 << bits) - 1);
    const float s = oracle_as_half((greatest - least) / steps), z = oracle_as_half(least);
    for (size_t i = 0; i < n; i++) {
        float q = s > 0 ? nearbyintf((x[i * step] - z) / s) : 0;
        q = q < 0 ? 0 : q > steps ? steps : q;
        x[i * step] = fmaf(q, s, z);
    }
}

// In which form: one head's D channels of a key or a value. Blocks have 32 channels, the last one
// what is left.
static void keep_row(const kv_spec *spec, float *x, size_t D)
{
    for (size_t d = 0; d < D; d++)
        x[d] = spec->form == KV_F16    ? oracle_as_half(x[d])
               : spec->form == KV_BF16 ? oracle_as_bfloat(x[d])
               : spec->form == KV_FP8  ? oracle_as_fp8(x[d])
                                       : x[d];
    for (size_t d = 0; d < D; d += 32) {
        const size_t n = D - d < 32 ? D - d : 32;
        if (spec->form == KV_Q8)
            oracle_as_q8(x + d, n);
        if (spec->form == KV_Q4)
            keep_q4(x + d, n);
    }
}

static int kivi_bits(const kv_spec *spec)
{
    return spec->form == KV_KIVI4 ? 4 : spec->form == KV_KIVI2 ? 2 : 0;
}

// kivi: a value's D channels in groups; and the keys of a group of positions, `stride` floats
// apart, channel by channel, once the last of them has read them as they are.
static void keep_kivi_value(const kv_spec *spec, float *v, size_t D)
{
    for (size_t d = 0; d < D; d += spec->group)
        keep_kivi(v + d, D - d < spec->group ? D - d : spec->group, 1, kivi_bits(spec));
}

static void keep_kivi_keys(const kv_spec *spec, float *k, size_t stride, size_t width)
{
    for (size_t c = 0; c < width; c++)
        keep_kivi(k + c, spec->group, stride, kivi_bits(spec));
}

// heavy:R+H, one head, after row t, which gave weight p[s] to each position that it sees: t is kept
// from now on, each score grows by its weight, and if more than R + H positions are kept, the one
// with the lowest score, the first of several, of those up to t - R is not kept any more.
static void keep_heavy(const kv_spec *spec, const float *p, size_t t, bool begins, bool ends,
                       bool *kept, float *score)
{
    size_t count = 0, worst = t;
    kept[t] = true;
    if (begins)
        score[t] = 0;
    for (size_t s = 0; s <= t; s++)
        if (kept[s]) {
            score[s] = score[s] + p[s];
            count++;
        }
    for (size_t s = 0; s + spec->recent <= t; s++)
        if (kept[s] && (worst == t || score[s] < score[worst]))
            worst = s;
    if (ends && count > spec->recent + spec->heavy)
        kept[worst] = false;
}

// Contract 4. One head, one row: q (D) against the keys of the positions that row t sees, then
// their values, weighted. `stride` floats lie between one position's key and the next one's. What
// the row does not see takes no part; what it sees keeps its place in the sum by its position.
static void attend(const bool *sees, const float *q, const float *k, const float *v, size_t stride,
                   size_t t, size_t D, float *p, float *y)
{
    float max = -INFINITY, partial[16] = {0};
    for (size_t s = 0; s <= t; s++) {
        float dot = 0;
        for (size_t d = 0; d < D; d++)
            dot = fmaf(q[d], k[s * stride + d], dot);
        p[s] = dot * (1.0f / sqrtf((float)D));
        max = sees[s] && p[s] > max ? p[s] : max;
    }
    for (size_t s = 0; s <= t; s++)
        if (sees[s]) {
            p[s] = exponential(p[s] - max);
            partial[s % 16] = partial[s % 16] + p[s];
        }
    float inverse = 1.0f / fold(partial);
    memset(y, 0, D * sizeof *y);
    for (size_t s = 0; s <= t; s++)
        if (sees[s]) {
            p[s] = p[s] * inverse;
            for (size_t d = 0; d < D; d++)
                y[d] = fmaf(p[s], v[s * stride + d], y[d]);
        }
}

// One transformer block over all rows of x (T, C). sees (G, T, T): which positions each row saw, by
// K/V head. Query head h reads K/V head h G / H, rounded down.
static void transform(const model *m, const kv_spec *spec, const layer *w, float *x, size_t T,
                      bool *sees)
{
    const size_t C = m->config.C, F = m->config.F, D = C / m->config.H;
    const size_t H = m->config.H, G = m->config.G ? m->config.G : H, N = C + 2 * G * D;
    float *qkv = malloc(T * N * sizeof *qkv), *p = malloc(T * sizeof *p);
    float *a = malloc(C * sizeof *a), *b = malloc(C * sizeof *b), *h = malloc(F * sizeof *h);
    bool *kept = calloc(G * T, sizeof *kept);
    float *score = calloc(G * T, sizeof *score);
    for (size_t t = 0; t < T; t++) {
        layer_norm(&w->ln1, m->config.eps, x + t * C, a, C);
        matmul(&w->qkv, a, qkv + t * N);
        for (size_t c = C; c < N; c += D)
            keep_row(spec, qkv + t * N + c, D);
        for (size_t c = C + G * D; kivi_bits(spec) && c < N; c += D)
            keep_kivi_value(spec, qkv + t * N + c, D);
    }
    for (size_t t = 0; t < T; t++) {
        for (size_t h_q = 0; h_q < H; h_q++) {
            const size_t head = h_q * G / H, c = h_q * D, k = C + head * D, v = k + G * D;
            bool *seen = sees + (head * T + t) * T;
            for (size_t s = 0; s <= t; s++)
                seen[s] =
                    spec->keep == KV_HEAVY ? kept[head * T + s] || s == t : oracle_sees(spec, t, s);
            attend(seen, qkv + t * N + c, qkv + k, qkv + v, N, t, D, p, a + c);
            if (spec->keep == KV_HEAVY)
                keep_heavy(spec, p, t, h_q * G % H < G, (h_q + 1) * G % H < G, kept + head * T,
                           score + head * T);
        }
        if (kivi_bits(spec) && (t + 1) % spec->group == 0)
            keep_kivi_keys(spec, qkv + (t + 1 - spec->group) * N + C, N, G * D);
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
    free(qkv), free(p), free(a), free(b), free(h), free(kept), free(score);
}

void oracle_logits(const model *m, const kv_spec *spec, const int *tokens, size_t T, size_t wanted,
                   float *logits)
{
    bool *sees =
        calloc(m->config.L * (m->config.G ? m->config.G : m->config.H) * T * T, sizeof *sees);
    oracle_run(m, spec, tokens, T, wanted, logits, sees);
    free(sees);
}

void oracle_run(const model *m, const kv_spec *spec, const int *tokens, size_t T, size_t wanted,
                float *logits, bool *sees)
{
    const size_t C = m->config.C;
    float *x = malloc(T * C * sizeof *x);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < C; c++)
            x[t * C + c] = linear_weight(&m->wte, c, (size_t)tokens[t]) + m->wpe[t * padded(C) + c];
    for (size_t l = 0; l < m->config.L; l++)
        transform(m, spec, &m->layers[l], x, T,
                  sees + l * (m->config.G ? m->config.G : m->config.H) * T * T);
    for (size_t i = 0; i < wanted; i++) {
        float *last = x + (T - wanted + i) * C;
        layer_norm(&m->lnf, m->config.eps, last, last, C);
        matmul(&m->head, last, logits + i * m->config.V);
    }
    free(x);
}
