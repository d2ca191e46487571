// The figures of one row: bits, distance, KL divergence, largest logits, and which numbers are
// masked.
#include "bench/compare/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/compare/patterns.h"
#include "common/number/numeric.h"

// The bits of a number as one that grows with it, so that a difference counts units in the last
// place.
static int64_t ordered_double(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? -(bits & INT64_MAX) : bits;
}

static uint64_t ulps_between(double a, double b, bool as_double)
{
    if (!as_double)
        return numeric_ulps((float)a, (float)b);
    const int64_t x = ordered_double(a), y = ordered_double(b);
    const uint64_t distance = x < y ? (uint64_t)y - (uint64_t)x : (uint64_t)x - (uint64_t)y;
    return distance < INT64_MAX ? distance : INT64_MAX;
}

// Bits tell 0 from -0, which no number of ulps does.
static bool same_bits(double a, double b, bool as_double)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (!as_double && isfinite(a) && isfinite(b))
        a = (float)a, b = (float)b;
    return a == b && signbit(a) == signbit(b);
}

static void compare_bits(const double *a, const double *b, size_t n, bool as_double,
                         comparison_row *out)
{
    for (size_t i = 0; i < n; i++)
        if (!same_bits(a[i], b[i], as_double)) {
            if (out->differing++ == 0)
                out->first = i;
            uint64_t ulps =
                isfinite(a[i]) && isfinite(b[i]) ? ulps_between(a[i], b[i], as_double) : 0;
            out->max_ulps = ulps > out->max_ulps ? ulps : out->max_ulps;
        }
}

// A masked logit lies below -500, and at least 500 below the next one: softmax gives it nothing, as
// exp(-500) is 7e-218. The gap is also FAR times as wide as all that lies above it, so that rows
// which are wide themselves lose nothing.
static const double MASKED = 500, FAR = 8;

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The finite numbers of x into `out`; returns how many.
static size_t keep_finite(const double *x, size_t n, double *out)
{
    size_t finite = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            out[finite++] = x[i];
    return finite;
}

// How many numbers at the beginning of `sorted` are masked.
static size_t count_masked(const double *sorted, size_t n)
{
    for (size_t i = n; i-- > 1;) {
        const double gap = sorted[i] - sorted[i - 1], above = sorted[n - 1] - sorted[i];
        if (sorted[i - 1] < -MASKED && gap > MASKED && gap > FAR * above)
            return i;
    }
    return 0;
}

// The number that would stand at k if x, (n), were sorted; moves smaller ones before it and larger
// ones behind (Hoare's selection). Sorting every row would take longer than all else.
static double select_number(double *x, size_t n, size_t k)
{
    for (long low = 0, high = (long)n - 1; low < high;) {
        const double pivot = x[k];
        long i = low, j = high;
        while (i <= j) {
            while (x[i] < pivot)
                i++;
            while (x[j] > pivot)
                j--;
            if (i <= j) {
                const double swapped = x[i];
                x[i++] = x[j];
                x[j--] = swapped;
            }
        }
        low = j < (long)k ? i : low;
        high = (long)k < i ? j : high;
    }
    return x[k];
}

// The standard deviation, with what lies more than 12 interquartile ranges (16 standard deviations
// of a normal distribution) from the median drawn in to there: a few huge numbers set no scale.
// 1 for numbers that are all equal, or none at all.
static double robust_deviation(double *x, size_t n)
{
    if (n == 0)
        return 1;
    const double median = select_number(x, n, n / 2);
    const double range = 12 * (select_number(x, n, 3 * n / 4) - select_number(x, n, n / 4));
    const double far = range > 0 ? range : INFINITY;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += fmin(fmax(x[i], median - far), median + far);
    for (size_t i = 0; i < n; i++) {
        const double d = fmin(fmax(x[i], median - far), median + far) - sum / (double)n;
        squares += d * d;
    }
    return squares > 0 ? sqrt(squares / (double)n) : 1;
}

static bool may_be_masked(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] < -MASKED)
            return true;
    return false;
}

rows_scale rows_measure(const double *x, size_t n, double *room)
{
    const size_t finite = keep_finite(x, n, room);
    size_t masked = 0;
    if (may_be_masked(room, finite)) {
        qsort(room, finite, sizeof *room, by_size);
        masked = count_masked(room, finite);
    }
    const double up_to = masked ? room[masked - 1] : -INFINITY;
    return (rows_scale){robust_deviation(room + masked, finite - masked), up_to};
}

bool rows_left_out(double a, double b, const rows_scale *of_a, const rows_scale *of_b)
{
    return (a <= of_a->masked && b <= of_b->masked) ||
           (!isfinite(a) && same_bits(a, b, true)); // NaN or +Inf in both
}

double rows_distance(const double *a, const double *b, size_t n, const rows_scale *of_a,
                     const rows_scale *of_b, double offset)
{
    double squares = 0;
    size_t counted = 0;
    for (size_t i = 0; i < n; i++)
        if (!rows_left_out(a[i], b[i], of_a, of_b)) {
            const double difference = b[i] - a[i] - offset;
            squares += difference * difference;
            counted++;
        }
    const double distance = squares > 0 ? sqrt(squares / (double)counted) / of_a->deviation : 0;
    return isnan(squares) || (distance > 0) != (squares > 0) ? INFINITY : distance;
}

static void compare_differences(const double *a, const double *b, size_t n, const rows_scale *of_a,
                                const rows_scale *of_b, comparison_row *out)
{
    for (size_t i = 0; i < n; i++) {
        const double difference = fabs(b[i] - a[i]);
        if (a[i] <= of_a->masked && b[i] <= of_b->masked)
            out->masked++;
        else if (isfinite(a[i]) && isfinite(b[i]) && difference > out->max_difference) {
            out->max_difference = difference;
            out->max_column = i;
        }
    }
}

// sum p log(p/q), p = softmax(a), q = softmax(b). It cannot be negative; what rounding leaves below
// 0 is 0.
static double divergence(const double *a, const double *b, size_t n)
{
    const double from = patterns_log_sum_exp(a, n), to = patterns_log_sum_exp(b, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double p = exp(a[i] - from);
        if (p != 0) // also where it is NaN
            sum += p * ((a[i] - from) - (b[i] - to));
    }
    return sum < 0 ? 0 : sum;
}

// The columns of the largest numbers in descending order, the first of equals first, NaN never.
// Returns how many.
static size_t find_top(const double *x, size_t n, size_t top[COMPARE_TOP])
{
    size_t held = 0;
    for (size_t i = 0; i < n; i++) {
        size_t place = held;
        while (place > 0 && x[i] > x[top[place - 1]])
            place--;
        if (place == COMPARE_TOP || isnan(x[i]))
            continue;
        held += held < COMPARE_TOP;
        memmove(top + place + 1, top + place, (held - place - 1) * sizeof *top);
        top[place] = i;
    }
    return held;
}

static void compare_top(const double *a, const double *b, size_t n, comparison_row *out)
{
    size_t of_a[COMPARE_TOP] = {0}, of_b[COMPARE_TOP] = {0};
    const size_t held_a = find_top(a, n, of_a), held_b = find_top(b, n, of_b);
    out->top1_a = of_a[0];
    out->top1_b = of_b[0];
    for (size_t i = 0; i < held_a; i++)
        for (size_t j = 0; j < held_b; j++)
            out->top5 += of_a[i] == of_b[j];
}

// The divergence that a row within the limit can have. If no logit moves by more than m, KL is at
// most m^2/2 (Hoeffding's lemma); m is taken as 16 times the root mean square that is allowed. More
// than 0.1 nats is no rounding in any precision, and below 1e-12 our own arithmetic begins.
static double allowed_kl(double limit, double deviation)
{
    const double m = 16 * limit * deviation;
    return fmin(fmax(m * m / 2, 1e-12), 0.1);
}

// Whether the two largest logits were as good as equal in A: closer than twice five times the root
// mean square of the differences, as far as rounding moves two logits at most.
static bool is_tie(const double *a, const comparison_row *r, double deviation)
{
    return r->top1_a == r->top1_b || a[r->top1_a] - a[r->top1_b] <= 2 * 5 * r->distance * deviation;
}

static double mean_difference(const double *a, const double *b, size_t n, const rows_scale *of_a,
                              const rows_scale *of_b)
{
    double sum = 0;
    size_t counted = 0;
    for (size_t i = 0; i < n; i++)
        if (!rows_left_out(a[i], b[i], of_a, of_b)) {
            sum += b[i] - a[i];
            counted++;
        }
    return counted > 0 ? sum / (double)counted : 0;
}

// Softmax sees no constant that is added to a row, so where that is all but rounding, it is left
// out of the distance and named.
static void measure_distance(const double *a, const double *b, size_t n, const rows_scale *of_a,
                             const rows_scale *of_b, comparison_row *r)
{
    r->distance = rows_distance(a, b, n, of_a, of_b, 0);
    const double offset = mean_difference(a, b, n, of_a, of_b);
    if (n < 2 || r->distance < ROWS_SAME || !isfinite(offset))
        return;
    const double rest = rows_distance(a, b, n, of_a, of_b, offset);
    if (rest < ROWS_SAME) {
        r->distance = rest;
        r->offset = offset;
    }
}

comparison_row rows_compare(const double *a, const double *b, size_t n, bool as_double,
                            double limit, double *room)
{
    comparison_row r = {0};
    const rows_scale of_a = rows_measure(a, n, room), of_b = rows_measure(b, n, room);
    compare_bits(a, b, n, as_double, &r);
    compare_differences(a, b, n, &of_a, &of_b, &r);
    compare_top(a, b, n, &r);
    measure_distance(a, b, n, &of_a, &of_b, &r);
    r.kl = divergence(a, b, n);
    if (r.differing > 0 && !(r.distance < limit))
        r.beyond = BEYOND_DISTANCE;
    else if (r.differing > 0 && r.kl > allowed_kl(limit, of_a.deviation))
        r.beyond = BEYOND_KL;
    else if (r.differing > 0 && !is_tie(a, &r, of_a.deviation))
        r.beyond = BEYOND_TOP1;
    return r;
}
