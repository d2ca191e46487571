// build/exhaustive: numeric_exp and numeric_gelu at every one of the 2^32 floats against double. A
// program of its own
// (`make exhaustive`).
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/number/numeric.h"

enum { BLOCK = 1 << 16, BLOCKS = 1 << 16, THREADS = 2 };

static const double EXP_BOUND = 1.1, GELU_BOUND = 0x1p-20;

// The largest error of one function, and the bits of the argument at which it is.
typedef struct worst {
    double error;
    uint32_t at;
} worst;

typedef struct report {
    worst exp, gelu;
    uint64_t backwards; // neighbouring floats at which exp falls although its argument rises
    double furthest;    // the longest such step, in ulp
} report;

static float from_bits(uint32_t u)
{
    return (numeric_bits32){.u = u}.f;
}

// The distance of neighbouring floats at the exact value y > 0; below FLT_MIN they keep FLT_MIN's
// distance.
static double ulp_at(double y)
{
    int exponent;
    frexp(y, &exponent);
    return ldexp(1, (exponent < FLT_MIN_EXP ? FLT_MIN_EXP : exponent) - FLT_MANT_DIG);
}

// In ulp. Values from halfway between FLT_MAX and the next power of two on round to +Inf. A NaN
// must give a NaN.
static double exp_error(float x, float y)
{
    const double exact = exp((double)x), overflow = 0x1.ffffffp+127;
    if (isnan(x))
        return isnan(y) ? 0 : INFINITY;
    if (exact >= overflow || isinf(y))
        return exact >= overflow && isinf(y) ? 0 : INFINITY;
    double error = fabs((double)y - exact) / ulp_at(exact);
    return isnan(error) ? INFINITY : error;
}

// Relative to max(|x|, FLT_MIN); of finite x only.
static double gelu_error(float x, float y)
{
    const double pi = 3.14159265358979323846, wide = x;
    const double u = sqrt(2 / pi) * (wide + 0.044715 * wide * wide * wide);
    double error = fabs((double)y - wide / (1 + exp(-2 * u))) / fmax(fabs(wide), (double)FLT_MIN);
    return isnan(error) ? INFINITY : error;
}

static void keep_worse(worst *w, double error, uint32_t at)
{
    if (error > w->error)
        *w = (worst){error, at};
}

// `before` and `y` are exp of the bit patterns u - 1 and u. Among negative floats the next pattern
// is the smaller number.
static void check_order(report *r, uint32_t u, float before, float y)
{
    const bool negative = u >> 31, first = (u & 0x7fffffff) == 0;
    if (first || !isfinite(from_bits(u)) || (negative ? y <= before : y >= before))
        return;
    r->backwards++;
    r->furthest = fmax(r->furthest, fabs((double)y - (double)before) / ulp_at((double)y));
}

static void check_block(report *r, uint32_t start)
{
    static _Thread_local float e[BLOCK], g[BLOCK];
#pragma omp simd
    for (uint32_t i = 0; i < BLOCK; i++) {
        e[i] = numeric_exp(from_bits(start + i));
        g[i] = numeric_gelu(from_bits(start + i));
    }
    float before = numeric_exp(from_bits(start - 1));
    for (uint32_t i = 0; i < BLOCK; before = e[i++]) {
        const float x = from_bits(start + i);
        keep_worse(&r->exp, exp_error(x, e[i]), start + i);
        check_order(r, start + i, before, e[i]);
        if (isfinite(x))
            keep_worse(&r->gelu, gelu_error(x, g[i]), start + i);
    }
}

static void merge(report *into, const report *r)
{
    keep_worse(&into->exp, r->exp.error, r->exp.at);
    keep_worse(&into->gelu, r->gelu.error, r->gelu.at);
    into->backwards += r->backwards;
    into->furthest = fmax(into->furthest, r->furthest);
}

int main(void)
{
    status s = numeric_ready("exhaustive");
    if (s) {
        fprintf(stderr, "exhaustive: %s\n", s);
        return 1;
    }
    report all = {0};
#pragma omp parallel num_threads(THREADS)
    {
        report own = {0};
#pragma omp for schedule(dynamic, 64)
        for (uint32_t b = 0; b < BLOCKS; b++)
            check_block(&own, b * BLOCK);
#pragma omp critical
        merge(&all, &own);
    }
    const bool good = all.exp.error < EXP_BOUND && all.gelu.error <= GELU_BOUND;
    const double e = from_bits(all.exp.at), g = from_bits(all.gelu.at);
    printf("exp:  largest error %.6f ulp at %a (%.9g); the bound is %g\n", all.exp.error, e, e,
           EXP_BOUND);
    printf("      falls between %llu pairs of rising neighbours, by %g ulp at most\n",
           (unsigned long long)all.backwards, all.furthest);
    printf("gelu: largest error 2^%.4f max(|x|, FLT_MIN) at %a (%.9g); the bound is 2^%g\n",
           log2(all.gelu.error), g, g, log2(GELU_BOUND));
    printf("%s\n", good ? "within the bounds" : "BEYOND THE BOUNDS");
    return good ? 0 : 1;
}
