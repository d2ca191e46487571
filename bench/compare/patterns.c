// Known patterns in a wrong row: each is a formula for `got`, and a tolerance.
#include "bench/compare/patterns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// A formula fits if what it leaves is below 2^-12 of the row's deviation, and 4 units in the last
// place of the row's largest number: float32 rounding, and room for sums in another order.
static const double FITS = 0x1p-12, UNITS = 4 * 0x1p-23;

// Fewer numbers than this show no quantum and no memory pattern.
enum { FEWEST = 8, RUN = 4, MOST_HEADS = 64 };

typedef struct moments {
    double mean, deviation, largest; // largest: in magnitude
} moments;

static moments measure(const double *x, size_t n)
{
    moments m = {0};
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        m.mean += x[i] / (double)n;
        m.largest = fmax(m.largest, fabs(x[i]));
    }
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - m.mean) * (x[i] - m.mean);
    m.deviation = sqrt(squares / (double)n);
    return m;
}

static double tolerance(const moments *a, const moments *b)
{
    return FITS * a->deviation + UNITS * fmax(a->largest, b->largest);
}

double patterns_correlation(const double *expected, const double *got, size_t n)
{
    const moments a = measure(expected, n), b = measure(got, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (expected[i] - a.mean) * (got[i] - b.mean);
    const double scale = a.deviation * b.deviation * (double)n;
    return scale > 0 ? sum / scale : 0;
}

// Memory.

// The 32 bits that x consists of, once or twice; false for a double of two different halves.
static bool bits_of(double x, bool as_double, uint32_t *bits)
{
    const float single = (float)x;
    uint32_t halves[2];
    memcpy(halves, as_double ? (const void *)&x : (const void *)&single, as_double ? 8 : 4);
    *bits = halves[0];
    return !as_double || halves[0] == halves[1];
}

// One byte four times, or a word that debuggers fill memory with.
static bool is_filling(uint32_t bits)
{
    return bits == (bits & 0xFF) * 0x01010101u || bits == 0xDEADBEEF || bits == 0xBAADF00D ||
           bits == 0xFEEEFEEE;
}

static bool find_memory(const double *expected, const double *got, size_t n, bool as_double,
                        patterns_finding *f)
{
    size_t run = 0, longest = 0;
    uint32_t bits, last = 0;
    for (size_t i = 0; i < n; i++) {
        const bool fills =
            expected[i] != got[i] && bits_of(got[i], as_double, &bits) && is_filling(bits);
        run = !fills ? 0 : run > 0 && bits == last ? run + 1 : 1;
        last = fills ? bits : last;
        if (run > longest) {
            longest = run;
            f->first = i + 1 - run;
            f->bits = bits;
        }
    }
    for (size_t i = 0; i < n; i++)
        f->elements +=
            bits_of(got[i], as_double, &bits) && bits == f->bits && expected[i] != got[i];
    f->kind = PATTERNS_MEMORY;
    return longest >= RUN;
}

// Formulas.

// Whether got = factor expected + offset, but for rounding.
static bool is_line(const double *expected, const double *got, size_t n, double factor,
                    double offset, double allowed)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(factor * expected[i] + offset - got[i]) <= allowed))
            return false;
    return true;
}

double patterns_log_sum_exp(const double *x, size_t n)
{
    double max = x[0];
    for (size_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    double sum = exp(x[0] - max);
    for (size_t i = 1; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

// Log-probabilities are those whose exp add up to 1.
static bool find_offset(const double *expected, const double *got, size_t n, patterns_finding *f)
{
    const moments a = measure(expected, n), b = measure(got, n);
    const double allowed = tolerance(&a, &b), offset = b.mean - a.mean;
    if (n < 2 || fabs(offset) < 8 * allowed || a.deviation == 0 ||
        !is_line(expected, got, n, 1, offset, allowed))
        return false;
    const double of_a = fabs(patterns_log_sum_exp(expected, n)),
                 of_b = fabs(patterns_log_sum_exp(got, n));
    f->offset = offset;
    f->of_expected = of_a <= 8 * allowed;
    f->kind = f->of_expected || of_b <= 8 * allowed ? PATTERNS_LOG_PROBS : PATTERNS_OFFSET;
    return true;
}

static bool find_probabilities(const double *expected, const double *got, size_t n,
                               patterns_finding *f)
{
    const double norm = patterns_log_sum_exp(expected, n);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - exp(expected[i] - norm)) <= FITS * got[i] + 0x1p-100))
            return false;
    f->kind = PATTERNS_PROBABILITIES;
    return n >= 2;
}

// A factor of sqrt(D) is a head size's, if D is a whole number of at least 4.
static size_t head_size(double factor)
{
    const double square = factor < 1 ? 1 / (factor * factor) : factor * factor;
    const double D = nearbyint(square);
    return D >= 4 && D <= 4096 && fabs(square - D) <= 1e-3 * D ? (size_t)D : 0;
}

static bool find_factor(const double *expected, const double *got, size_t n, patterns_finding *f)
{
    const moments a = measure(expected, n), b = measure(got, n);
    double products = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        products += expected[i] * got[i];
        squares += expected[i] * expected[i];
    }
    f->factor = squares > 0 ? products / squares : 0;
    if (n < 2 || fabs(f->factor - 1) < 8 * FITS || fabs(f->factor) < FITS || a.deviation == 0 ||
        !is_line(expected, got, n, f->factor, 0, FITS * b.deviation + UNITS * b.largest))
        return false;
    f->kind = PATTERNS_FACTOR;
    f->D = f->factor > 0 ? head_size(f->factor) : 0;
    return true;
}

// Precision.

typedef struct format {
    const char *name;
    int bits, lowest; // of the fraction; the lowest normal exponent
    double largest;
} format;

// From the roughest to the finest: every e4m3 is also a bfloat16.
static const format FORMATS[] = {{"float8 e5m2", 2, -14, 57344},
                                 {"float8 e4m3", 3, -6, 448},
                                 {"bfloat16", 7, -126, 0x1.FEp127},
                                 {"float16", 10, -14, 65504}};
enum { FLOAT8 = 2, FORMATS_KNOWN = 4 };

// The step between neighbours at x.
static double step_at(const format *t, double x)
{
    int exponent = 0;
    frexp(x, &exponent);
    return ldexp(1, (x == 0 || exponent - 1 < t->lowest ? t->lowest : exponent - 1) - t->bits);
}

// Whether every x / scale is a number of the format; where a scale divided them, but for float32's
// rounding.
static bool is_format(const format *t, const double *x, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++) {
        const double y = x[i] / scale, step = step_at(t, y), steps = y / step;
        const double allowed = scale == 1 ? 0 : 0x1p-12;
        if (fabs(y) > t->largest * (1 + allowed) || fabs(steps - nearbyint(steps)) > allowed)
            return false;
    }
    return true;
}

// Whether every x is a whole number of steps from `low`, to 1/256 of a step.
static bool on_grid(const double *x, size_t n, double low, double step)
{
    for (size_t i = 0; i < n; i++) {
        const double steps = (x[i] - low) / step;
        if (fabs(steps - nearbyint(steps)) > 0x1p-8)
            return false;
    }
    return true;
}

// The fewest steps, up to 255, into which the range of x can be divided so that every x is on the
// grid; 0 if there are none.
static int count_levels(const double *x, size_t n, double *range)
{
    double low = x[0], high = x[0];
    for (size_t i = 1; i < n; i++) {
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
    }
    *range = high - low;
    for (int levels = 1; *range > 0 && levels <= 255; levels++)
        if (on_grid(x, n, low, *range / levels))
            return levels;
    return 0;
}

// Whether each block of `block` numbers lies on a grid of its own, as blocks of 32 or heads of 64
// with a scale each do; the last may be shorter, and says little if it is very short. The roughest
// step and the most levels go into f.
static bool is_integer(const double *x, size_t n, size_t block, patterns_finding *f)
{
    int most = 0;
    double step = 0;
    if (block < FEWEST || n < block)
        return false;
    for (size_t i = 0; i + FEWEST <= n; i += block) {
        double range;
        const int levels = count_levels(x + i, block < n - i ? block : n - i, &range);
        if (levels == 0)
            return false;
        most = levels > most ? levels : most;
        step = fmax(step, range / levels);
    }
    f->format = most <= 15 ? "int4" : "int8";
    f->quantum = step;
    return true;
}

static bool find_integer(const double *x, size_t n, patterns_finding *f)
{
    return is_integer(x, n, n, f) || is_integer(x, n, 64, f) || is_integer(x, n, 32, f);
}

static bool find_format(const double *x, size_t n, size_t formats, bool scaled, patterns_finding *f)
{
    const double largest = measure(x, n).largest;
    for (size_t i = 0; i < formats; i++) {
        const format *t = &FORMATS[i];
        const double scale = scaled ? largest / t->largest : 1;
        if (is_format(t, x, n, scale)) {
            f->format = t->name;
            f->quantum = scale * step_at(t, largest / scale);
            return true;
        }
    }
    return false;
}

// Formats as they are before grids with a scale, since numbers of one size are on a grid in any
// format; grids before scaled float8, which holds every int4.
static bool find_quantum(const double *x, size_t n, patterns_finding *f)
{
    return measure(x, n).largest > 0 &&
           (find_format(x, n, FORMATS_KNOWN, false, f) || find_integer(x, n, f) ||
            find_format(x, n, FLOAT8, true, f));
}

// The numbers of `got` are those of a shorter format, those of `expected` are not, and they are at
// most four steps apart.
static bool find_precision(const double *expected, const double *got, size_t n, patterns_finding *f)
{
    patterns_finding of_expected = {0};
    if (n < FEWEST || !find_quantum(got, n, f) || find_quantum(expected, n, &of_expected))
        return false;
    bool near = true, truncated = true;
    for (size_t i = 0; i < n; i++) {
        near = near && fabs(got[i] - expected[i]) <= 4 * f->quantum;
        truncated = truncated && fabs(got[i]) <= fabs(expected[i]);
    }
    f->truncated = truncated;
    f->kind = PATTERNS_PRECISION;
    return near;
}

// Order.

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool same_block(const double *a, const double *b, size_t n, double allowed)
{
    return is_line(a, b, n, 1, 0, allowed);
}

// Whether each block of D numbers of got is one of expected's, each of these taken once.
static bool are_blocks(const double *expected, const double *got, size_t n, size_t D,
                       double allowed)
{
    bool taken[MOST_HEADS] = {0};
    for (size_t h = 0; h < n / D; h++) {
        size_t from = 0;
        while (from < n / D &&
               (taken[from] || !same_block(expected + from * D, got + h * D, D, allowed)))
            from++;
        if (from == n / D)
            return false;
        taken[from] = true;
    }
    return true;
}

static bool find_heads(const double *expected, const double *got, size_t n, double allowed,
                       patterns_finding *f)
{
    for (size_t heads = 2; heads <= MOST_HEADS && 2 * heads <= n; heads++)
        if (n % heads == 0 && are_blocks(expected, got, n, n / heads, allowed)) {
            f->heads = heads;
            f->D = n / heads;
            return true;
        }
    return false;
}

static bool find_order(const double *expected, const double *got, size_t n, double *room,
                       patterns_finding *f)
{
    const moments a = measure(expected, n), b = measure(got, n);
    const double allowed = tolerance(&a, &b);
    if (n < 4 || fabs(a.mean - b.mean) > allowed || fabs(a.deviation - b.deviation) > allowed ||
        same_block(expected, got, n, allowed))
        return false;
    memcpy(room, expected, n * sizeof *room);
    memcpy(room + n, got, n * sizeof *room);
    qsort(room, n, sizeof *room, by_size);
    qsort(room + n, n, sizeof *room, by_size);
    if (!same_block(room, room + n, n, allowed))
        return false;
    f->kind = find_heads(expected, got, n, allowed, f) ? PATTERNS_HEADS : PATTERNS_ORDER;
    return true;
}

static bool all_finite(const double *expected, const double *got, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(expected[i]) || !isfinite(got[i]))
            return false;
    return n > 0;
}

patterns_finding patterns_find(const double *expected, const double *got, size_t n, bool as_double,
                               double *room)
{
    static bool (*const find[])(const double *, const double *, size_t, patterns_finding *) = {
        find_offset, find_probabilities, find_factor, find_precision};
    patterns_finding f = {0};
    patterns_finding rounded = {0}; // to zeros, among others: these are no filling
    if (find_memory(expected, got, n, as_double, &f)) {
        const bool zeros = f.bits == 0 && all_finite(expected, got, n);
        return zeros && find_precision(expected, got, n, &rounded) ? rounded : f;
    }
    for (size_t i = 0; i < sizeof find / sizeof *find && all_finite(expected, got, n); i++) {
        f = (patterns_finding){0};
        if (find[i](expected, got, n, &f))
            return f;
    }
    f = (patterns_finding){0};
    if (all_finite(expected, got, n))
        find_order(expected, got, n, room, &f);
    return f;
}

const char *patterns_name(patterns_kind kind)
{
    static const char *const names[PATTERNS_KINDS] = {
        "none of the known patterns",
        "freed or never written memory",
        "log-probabilities instead of logits",
        "a constant offset",
        "probabilities instead of logits",
        "a constant factor",
        "reduced precision",
        "permuted heads",
        "numbers in another order",
    };
    return names[kind];
}
