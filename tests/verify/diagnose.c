// The diagnoses of compare: each is made on purpose, and must be named as what it is and nothing
// else; and so must what only resembles one.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/compare/compare.h"
#include "bench/compare/patterns.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "tests/support/support.h"

enum { ROWS = 24, HEADS = 4, D = 64, COLUMNS = HEADS * D };

// From -1 to 1, the same for the same i and seed.
static double noise(size_t i, uint64_t seed)
{
    return (double)(random_splitmix64((seed << 32) + i) >> 11) * 0x1p-52 - 1;
}

// What is done to row r of B, which holds A's row; `a` is the whole of A.
typedef void change(float *b, const float *a, size_t r);

static npy_matrix make_matrix(void)
{
    npy_matrix m = {.rows = ROWS, .columns = COLUMNS};
    m.data = memory_array(ROWS * COLUMNS, sizeof(float));
    cr_assert_not_null(m.data);
    return m;
}

// A is logits like a model's; B the same with another order of summation (rounding) and the change.
static comparison compare_changed(change *how, change *of_a, const char *precision)
{
    npy_matrix a = make_matrix(), b = make_matrix();
    float *x = a.data, *y = b.data;
    comparison c;
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        x[i] = (float)(10 * noise(i, 1) - 5);
    for (size_t r = 0; of_a && r < ROWS; r++)
        of_a(x + r * COLUMNS, x, r);
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        y[i] = of_a ? x[i] : x[i] + (float)(1e-6 * noise(i, 2));
    for (size_t r = 0; r < ROWS; r++)
        how(y + r * COLUMNS, x, r);
    status s = compare_matrices(&a, &b, compare_precision_find(precision), &c);
    cr_assert_null(s, "%s", s);
    npy_free(&a);
    npy_free(&b);
    return c;
}

static void expect_found(const comparison *c, verdict v, const char *name, const char *parts)
{
    cr_assert_not_null(c->diagnosis.name, "nothing found, but %s expected", name);
    cr_assert_str_eq(c->diagnosis.name, name, "%s in place of %s (%s): %s", c->diagnosis.name, name,
                     parts, c->diagnosis.evidence);
    cr_assert_eq(c->verdict, v, "%s", compare_verdict_name(c->verdict));
    support_assert_refused(c->diagnosis.evidence, parts);
}

static void expect(change *how, verdict v, const char *name, const char *parts)
{
    comparison c = compare_changed(how, NULL, "float32");
    expect_found(&c, v, name, parts);
    compare_free(&c);
}

static const char NONE[] = "none of the known patterns";

// Precision.

// x rounded to `bits` of fraction, or truncated.
static float shorten(float x, int bits, bool truncate)
{
    int exponent;
    const double y = ldexp(frexp((double)x, &exponent), bits + 1);
    return (float)ldexp(truncate ? trunc(y) : nearbyint(y), exponent - bits - 1);
}

#define EACH for (size_t i = 0; i < COLUMNS; i++)

static void to_float16(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] = shorten(b[i], 10, false);
}

static void to_bfloat16(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] = shorten(b[i], 7, false);
}

static void to_truncated_bfloat16(float *b, const float *a, size_t r)
{
    EACH b[i] = shorten(a[r * COLUMNS + i], 7, true);
}

// Numbers below 2^-6 have the steps of 2^-6.
static void to_e4m3(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] = fabsf(b[i]) < 0x1p-6f ? rintf(b[i] * 0x1p9f) * 0x1p-9f : shorten(b[i], 3, false);
}

static void to_e5m2(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] = shorten(b[i], 2, false);
}

static void quantize(float *x, size_t n, float levels)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    for (size_t i = 0; i < n; i++)
        x[i] = rintf(x[i] / (largest / levels)) * (largest / levels);
}

static void to_int8(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    quantize(b, COLUMNS, 127);
}

static void to_int8_by_head(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    for (size_t h = 0; h < HEADS; h++)
        quantize(b + h * D, D, 127);
}

static void to_int8_by_32(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    for (size_t i = 0; i < COLUMNS; i += 32)
        quantize(b + i, 32, 127);
}

// So rough that many become zero, some side by side.
static void to_int4_by_32(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    for (size_t i = 0; i < COLUMNS; i += 32)
        quantize(b + i, 32, 7);
}

static void to_int4(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    quantize(b, COLUMNS, 7);
}

static void to_scaled_e4m3(float *b, const float *a, size_t r)
{
    float largest = 0;
    EACH largest = fmaxf(largest, fabsf(b[i]));
    EACH b[i] *= 448 / largest;
    to_e4m3(b, a, r);
    EACH b[i] *= largest / 448;
}

Test(diagnose, reduced_precision_is_named_by_its_quantum)
{
    static const struct {
        change *how;
        const char *parts;
    } cases[] = {{to_float16, "is float16"},
                 {to_bfloat16, "is bfloat16"},
                 {to_truncated_bfloat16, "is bfloat16|truncated"},
                 {to_e4m3, "is float8 e4m3"},
                 {to_scaled_e4m3, "is float8 e4m3"},
                 {to_e5m2, "is float8 e5m2"},
                 {to_int8, "is int8"},
                 {to_int8_by_head, "is int8"},
                 {to_int8_by_32, "is int8"},
                 {to_int4, "is int4"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i].how, VERDICT_BUG, "reduced precision", cases[i].parts);
}

// Zeros that come of rounding are no memory that somebody has cleared; and a row need not be whole
// blocks.
Test(diagnose, blocks_that_are_rounded_to_zeros_and_parts_of_them_are_reduced_precision)
{
    float x[COLUMNS];
    double expected[COLUMNS], got[COLUMNS], room[2 * COLUMNS];
    EACH x[i] = (float)noise(i, 7) * (i % 32 == 5 ? 9 : 1);
    EACH expected[i] = (double)x[i];
    to_int4_by_32(x, x, 0);
    EACH got[i] = (double)x[i];
    size_t run = 0, longest = 0;
    EACH
    {
        run = got[i] == 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    cr_assert_geq(longest, 4, "no four zeros side by side");
    for (size_t n = COLUMNS; n > COLUMNS - 32; n -= 5) {
        const patterns_finding f = patterns_find(expected, got, n, false, room);
        cr_assert_str_eq(patterns_name(f.kind), "reduced precision", "%zu numbers", n);
        cr_assert_str_eq(f.format, "int4", "%zu numbers", n);
    }
}

Test(diagnose, rounded_is_not_called_truncated)
{
    comparison c = compare_changed(to_bfloat16, NULL, "bfloat16");
    expect_found(&c, VERDICT_ROUNDING, "reduced precision", "is bfloat16");
    cr_assert_null(strstr(c.diagnosis.evidence, "truncated"));
    compare_free(&c);
}

static void move_one_row(float *b, const float *a, size_t r)
{
    (void)a;
    if (r == 9)
        EACH b[i] += (float)(5 * noise(i, 3));
}

static void add_steps(float *b, const float *a, size_t r)
{
    (void)a;
    if (r > 3)
        EACH b[i] = shorten(b[i] + (float)(2 * noise(r * COLUMNS + i, 3)), 7, false);
}

// Numbers that are bfloat16 in both do not tell why they differ.
Test(diagnose, two_matrices_in_one_format_are_not_reduced_precision)
{
    comparison c = compare_changed(add_steps, to_bfloat16, "float32");
    expect_found(&c, VERDICT_BUG, NONE, "row 4 of B|correlation");
    compare_free(&c);
}

static void round_inside(float *b, const float *a, size_t r)
{
    (void)a;
    EACH b[i] += (float)(3e-3 * noise(r * COLUMNS + i, 3));
}

// As where keys and values are rounded: the logits show no quantum, and it does not begin at a row.
Test(diagnose, precision_lost_inside_is_told_from_that_of_the_numbers)
{
    static const char name[] = "reduced precision inside, or another formula";
    expect(round_inside, VERDICT_BUG, name, "evenly, from row 0 on, by what float16|no shorter");
    comparison c = compare_changed(round_inside, NULL, "float16");
    cr_assert_eq(c.verdict, VERDICT_ROUNDING);
    cr_assert_null(c.diagnosis.name, "%s", c.diagnosis.name);
    compare_free(&c);
}

// Memory.

static void fill_bits(float *b, size_t from, size_t to, uint32_t bits)
{
    for (size_t i = from; i < to; i++)
        memcpy(b + i, &bits, sizeof bits);
}

static void free_part(float *b, const float *a, size_t r)
{
    (void)a;
    if (r >= 5)
        fill_bits(b, 100, 140, 0x80808080);
}

static void fill_ff(float *b, const float *a, size_t r)
{
    (void)a;
    if (r == 7)
        fill_bits(b, 0, COLUMNS, 0xFFFFFFFF);
}

static void fill_dead(float *b, const float *a, size_t r)
{
    (void)a;
    if (r == 7)
        fill_bits(b, 0, 16, 0xDEADBEEF);
}

static void fill_zero(float *b, const float *a, size_t r)
{
    (void)a;
    if (r == 7)
        fill_bits(b, 64, COLUMNS, 0);
}

Test(diagnose, freed_or_never_written_memory_is_named_by_its_bytes)
{
    static const char name[] = "freed or never written memory";
    expect(free_part, VERDICT_BUG, name, "40 numbers|0x80808080|column 100");
    expect(fill_ff, VERDICT_BUG, name, "256 numbers|0xffffffff|column 0");
    expect(fill_dead, VERDICT_BUG, name, "16 numbers|0xdeadbeef");
    expect(fill_zero, VERDICT_BUG, name, "192 numbers|0x00000000|column 64");
}

static void rectify(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] = fmaxf(b[i] + 3, 0);
}

// Zeros that both hold, and three zeros in a row, are no memory.
static void three_zeros(float *b, const float *a, size_t r)
{
    move_one_row(b, a, r);
    if (r == 9)
        b[20] = b[21] = b[22] = 0;
}

Test(diagnose, zeros_of_both_or_a_few_are_not_memory)
{
    comparison c = compare_changed(move_one_row, rectify, "float32");
    expect_found(&c, VERDICT_BUG, NONE, "row 9 of B|no repeated bytes");
    compare_free(&c);
    expect(three_zeros, VERDICT_BUG, NONE, "row 9 of B");
}

// Shifted rows.

static void shift_back(float *b, const float *a, size_t r)
{
    if (r > 0)
        memcpy(b, a + (r - 1) * COLUMNS, COLUMNS * sizeof *b);
}

static void shift_on_from_10(float *b, const float *a, size_t r)
{
    if (r >= 10 && r + 1 < ROWS)
        memcpy(b, a + (r + 1) * COLUMNS, COLUMNS * sizeof *b);
}

static void shift_two(float *b, const float *a, size_t r)
{
    if (r > 1)
        memcpy(b, a + (r - 2) * COLUMNS, COLUMNS * sizeof *b);
}

static void shift_some(float *b, const float *a, size_t r)
{
    if (r > 0 && r % 2)
        shift_back(b, a, r);
    else if (r > 0)
        EACH b[i] += (float)noise(r * COLUMNS + i, 3);
}

Test(diagnose, rows_shifted_by_one_are_named_with_their_shift)
{
    expect(shift_back, VERDICT_BUG, "rows shifted by one", "row r-1 of A|23 rows from row 1");
    expect(shift_on_from_10, VERDICT_BUG, "rows shifted by one", "row r+1 of A|from row 10");
    expect(shift_two, VERDICT_BUG, "rows shifted", "row r-2 of A");
    expect(shift_some, VERDICT_BUG, NONE, "row 1 of B|no row of A");
}

// Log-probabilities.

static double log_sum(const float *x)
{
    double sum = 0;
    EACH sum += exp((double)x[i]);
    return log(sum);
}

static void to_log_probs(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    const double sum = log_sum(b);
    EACH b[i] = (float)((double)b[i] - sum);
}

static void to_wrong_log_probs(float *b, const float *a, size_t r)
{
    move_one_row(b, a, r);
    to_log_probs(b, a, r);
}

static void to_shifted_log_probs(float *b, const float *a, size_t r)
{
    shift_back(b, a, r);
    to_log_probs(b, a, r);
}

static void to_probabilities(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    const double sum = log_sum(b);
    EACH b[i] = (float)exp((double)b[i] - sum);
}

static void add_constant(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] += 3.25f;
}

static void add_ramp(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    EACH b[i] += 4 * (float)i / COLUMNS;
}

// They say the same as logits, so the verdict is rounding; and a bug behind them is still found.
Test(diagnose, log_probabilities_instead_of_logits_are_recognised)
{
    static const char name[] = "log-probabilities instead of logits";
    expect(to_log_probs, VERDICT_ROUNDING, name, "each row of B|A was turned");
    comparison c = compare_changed(to_wrong_log_probs, NULL, "float32");
    expect_found(&c, VERDICT_BUG, NONE, "row 9 of B");
    cr_assert(c.log_probs_b && !c.log_probs_a && c.beyond == 1 && c.first_beyond == 9);
    compare_free(&c);
    expect(to_shifted_log_probs, VERDICT_BUG, "rows shifted by one", "row r-1 of A");
    c = compare_changed(move_one_row, to_log_probs, "float32");
    cr_assert(c.log_probs_a && !c.log_probs_b); // row 9 of B is none any more
    compare_free(&c);
}

Test(diagnose, probabilities_and_constants_are_not_called_log_probabilities)
{
    expect(to_probabilities, VERDICT_BUG, "probabilities instead of logits", "softmax(A)");
    expect(add_constant, VERDICT_ROUNDING, "a constant offset", "A+3.25|no probability");
    expect(add_ramp, VERDICT_BUG, NONE, "row 0 of B");
}

// Heads.

static void rotate_heads(float *b, const float *a, size_t r)
{
    for (size_t h = 0; h < HEADS; h++)
        memcpy(b + h * D, a + r * COLUMNS + (h + 1) % HEADS * D, D * sizeof *b);
}

static void transpose_heads(float *b, const float *a, size_t r)
{
    EACH b[i] = a[r * COLUMNS + i % HEADS * D + i / HEADS];
}

static void repeat_a_head(float *b, const float *a, size_t r)
{
    memcpy(b + D, a + r * COLUMNS, D * sizeof *b);
}

Test(diagnose, permuted_heads_are_named_with_their_size)
{
    expect(rotate_heads, VERDICT_BUG, "permuted heads", "4 blocks of 64");
    expect(transpose_heads, VERDICT_BUG, "numbers in another order", "layout");
    expect(repeat_a_head, VERDICT_BUG, NONE, "row 0 of B");
}

// Scale.

static void scale_by(float *b, float factor)
{
    EACH b[i] *= factor;
}

static void miss_scale(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    scale_by(b, 8);
}

static void scale_twice(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    scale_by(b, 0.125f);
}

static void scale_otherwise(float *b, const float *a, size_t r)
{
    (void)a, (void)r;
    scale_by(b, 1.25f);
}

static void scale_rows(float *b, const float *a, size_t r)
{
    (void)a;
    scale_by(b, 1 + 0.1f * (float)(r + 1));
}

Test(diagnose, a_missing_scale_is_named_with_its_head_size)
{
    expect(miss_scale, VERDICT_BUG, "missing scale 1/sqrt(D)", "8 times A|D = 64");
    expect(scale_twice, VERDICT_BUG, "a constant factor", "0.125 times A|applied twice|D = 64");
    expect(scale_otherwise, VERDICT_BUG, "a constant factor", "1.25 times A|temperature of 0.8");
    expect(scale_rows, VERDICT_BUG, NONE, "row 0 of B");
}

// Scores above the diagonal are masked: 8 times -1e9 is a mask as well.
static void mask_future(float *b, const float *a, size_t r)
{
    (void)a;
    for (size_t i = r + 2; i < COLUMNS; i++)
        b[i] = -1e9f;
}

Test(diagnose, a_missing_scale_is_seen_beside_masked_scores)
{
    comparison c = compare_changed(miss_scale, mask_future, "float32");
    expect_found(&c, VERDICT_BUG, "missing scale 1/sqrt(D)", "8 times A|D = 64");
    cr_assert_eq(c.masked, (size_t)ROWS * (COLUMNS - 2) - ROWS * (ROWS - 1) / 2);
    compare_free(&c);
}

// Another model.

static void another_model(float *b, const float *a, size_t r)
{
    (void)a;
    EACH b[i] = (float)(8 * noise(r * COLUMNS + i, 7));
}

static void another_from_row_1(float *b, const float *a, size_t r)
{
    if (r > 0)
        another_model(b, a, r);
}

static void half_another(float *b, const float *a, size_t r)
{
    (void)a;
    EACH b[i] += (float)(10 * noise(r * COLUMNS + i, 7));
}

Test(diagnose, another_model_altogether_is_like_it_in_no_row)
{
    expect(another_model, VERDICT_BUG, "another model altogether", "row 0 neither|correlation");
    expect(another_from_row_1, VERDICT_BUG, NONE, "row 1 of B");
    expect(half_another, VERDICT_BUG, NONE, "row 0 of B|correlation of 0.");
}

// Repeatable.

static void change_one(npy_matrix *m, size_t i)
{
    ((float *)m->data)[i] += 1;
}

Test(diagnose, a_decoder_that_is_not_repeatable_is_named_first)
{
    npy_matrix a = make_matrix(), b = make_matrix(), again = make_matrix(), same = make_matrix();
    float *all[] = {a.data, b.data, again.data, same.data};
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        for (size_t j = 0; j < 4; j++)
            all[j][i] = (float)noise(i, 1);
    change_one(&b, 5 * COLUMNS);
    change_one(&same, 5 * COLUMNS);
    change_one(&again, 6 * COLUMNS);
    comparison c;
    cr_assert_null(compare_matrices(&a, &b, compare_precision_find("float32"), &c));
    cr_assert_null(compare_again(&c, &b, &same));
    expect_found(&c, VERDICT_BUG, NONE, "row 5 of B");
    cr_assert_null(compare_again(&c, &b, &again));
    expect_found(&c, VERDICT_BUG, "not repeatable", "same call twice|2 of 6144|from row 5 on");
    again.rows--;
    support_assert_refused(compare_again(&c, &b, &again), "B once more|(24, 256)|(23, 256)");
    compare_free(&c);
    cr_assert_null(compare_matrices(&a, &a, compare_precision_find("float32"), &c));
    again.rows++;
    cr_assert_null(compare_again(&c, &a, &again));
    expect_found(&c, VERDICT_BUG, "not repeatable", "1 of 6144");
    compare_free(&c);
    npy_free(&a), npy_free(&b), npy_free(&again), npy_free(&same);
}

static void only_round(float *b, const float *a, size_t r)
{
    (void)b, (void)a, (void)r;
}

Test(diagnose, rounding_has_no_diagnosis)
{
    comparison c = compare_changed(only_round, NULL, "float32");
    cr_assert_eq(c.verdict, VERDICT_ROUNDING);
    cr_assert_null(c.diagnosis.name, "%s", c.diagnosis.name);
    compare_free(&c);
}
