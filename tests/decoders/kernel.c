// The arithmetic: the kernel against scalar loops and float64, row by row; exp and GELU against
// double; what must never be read.
#include "common/math/kernel.h"

#include <criterion/criterion.h>
#include <float.h>
#include <stdint.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/decoder.h"
#include "common/kv/kv.h"
#include "common/kv/store.h"
#include "common/math/activations.h"
#include "common/math/rowops.h"
#include "common/math/softmax.h"
#include "common/number/form.h"
#include "common/number/numeric.h"
#include "tests/support/support.h"

// Numbers that would show any change of order: all magnitudes from 2^-12 to 2^12, both signs.
static float awkward(size_t i)
{
    uint64_t h = (i + 1) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29, h *= 0xBF58476D1CE4E5B9u, h ^= h >> 32;
    return ldexpf((float)((int64_t)(h >> 40) - (1 << 23)) * 0x1p-23f, (int)(h % 25) - 12);
}

static float *awkward_array(size_t n, size_t seed)
{
    float *x = memory_array(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = awkward(i + seed * 1000003);
    return x;
}

static const float CANARY = 12345.0f;

// Compares n rows times `count` panels of depth K with scalar chains, and looks for writes beside
// them, and reads beyond them. a is (rows, K), b has panels of K rows.
static void check_product(const float *a, const float *b, float *y, size_t rows_of_y,
                          size_t columns_of_y, size_t n, size_t K, size_t count, bool resume)
{
    float *left = support_guarded(n * K, sizeof *left),
          *right = support_guarded(count * K * LANES, sizeof *right);
    memcpy(left, a, n * K * sizeof *left);
    memcpy(right, b, count * K * LANES * sizeof *right);
    for (size_t e = 0; e < rows_of_y * columns_of_y; e++)
        y[e] = CANARY;
    kernel_product(n, K, left, K,
                   (panels){.at = right, .stride = K * LANES, .count = count, .of = ELEMENT_F32}, y,
                   columns_of_y, NULL, resume);
    support_guarded_free(left, n * K, sizeof *left);
    support_guarded_free(right, count * K * LANES, sizeof *right);
    for (size_t r = 0; r < rows_of_y; r++)
        for (size_t j = 0; j < columns_of_y; j++) {
            const bool inside = r < n && j < count * LANES;
            float expected = !inside || resume ? CANARY : 0.0f, got = y[r * columns_of_y + j];
            for (size_t k = 0; inside && k < K; k++)
                expected = fmaf(a[r * K + k], b[(j / LANES * K + k) * LANES + j % LANES], expected);
            cr_assert_eq(memcmp(&expected, &got, sizeof got), 0,
                         "%zu rows, K %zu, %zu panels, resume %d: y[%zu][%zu] is %a, not %a", n, K,
                         count, resume, r, j, (double)got, (double)expected);
        }
}

Test(kernel, every_element_is_its_own_chain_whatever_the_tile)
{
    enum { ROWS = 2 * TILE_ROWS + 5, COUNT = 9, LONG = 1000 };
    float *a = awkward_array(ROWS * LONG, 1), *b = awkward_array(COUNT * LONG * LANES, 2);
    float *y = memory_array((ROWS + 1) * (COUNT + 1) * LANES, sizeof *y);
    const size_t Ks[] = {0, 1, 2, 16, 64, 67, LONG};
    for (size_t i = 0; i < sizeof Ks / sizeof *Ks; i++)
        for (size_t n = 1; n <= ROWS; n += Ks[i] == LONG ? 5 : 1)
            for (size_t count = 1; count <= COUNT; count += Ks[i] == LONG ? 4 : 1)
                for (int resume = 0; resume <= 1; resume++)
                    check_product(a, b, y, ROWS + 1, (COUNT + 1) * LANES, n, Ks[i], count, resume);
    memory_free(a), memory_free(b), memory_free(y);
}

Test(kernel, linear_is_near_float64_and_pads_with_zero)
{
    enum { K = 100, N = 37, ROWS = 13 };
    float *x = awkward_array(ROWS * rows_stride(K), 3), *w = awkward_array(3 * LANES * K, 4),
          *bias = awkward_array(3 * LANES, 5);
    for (size_t k = 0; k < K; k++) // padding lanes
        for (size_t j = N; j < 3 * LANES; j++)
            w[(j / LANES * K + k) * LANES + j % LANES] = bias[j] = 0;
    float *y = memory_array(ROWS * rows_stride(N), sizeof *y);
    linear weights = {.panels = w, .bias = bias, .K = K, .N = N};
    rows in = {x, K, rows_stride(K)}, out = {y, N, rows_stride(N)};
    rowops_linear(&weights, &in, &out, ROWS);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t j = 0; j < padded(N); j++) {
            double exact = bias[j], size = fabs(exact);
            for (size_t k = 0; k < K; k++) {
                double term = (double)row(&in, r)[k] * (double)linear_weight(&weights, k, j);
                exact += term;
                size += fabs(term);
            }
            cr_assert_leq(fabs(exact - (double)row(&out, r)[j]), (K + 1) * 0x1p-24 * size,
                          "y[%zu][%zu]", r, j);
        }
    memory_free(x), memory_free(w), memory_free(bias), memory_free(y);
}

static double layer_norm_exact(const float *x, size_t C, double eps, size_t c, double gain,
                               double bias)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < C; i++)
        mean += (double)x[i] / (double)C;
    for (size_t i = 0; i < C; i++)
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)C;
    return ((double)x[c] - mean) / sqrt(variance + eps) * gain + bias;
}

Test(rowops, layer_norm_is_near_float64_at_every_width)
{
    for (size_t C = 1; C <= 70; C++) {
        float *x = awkward_array(rows_stride(C), C), *y = memory_array(rows_stride(C), sizeof *y);
        float *gain = awkward_array(padded(C), 7), *bias = awkward_array(padded(C), 8);
        rows in = {x, C, rows_stride(C)}, out = {y, C, rows_stride(C)};
        rowops_layer_norm(&(norm){gain, bias}, 1e-5f, &in, &out, 1);
        for (size_t c = 0; c < C; c++) {
            double exact = layer_norm_exact(x, C, (double)1e-5f, c, gain[c], bias[c]);
            cr_assert_leq(fabs(exact - (double)y[c]),
                          1e-5 * (fabs((double)gain[c]) + fabs((double)bias[c])),
                          "C %zu: y[%zu] is %g, not %g", C, c, (double)y[c], exact);
        }
        memory_free(x), memory_free(y), memory_free(gain), memory_free(bias);
    }
}

Test(rowops, softmax_is_near_float64_at_every_length)
{
    for (size_t n = 1; n <= 70; n++) {
        float *x = awkward_array(n, n), *p = memory_array(padded(n), sizeof *p);
        memset(p, 0xff, padded(n) * sizeof *p); // NaN
        memcpy(p, x, n * sizeof *p);
        const visible see = {.to = n};
        softmax_row(p, see, softmax_scale(p, see, 0.125f));
        double total = 0, max = -INFINITY;
        for (size_t i = 0; i < n; i++)
            max = fmax(max, (double)x[i] * 0.125);
        for (size_t i = 0; i < n; i++)
            total += exp((double)x[i] * 0.125 - max);
        for (size_t i = 0; i < n; i++) {
            cr_assert_float_eq(p[i], exp((double)x[i] * 0.125 - max) / total, 1e-6,
                               "n %zu: p[%zu] is %g", n, i, (double)p[i]);
        }
        memory_free(x), memory_free(p);
    }
}

// Rows of q at positions first.. over keys and values, all at once and by hand; what is not stored
// holds NaN.
static void check_attention(size_t D, size_t first, size_t n, bool overflowing)
{
    const config c = {.L = 1, .C = 2 * D, .H = 2, .F = 4, .V = 1, .T = first + n + 20};
    activations a;
    kv *kept;
    tap nobody = {0};
    cr_assert_null(activations_create(&c, c.T, &a));
    cr_assert_null(kv_create(&c, 1, &(decoder_options){.T_max = c.T}, &kept));
    memset(a.block, 0xff, activations_bytes(&c, c.T));
    memset(kept->memory, 0xff, kv_memory(&c, 1, &(kv_spec){0}, c.T));
    float *qkv = awkward_array((first + n) * 3 * c.C, first + n);
    for (size_t i = 0; overflowing && i < (first + n) * 3 * c.C; i++)
        if (i % (3 * c.C) >= 2 * c.C)
            qkv[i] = i % 5 == 0    ? -0.0f
                     : i % 7 == 0  ? FLT_MAX
                     : i % 11 == 0 ? -FLT_MAX
                     : i % 13 == 0 ? INFINITY
                                   : qkv[i];
    rows k = {qkv + c.C, c.C, 3 * c.C}, v = {qkv + 2 * c.C, c.C, 3 * c.C};
    cr_assert_null(kv_store(kept, 0, 0, &k, &v, first));
    for (size_t r = 0; r < n; r++)
        memcpy(row(&a.qkv, r), qkv + (first + r) * 3 * c.C, 3 * c.C * sizeof *qkv);
    cr_assert_null(kv_attend(kept, 0, first, &a, n, &nobody));
    float *p = memory_array(c.T, sizeof *p);
    for (size_t r = 0; r < n; r++)
        for (size_t channel = 0; channel < c.C; channel++) {
            const size_t head = channel / D, keys = first + r + 1;
            for (size_t s = 0; s < keys; s++) {
                p[s] = 0;
                for (size_t d = 0; d < D; d++)
                    p[s] = fmaf(qkv[(first + r) * 3 * c.C + head * D + d], row(&k, s)[head * D + d],
                                p[s]);
            }
            const visible see = {.to = keys};
            softmax_row(p, see, softmax_scale(p, see, 1.0f / sqrtf((float)D)));
            float y = 0, got = row(&a.heads, r)[channel];
            for (size_t s = 0; s < keys; s++)
                y = fmaf(p[s], row(&v, s)[channel], y);
            bool same = memcmp(&y, &got, sizeof y) == 0 || (isnan(y) && isnan(got));
            cr_assert(same, "D %zu, first %zu, row %zu of %zu, channel %zu: %a, not %a", D, first,
                      r, n, channel, (double)got, (double)y);
            cr_assert(overflowing || !isnan(got));
        }
    memory_free(p), memory_free(qkv), kv_destroy(kept), activations_free(&a);
}

Test(attention, reads_nothing_beyond_a_rows_own_keys)
{
    const size_t sizes[] = {1, 5, 16, 20, 64, 80}, firsts[] = {0, 1, 14, 15, 16, 17, 40};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 7; j++)
            for (size_t n = 1; n <= 2 * TILE_ROWS + 1; n += n < 4 ? 1 : 5)
                for (int overflowing = 0; overflowing <= 1; overflowing++)
                    check_attention(sizes[i], firsts[j], n, overflowing);
}

// Distance of y from the exact value in units of y's last place.
static double ulps(float y, double exact)
{
    if (exact >= 0x1.ffffffp+127)
        return isinf(y) ? 0 : INFINITY;
    int exponent;
    frexp(exact, &exponent);
    return fabs((double)y - exact) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

// A prime stride through all bit patterns (`make exhaustive` does them all).
enum { PATTERN_STRIDE = 1009 };

Test(numeric, exp_is_within_1_1_ulp)
{
    for (uint64_t u = 0; u < 1ull << 32; u += PATTERN_STRIDE) {
        numeric_bits32 x = {.u = (uint32_t)u};
        float y = numeric_exp(x.f);
        if (isnan(x.f))
            cr_assert(isnan(y), "exp(NaN) is %a", (double)y);
        else
            cr_assert_lt(ulps(y, exp((double)x.f)), 1.1, "exp(%a) is %a", (double)x.f, (double)y);
    }
    cr_assert_eq(numeric_exp(0.0f), 1.0f);
    cr_assert_eq(numeric_exp(-0.0f), 1.0f);
    cr_assert_eq(numeric_exp(INFINITY), INFINITY);
    cr_assert_eq(numeric_exp(FLT_MAX), INFINITY);
    cr_assert_eq(numeric_exp(-INFINITY), 0.0f);
    cr_assert_eq(numeric_exp(-103.9f), FLT_TRUE_MIN);
}

Test(numeric, gelu_is_within_2_to_the_minus_20)
{
    for (uint64_t u = 0; u < 1ull << 32; u += PATTERN_STRIDE) {
        numeric_bits32 bits = {.u = (uint32_t)u};
        double x = bits.f, exact = x / (1 + exp(-2 * sqrt(2 / 3.14159265358979323846) *
                                                (x + 0.044715 * x * x * x)));
        if (!isfinite(x))
            continue;
        cr_assert_leq(fabs((double)numeric_gelu(bits.f) - exact), 0x1p-20 * fmax(fabs(x), FLT_MIN),
                      "gelu(%a) is %a, not %a", x, (double)numeric_gelu(bits.f), exact);
    }
}

Test(numeric, fma_rounds_once)
{
    const float cases[][3] = {{0x1.000002p0f, 0x1.000002p0f, -1.0f},
                              {0x1p-126f, 0x1p-23f, 0x1p-149f},
                              {FLT_MAX, 2.0f, -FLT_MAX},
                              {0x1.fffffep0f, 0x1.fffffep0f, 0x1p-60f},
                              {0x1.000002p-75f, 0x1.8p-75f, 0},
                              {-1.0f, 0.0f, 0.0f},
                              {1.0f, -0.0f, -0.0f},
                              {INFINITY, 1.0f, 1.0f},
                              {FLT_MAX, FLT_MAX, -INFINITY}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float got = numeric_fma(cases[i][0], cases[i][1], cases[i][2]),
              expected = fmaf(cases[i][0], cases[i][1], cases[i][2]);
        cr_assert_eq(memcmp(&got, &expected, sizeof got), 0, "case %zu: %a, not %a", i, (double)got,
                     (double)expected);
    }
    for (size_t i = 0; i < 300000; i++) {
        float a = awkward(3 * i), b = awkward(3 * i + 1),
              c = i % 3 ? awkward(3 * i + 2) : -a * b * (1 + 0x1p-20f * awkward(i));
        float got = numeric_fma(a, b, c), expected = fmaf(a, b, c);
        cr_assert_eq(memcmp(&got, &expected, sizeof got), 0, "fma(%a, %a, %a) is %a, not %a",
                     (double)a, (double)b, (double)c, (double)got, (double)expected);
    }
}
