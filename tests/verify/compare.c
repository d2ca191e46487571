// Reading .npy as NumPy writes it and refusing the rest; the figures of a comparison; rounding told
// from bugs.
#include "bench/compare/compare.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/file/file.h"
#include "tests/support/support.h"

enum { ROWS = 40, COLUMNS = 300, FILE_BYTES = 4096 };

// Reading.

// A .npy file: magic, version, the header's length as `length_bytes` bytes, the header, the data.
// Returns its size.
static size_t put_npy(const char *name, int version, const char *header, const void *data,
                      size_t bytes)
{
    char file[FILE_BYTES];
    const size_t length = strlen(header), begin = version == 1 ? 10 : 12;
    cr_assert_lt(begin + length + bytes, sizeof file);
    memcpy(file, "\x93NUMPY\0\0\0\0\0\0", 12);
    file[6] = (char)version;
    file[8] = (char)(length & 0xFF);
    file[9] = (char)(length >> 8);
    memcpy(file + begin, header, length);
    memcpy(file + begin + length, data, bytes);
    support_write(support_folder, name, file, begin + length + bytes);
    return begin + length + bytes;
}

static npy_matrix read_good(const char *name)
{
    npy_matrix m;
    status s = npy_read(name, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

static void expect_values(const char *what, npy_matrix m, size_t rows, size_t columns,
                          const double *values)
{
    cr_assert(m.rows == rows && m.columns == columns, "%s: (%zu, %zu)", what, m.rows, m.columns);
    for (size_t r = 0; r < rows; r++) {
        double row[8];
        npy_row(&m, r, row);
        for (size_t i = 0; i < columns; i++)
            cr_assert(row[i] == values[r * columns + i], "%s: element %zu of row %zu is %g", what,
                      i, r, row[i]);
    }
    npy_free(&m);
}

TestSuite(compare, .init = support_enter_folder, .fini = support_leave_folder);

Test(compare, every_version_order_and_rank_of_npy_is_read)
{
    static const double values[] = {1, -2, 3.5, 4, 0.1, -6};
    const float by_rows[] = {1, -2, 3.5f, 4, 0.5f, -6}, by_columns[] = {1, 4, -2, 0.5f, 3.5f, -6};
    const double narrow[] = {1, -2, 3.5, 4, 0.5, -6}, wide_by_columns[] = {1, 4, -2, 0.1, 3.5, -6};
    const struct {
        int version;
        const char *header;
        const void *data;
        size_t bytes, rows;
        const double *values;
    } files[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", by_rows, 24, 2,
         narrow},
        {2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", by_rows, 24, 2,
         narrow},
        {3, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n", values, 48, 2, values},
        {1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", by_columns, 24, 2,
         narrow},
        {1, "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n", wide_by_columns, 48, 2,
         values},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", by_rows, 24, 1, narrow},
        {1, "{ \"shape\":(2L,3L),\"fortran_order\" : False , \"descr\":\"<f4\"}", by_rows, 24, 2,
         narrow},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        put_npy("a.npy", files[i].version, files[i].header, files[i].data, files[i].bytes);
        expect_values(files[i].header, read_good("a.npy"), files[i].rows, 6 / files[i].rows,
                      files[i].values);
    }
}

Test(compare, what_the_writer_writes_is_read)
{
    npy_writer *w;
    const float rows[2][3] = {{1, -0.5f, 0x1p-130f}, {3.5f, 1e30f, -7}};
    const double values[] = {1, -0.5, 0x1p-130, 3.5, 1e30f, -7};
    cr_assert_null(npy_create("a.npy", 3, &w));
    cr_assert(!npy_append(w, rows[0]) && !npy_append(w, rows[1]) && !npy_close(w));
    expect_values("written", read_good("a.npy"), 2, 3, values);
}

static void expect_refused(const char *name, const char *parts)
{
    npy_matrix m;
    status s = npy_read(name, &m);
    support_assert_refused(s, parts);
    support_assert_refused(s, name);
    cr_assert_null(m.data);
}

Test(compare, headers_that_numpy_does_not_write_are_refused)
{
    static const struct {
        const char *header, *parts;
    } bad[] = {
        {"", "not a dictionary|np.save"},
        {"hello", "not a dictionary"},
        {"{", "not a dictionary"},
        {"{'descr': '<f4'", "cut off"},
        {"{'descr': '<f4' 'fortran_order': False}", "cut off"},
        {"{descr: '<f4'}", "not a dictionary"},
        {"{'descr' '<f4'}", "not a dictionary"},
        {"{'descr': '<f4", "dtype"},
        {"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2, 3), }",
         "[('x', '<f4')]|np.save"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }", "neither True nor False"},
        {"{'descr': '<f4', 'fortran_order': False, }", "no 'shape'"},
        {"{'descr': '<f4', 'shape': (2, 3), }", "no 'fortran_order'"},
        {"{'fortran_order': False, 'shape': (2, 3), }", "no 'descr'"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
         "'descr'|twice"},
        {"{'descr': '<f4', 'order': False, 'shape': (2, 3), }", "'order'|does not know"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } and more", "goes on"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 6, }", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (, 3), }", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }",
         "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "0 dimensions|reshape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }",
         "3 dimensions|x.reshape(-1, x.shape[-1])"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, "
         "18446744073709551615), }",
         "24 bytes|more than|cut off"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
         "more than|cut off"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", "24 bytes|32|cut off"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", "24 bytes|48|cut off"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
         "24 bytes|16|something else"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }",
         "'>f4'|np.ascontiguousarray(x.astype('<f4'))"},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4), }", "'<f2'|astype"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", "'<i4'|astype"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", "'|O'|astype"},
    };
    const float data[6] = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_npy("bad.npy", 1, bad[i].header, data, sizeof data);
        expect_refused("bad.npy", bad[i].parts);
    }
}

Test(compare, files_that_are_not_npy_are_refused)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *parts;
    } bad[] = {
        {"", 0, "does not begin as a .npy"},
        {"\x93NUMPY\x01", 7, "does not begin as a .npy"},
        {"PK\x03\x04 and so on", 14, ".npz|np.save"},
        {"1.0, 2.0, 3.0\n", 14, "does not begin"},
        {"\x93NUMPY\x04\x00\x01\x00{", 11, "version 4.0"},
        {"\x93NUMPY\x01\x01\x01\x00{", 11, "version 1.1"},
        {"\x93NUMPY\x01\x00\xff\xff{", 11, "65535|cut off"},
        {"\x93NUMPY\x02\x00\x01", 9, "does not begin"},
        {"\x93NUMPY\x02\x00\xff\xff", 10, "65535|cut off"},
        {"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14, "4294967295|cut off"},
        {"\x93NUMPY\x01\x00\x04\x00{\x00 }", 14, "zero byte"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        support_write(support_folder, "bad.npy", bad[i].bytes, bad[i].n);
        expect_refused("bad.npy", bad[i].parts);
    }
    expect_refused("missing.npy", "No such file|name a .npy");
    expect_refused(support_folder, "not a regular file");
    expect_refused("/dev/zero", "not a regular file");
}

static const char header_2x3[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";

Test(compare, a_file_cut_anywhere_is_refused)
{
    const float data[6] = {0};
    const size_t whole = put_npy("a.npy", 2, header_2x3, data, sizeof data);
    for (size_t n = 0; n < whole; n++) {
        cr_assert_eq(truncate("a.npy", (off_t)(whole - 1 - n)), 0);
        expect_refused("a.npy", "a.npy");
    }
}

Test(compare, a_file_changed_anywhere_is_read_or_refused)
{
    const float data[6] = {0};
    for (int version = 1; version <= 2; version++) {
        const size_t whole = put_npy("a.npy", version, header_2x3, data, sizeof data);
        size_t n;
        char *bytes = support_read(support_folder, "a.npy", &n);
        for (size_t i = 0; i < whole; i++)
            for (int value = 0; value < 256; value++) {
                const char was = bytes[i];
                npy_matrix m;
                bytes[i] = (char)value;
                support_write(support_folder, "a.npy", bytes, n);
                status s = npy_read("a.npy", &m);
                cr_assert(s || m.rows * m.columns == 6, "byte %zu as %d: (%zu, %zu)", i, value,
                          m.rows, m.columns);
                npy_free(&m);
                bytes[i] = was;
            }
        free(bytes);
    }
}

// Comparing.

typedef struct pair {
    npy_matrix a, b;
} pair;

static npy_matrix make_matrix(size_t rows, size_t columns, bool is_double)
{
    npy_matrix m = {.rows = rows, .columns = columns, .is_double = is_double};
    m.data = memory_array(rows * columns, is_double ? sizeof(double) : sizeof(float));
    cr_assert_not_null(m.data);
    return m;
}

// From -1 to 1, the same for the same i and seed.
static double noise(size_t i, uint64_t seed)
{
    return (double)(random_splitmix64((seed << 32) + i) >> 11) * 0x1p-52 - 1;
}

// Logits as models give them, and the same with each row moved at random by about distance[row] of
// its spread.
static pair make_pair(const double distance[ROWS])
{
    pair p = {make_matrix(ROWS, COLUMNS, false), make_matrix(ROWS, COLUMNS, false)};
    float *a = p.a.data, *b = p.b.data;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = r * COLUMNS; i < (r + 1) * COLUMNS; i++) {
            a[i] = (float)(10 * noise(i, 1) - 5);
            b[i] = a[i] + (float)(10 * noise(i, 2) * distance[r]);
        }
    return p;
}

static void free_pair(pair *p)
{
    npy_free(&p->a);
    npy_free(&p->b);
}

static comparison compare_as(const pair *p, const char *precision)
{
    comparison c;
    status s = compare_matrices(&p->a, &p->b, compare_precision_find(precision), &c);
    cr_assert_null(s, "%s", s);
    return c;
}

static void expect_verdict(const comparison *c, verdict v, const char *parts)
{
    char why[COMPARE_WHY];
    compare_explain(c, why);
    cr_assert_eq(c->verdict, v, "%s: %s", compare_verdict_name(c->verdict), why);
    support_assert_refused(why, parts);
}

// Compares, expects the verdict and these words in its explanation.
static void expect_pair(pair *p, const char *precision, verdict v, const char *parts)
{
    comparison c = compare_as(p, precision);
    expect_verdict(&c, v, parts);
    compare_free(&c);
}

static void fill(double distance[ROWS], size_t from, double value)
{
    for (size_t r = from; r < ROWS; r++)
        distance[r] = value;
}

Test(compare, figures_are_those_of_a_hand_made_example)
{
    // Row 1: logits ln 1, ln 2, ln 5 against ln 2, ln 5, ln 1; row 0 the same but for one unit in
    // the last place.
    const float a[] = {1, 2, 3, 0, 0.6931472f, 1.609438f},
                b[] = {1, 2, 0x1.800002p+1f, 0.6931472f, 1.609438f, 0};
    pair p = {make_matrix(2, 3, false), make_matrix(2, 3, false)};
    memcpy(p.a.data, a, sizeof a);
    memcpy(p.b.data, b, sizeof b);
    comparison c = compare_as(&p, "float32");
    cr_assert(c.differing == 4 && c.differing_rows == 2);
    cr_assert(c.first == 0 && c.row[0].first == 2 && c.first_a == 3 &&
              c.first_b == (double)0x1.800002p+1f);
    cr_assert(c.row[0].max_ulps == 1 && c.row[0].max_difference == 0x1p-22);
    cr_assert_float_eq(c.row[0].distance, 0x1p-22 / sqrt(2),
                       1e-15); // one of three elements, spread sqrt(2/3)
    cr_assert(c.largest == 1 && c.row[1].max_column == 2 &&
              c.row[1].max_difference == (double)1.609438f);
    cr_assert_eq(c.row[1].max_ulps, 0x3FCE0210, "%llx", (unsigned long long)c.row[1].max_ulps);
    // KL of (1, 2, 5)/8 from (2, 5, 1)/8
    cr_assert_float_eq(c.row[1].kl, (log(0.5) + 2 * log(0.4) + 5 * log(5)) / 8, 1e-7, "%.9g",
                       c.row[1].kl);
    cr_assert_float_eq(c.mean_kl, c.row[1].kl / 2, 1e-9);
    cr_assert(c.max_kl_row == 1 && c.top1 == 1 && c.row[1].top1_a == 2 && c.row[1].top1_b == 1 &&
              c.top5 == 1);
    expect_verdict(&c, VERDICT_BUG, "row 1 is the first|1 of 2 rows");
    compare_free(&c);
    free_pair(&p);
}

Test(compare, a_matrix_is_identical_to_itself)
{
    double distance[ROWS] = {0};
    pair p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_IDENTICAL, "all 12000 numbers");
    expect_pair(&p, "exact", VERDICT_IDENTICAL, "all 12000 numbers");
    ((float *)p.a.data)[5] = ((float *)p.b.data)[5] = INFINITY;
    ((float *)p.a.data)[6] = ((float *)p.b.data)[6] = -INFINITY;
    ((float *)p.a.data)[7] = ((float *)p.b.data)[7] = NAN;
    ((float *)p.b.data)[7] = -((float *)p.b.data)[7]; // another NaN
    comparison c = compare_as(&p, "exact");
    cr_assert(isnan(c.row[0].kl) && c.mean_kl == 0 && c.max_kl_row > 0);
    expect_verdict(&c, VERDICT_IDENTICAL, "all 12000 numbers");
    compare_free(&c);
    free_pair(&p);
}

Test(compare, the_largest_differences_are_symmetric)
{
    double distance[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        distance[r] = fabs(noise(r, 3)) * 1e-3;
    pair p = make_pair(distance), swapped = {p.b, p.a};
    comparison c = compare_as(&p, "float32"), d = compare_as(&swapped, "float32");
    cr_assert(c.differing == d.differing && c.first == d.first && c.largest == d.largest);
    cr_assert_eq(c.max_ulps_row, d.max_ulps_row);
    for (size_t r = 0; r < ROWS; r++)
        cr_assert(c.row[r].max_difference == d.row[r].max_difference &&
                      c.row[r].max_ulps == d.row[r].max_ulps &&
                      c.row[r].max_column == d.row[r].max_column && c.row[r].top5 == d.row[r].top5,
                  "row %zu", r);
    compare_free(&c);
    compare_free(&d);
    free_pair(&p);
}

Test(compare, what_is_tiny_and_everywhere_is_rounding)
{
    double distance[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        distance[r] = 4e-7 * (1 + (double)r / ROWS);
    pair p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_ROUNDING, "40 of 40 rows differ|float32|evenly");
    expect_pair(&p, "float64", VERDICT_BUG,
                "too far for float64|computing in float32|--precision float32");
    expect_pair(&p, "exact", VERDICT_BUG, "40 of 40 rows differ|allows none");
    free_pair(&p);
    fill(distance, 0, 0); // as after a prefill that is the same in both
    fill(distance, 25, 4e-7);
    p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_ROUNDING, "15 of 40 rows differ");
    free_pair(&p);
}

Test(compare, a_row_that_stands_out_of_rounding_is_named)
{
    double distance[ROWS];
    fill(distance, 0, 4e-7);
    distance[17] = 2e-5;
    pair p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_ROUNDING, "row 17 stands out");
    free_pair(&p);
}

Test(compare, lower_precision_must_be_on_purpose)
{
    double distance[ROWS];
    fill(distance, 0, 1e-3);
    pair p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_BUG, "from the first on|evenly|--precision float16");
    expect_pair(&p, "float16", VERDICT_ROUNDING, "evenly");
    free_pair(&p);
    fill(distance, 0, 3e-2);
    p = make_pair(distance);
    expect_pair(&p, "float16", VERDICT_BUG, "--precision bfloat16");
    expect_pair(&p, "bfloat16", VERDICT_ROUNDING, "evenly");
    free_pair(&p);
}

Test(compare, what_begins_at_one_row_and_stays_is_a_bug)
{
    double distance[ROWS];
    fill(distance, 0, 4e-7);
    fill(distance, 16, 0.5);
    pair p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_BUG,
                "row 16 is the first|before it the farthest|24 of the 24 rows|stays");
    expect_pair(&p, "bfloat16", VERDICT_BUG, "row 16 is the first");
    free_pair(&p);
    fill(distance, 0, 0);
    fill(distance, 1, 0.5);
    p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_BUG,
                "row 0 is identical|first use of the cache|39 of the 39");
    free_pair(&p);
    fill(distance, 0, 0.5);
    p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_BUG, "row 0 is the first|no past");
    free_pair(&p);
}

Test(compare, some_bad_rows_or_one_are_a_bug)
{
    double distance[ROWS] = {0};
    for (size_t r = 15; r < ROWS; r += 16)
        distance[r] = 0.5;
    pair p = make_pair(distance);
    expect_pair(&p, "float32", VERDICT_BUG, "row 15|2 of the 25 rows|in common");
    free_pair(&p);
    fill(distance, 0, 0);
    p = make_pair(distance);
    ((float *)p.b.data)[20 * COLUMNS + 33] += 1;
    expect_pair(&p, "float32", VERDICT_BUG, "row 20 is the first");
    free_pair(&p);
}

Test(compare, an_infinity_or_a_nan_in_one_alone_is_a_bug)
{
    const float strange[] = {NAN, INFINITY, -INFINITY};
    double distance[ROWS] = {0};
    for (size_t i = 0; i < 3; i++) {
        pair p = make_pair(distance), swapped = {p.b, p.a};
        ((float *)p.b.data)[7 * COLUMNS + 3] = strange[i];
        expect_pair(&p, "bfloat16", VERDICT_BUG, "row 7 an infinity or a NaN");
        expect_pair(&swapped, "bfloat16", VERDICT_BUG, "row 7 an infinity or a NaN");
        free_pair(&p);
    }
}

Test(compare, the_sign_of_zero_is_a_difference_of_no_size)
{
    double distance[ROWS] = {0};
    pair p = make_pair(distance);
    ((float *)p.a.data)[4] = 0;
    ((float *)p.b.data)[4] = -0.0f;
    comparison c = compare_as(&p, "float32");
    cr_assert(c.differing == 1 && c.row[0].max_ulps == 0 && c.row[0].first == 4);
    expect_verdict(&c, VERDICT_ROUNDING, "1 of 40 rows differ");
    compare_free(&c);
    expect_pair(&p, "exact", VERDICT_BUG, "row 0");
    free_pair(&p);
}

Test(compare, float64_is_rounded_for_bits_and_not_for_differences)
{
    pair p = {make_matrix(1, 3, true), make_matrix(1, 3, false)};
    memcpy(p.a.data, (double[]){1 + 0x1p-40, 2, 3}, 3 * sizeof(double));
    memcpy(p.b.data, (float[]){1, 2, 3}, 3 * sizeof(float));
    comparison c = compare_as(&p, "float32");
    cr_assert(!c.as_double && c.differing == 0 && c.row[0].max_difference == 0x1p-40);
    compare_free(&c);
    npy_free(&p.b);
    p.b = make_matrix(1, 3, true);
    memcpy(p.b.data, (double[]){1, 2, 3}, 3 * sizeof(double));
    c = compare_as(&p, "float64");
    cr_assert(c.as_double && c.differing == 1 && c.row[0].max_ulps == 4096);
    compare_free(&c);
    memcpy(p.b.data, (double[]){-1e308, 1e308, 3}, 3 * sizeof(double)); // squares overflow
    expect_pair(&p, "bfloat16", VERDICT_BUG, "beyond all measure");
    memcpy(p.a.data, (double[]){-1e308, 1e308, 3}, 3 * sizeof(double));
    expect_pair(&p, "exact", VERDICT_IDENTICAL, "all 3");
    free_pair(&p);
}

Test(compare, shapes_and_numbers_must_allow_a_comparison)
{
    const size_t shapes[][4] = {{2, 3, 3, 2}, {2, 3, 2, 4}, {0, 3, 0, 3}, {3, 0, 3, 0}};
    const char *parts[] = {"(2, 3)|(3, 2)", "(2, 4)|B[:2, :3]", "no number", "no number"};
    comparison c;
    for (size_t i = 0; i < 4; i++) {
        pair p = {make_matrix(shapes[i][0], shapes[i][1], false),
                  make_matrix(shapes[i][2], shapes[i][3], false)};
        support_assert_refused(compare_matrices(&p.a, &p.b, compare_precision_find("float32"), &c),
                               parts[i]);
        free_pair(&p);
    }
    double distance[ROWS] = {0};
    pair p = make_pair(distance);
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        ((float *)p.b.data)[i] = NAN;
    support_assert_refused(compare_matrices(&p.a, &p.b, compare_precision_find("float32"), &c),
                           "B holds no finite number");
    support_assert_refused(compare_matrices(&p.b, &p.b, compare_precision_find("float32"), &c),
                           "A holds no finite number");
    free_pair(&p);
}

// Masks.

Test(compare, masked_logits_do_not_set_the_scale)
{
    static const float masks[] = {-3.4e38f, -3.4028235e38f, -1e9f, -65504, -1e4f, -INFINITY};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        pair p = {make_matrix(1, 4, false), make_matrix(1, 4, false)};
        memcpy(p.a.data, (float[]){1, 2, 3, masks[i]}, 16);
        memcpy(p.b.data, (float[]){3, 2, 1, masks[i]}, 16);
        comparison c = compare_as(&p, "float32");
        cr_assert(c.masked == 1 && c.row[0].masked == 1, "%g: %zu", (double)masks[i], c.masked);
        cr_assert_float_eq(c.row[0].distance, 2, 1e-9, "%g: %g", (double)masks[i],
                           c.row[0].distance);
        expect_verdict(&c, VERDICT_BUG, "a distance of 2 where");
        compare_free(&c);
        expect_pair(&p, "bfloat16", VERDICT_BUG, "a distance of 2 where");
        free_pair(&p);
    }
}

// By adding to the logits, in most columns, and with another number in each implementation.
Test(compare, masks_of_every_kind_are_left_out)
{
    double distance[ROWS];
    fill(distance, 0, 4e-7);
    pair p = make_pair(distance);
    float *a = p.a.data, *b = p.b.data;
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        if (i % COLUMNS >= 20) {
            a[i] -= 1e4f;
            b[i] = -INFINITY;
        }
    comparison c = compare_as(&p, "float32");
    cr_assert_eq(c.masked, ROWS * (COLUMNS - 20));
    expect_verdict(&c, VERDICT_ROUNDING, "40 of 40 rows differ");
    compare_free(&c);
    free_pair(&p);
}

Test(compare, a_mask_in_one_alone_is_a_bug)
{
    double distance[ROWS] = {0};
    pair p = make_pair(distance), swapped = {p.b, p.a};
    ((float *)p.b.data)[7 * COLUMNS + 3] = -1e9f;
    expect_pair(&p, "bfloat16", VERDICT_BUG, "row 7 is the first");
    expect_pair(&swapped, "bfloat16", VERDICT_BUG, "row 7 is the first");
    free_pair(&p);
}

Test(compare, one_huge_logit_does_not_set_the_scale)
{
    double distance[ROWS];
    fill(distance, 0, 0.5);
    pair p = make_pair(distance);
    for (size_t r = 0; r < ROWS; r++)
        ((float *)p.a.data)[r * COLUMNS] = ((float *)p.b.data)[r * COLUMNS] = 1e6f;
    comparison c = compare_as(&p, "float32");
    cr_assert(c.masked == 0 && c.median_distance > 0.3, "%g", c.median_distance);
    expect_verdict(&c, VERDICT_BUG, "row 0 is the first");
    compare_free(&c);
    free_pair(&p);
}

// Within the roughest limit, but one logit that moved decides: KL and top-1 have a say.
Test(compare, the_verdict_contradicts_neither_kl_nor_top_1)
{
    const struct {
        float before, after;
        const char *parts;
    } moved[] = {{6, 4.0f, "row 20|KL divergence is"}, {5.02f, 4.99f, "row 20|no tie"}};
    for (size_t i = 0; i < 2; i++) {
        double distance[ROWS] = {0};
        pair p = make_pair(distance);
        float *a = (float *)p.a.data + 20 * COLUMNS, *b = (float *)p.b.data + 20 * COLUMNS;
        for (size_t j = 0; j < COLUMNS; j++)
            a[j] = b[j] = i == 0 ? a[j] / 4 : a[j];
        a[33] = moved[i].before;
        b[33] = moved[i].after;
        a[34] = b[34] = 5.0f;
        expect_pair(&p, "bfloat16", VERDICT_BUG, moved[i].parts);
        free_pair(&p);
    }
}

// The command.

static void save(const char *name, const npy_matrix *m)
{
    npy_writer *w;
    cr_assert_null(npy_create(name, m->columns, &w));
    for (size_t r = 0; r < m->rows; r++)
        cr_assert_null(npy_append(w, (const float *)m->data + r * m->columns));
    cr_assert_null(npy_close(w));
}

// Saves a.npy, same.npy (a again), near.npy (rounding) and far.npy (a bug from row 9 on).
static void save_all(void)
{
    double distance[ROWS];
    fill(distance, 0, 4e-7);
    pair p = make_pair(distance);
    save("a.npy", &p.a);
    save("same.npy", &p.a);
    save("near.npy", &p.b);
    free_pair(&p);
    fill(distance, 9, 0.5);
    p = make_pair(distance);
    save("far.npy", &p.b);
    free_pair(&p);
}

// Runs `bench compare LINE`, the words separated by one space, with standard output in the file
// out.
static status run_line(const char *line, int *code)
{
    char words[256], *argv[16] = {"compare"};
    int argc = 1;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(stdout);
    int terminal = dup(STDOUT_FILENO);
    cr_assert(terminal >= 0 && freopen("out", "w", stdout));
    status s = compare_command(argc, argv, code);
    fflush(stdout);
    dup2(terminal, STDOUT_FILENO);
    close(terminal);
    return s;
}

static char *output_of(const char *line, int wanted)
{
    int code = -1;
    size_t n;
    status s = run_line(line, &code);
    cr_assert_null(s, "%s: %s", line, s);
    cr_assert_eq(code, wanted, "%s: exit %d", line, code);
    return support_read(support_folder, "out", &n);
}

// The output ends in this line.
static void expect_last(const char *line, int code, const char *last)
{
    char *out = output_of(line, code);
    size_t n = strlen(out), wanted = strlen(last);
    cr_assert(n >= wanted && strcmp(out + n - wanted, last) == 0, "%s: %s", line, out);
    free(out);
}

Test(compare, the_command_ends_in_the_verdict)
{
    save_all();
    expect_last("a.npy same.npy", 0, "\nverdict: identical\n");
    expect_last("a.npy near.npy", 0, "\nverdict: rounding\n");
    expect_last("a.npy far.npy --rows", 1, "\nverdict: bug\n");
    expect_last("-p exact a.npy near.npy", 1, "\nverdict: bug\n");
    expect_last("--help", 0, "shows why.\n");
}

Test(compare, the_table_shows_the_first_the_worst_and_where_it_begins)
{
    save_all();
    char *out = output_of("a.npy far.npy", 1), *all = output_of("a.npy far.npy -r", 1);
    static const char *const shown[] = {"\n       0 ", "\n       2 ", "\n       8 ", "\n       9 ",
                                        "\n      10 "};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        cr_assert_not_null(strstr(out, shown[i]), "no%s in %s", shown[i], out);
    cr_assert(!strstr(out, "\n       5 ") && strstr(out, "..."), "%s", out);
    for (int r = 0; r < ROWS; r++) {
        char label[32];
        snprintf(label, sizeof label, "\n  %6d ", r);
        cr_assert_not_null(strstr(all, label), "no row %d", r);
    }
    cr_assert_null(strstr(all, "..."));
    free(out);
    free(all);
}

Test(compare, json_says_the_same)
{
    save_all();
    char *out = output_of("--json --rows a.npy far.npy", 1);
    json_t *o;
    status s = file_parse_json("out", out, strlen(out), &o);
    cr_assert_null(s, "%s", s);
    cr_assert_str_eq(json_string_value(json_object_get(o, "verdict")), "bug");
    cr_assert_str_eq(json_string_value(json_object_get(o, "b")), "far.npy");
    cr_assert_eq(json_integer_value(json_object_get(o, "first_row_beyond")), 9);
    cr_assert_eq(json_integer_value(json_object_get(o, "rows_beyond")), ROWS - 9);
    const json_t *rows = json_object_get(o, "per_row");
    cr_assert_eq(json_array_size(rows), ROWS);
    cr_assert(json_is_true(json_object_get(json_array_get(rows, 9), "beyond")));
    cr_assert(json_is_false(json_object_get(json_array_get(rows, 8), "beyond")));
    cr_assert(json_is_real(json_object_get(json_array_get(rows, 9), "kl")));
    json_decref(o);
    free(out);
}

// Paths apart, which are as long as they are.
static void expect_narrow(const char *line, int code)
{
    char *out = output_of(line, code), *rest = out;
    for (char *next; (next = strchr(rest, '\n')); rest = next + 1)
        cr_assert_leq((size_t)(next - rest), 80, "%s: %.*s", line, (int)(next - rest), rest);
    cr_assert_gt(rest - out, 80);
    free(out);
}

Test(compare, the_report_fits_80_columns)
{
    save_all();
    const char *const lines[] = {"a.npy far.npy", "-r a.npy far.npy", "-p exact a.npy near.npy",
                                 "-a near.npy a.npy far.npy"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_narrow(lines[i], 1);
    expect_narrow("a.npy near.npy", 0);
    expect_narrow("--help", 0);
    pair p = {make_matrix(1, 60000, false), make_matrix(1, 60000, false)};
    float *a = p.a.data, *b = p.b.data; // the widest row of a table
    a[50001] = b[50002] = 3e30f;
    save("wide_a.npy", &p.a);
    save("wide_b.npy", &p.b);
    free_pair(&p);
    expect_narrow("wide_a.npy wide_b.npy", 1);
}

static void expect_in_output(const char *line, int code, const char *parts)
{
    char *out = output_of(line, code);
    for (char *at = out; (at = strchr(at, '\n'));)
        *at = ' ';
    support_assert_refused(out, parts);
    free(out);
}

Test(compare, the_command_says_what_it_left_out_and_what_it_found)
{
    const struct {
        const char *name;
        float row[4];
    } files[] = {{"a.npy", {1, 2, 3, -3.4e38f}},
                 {"b.npy", {3, 2, 1, -3.4e38f}},
                 {"log.npy", {-2.4076059f, -1.4076059f, -0.40760596f, -INFINITY}}};
    for (size_t i = 0; i < 3; i++) {
        pair p = {make_matrix(1, 4, false), {0}};
        memcpy(p.a.data, files[i].row, sizeof files[i].row);
        save(files[i].name, &p.a);
        free_pair(&p);
    }
    expect_in_output("a.npy b.npy", 1,
                     "left out            1 masked in both|found: none of the known patterns|KL "
                     "divergence       1.2 nats|top-1 agreement     0 of 1|verdict: bug");
    expect_in_output("a.npy log.npy", 0,
                     "log-probabilities   B; A was turned into such|found: log-probabilities "
                     "instead of logits|verdict: rounding");
    expect_in_output("--again a.npy a.npy b.npy", 1, "found: not repeatable|why: 2 numbers of B");
    expect_in_output("--again a.npy a.npy a.npy", 0, "verdict: identical");
}

Test(compare, json_has_the_diagnosis_and_what_was_left_out)
{
    save_all();
    char *out = output_of("--json -r -a near.npy a.npy far.npy", 1);
    json_t *o;
    cr_assert_null(file_parse_json("out", out, strlen(out), &o));
    const json_t *d = json_object_get(o, "diagnosis");
    cr_assert_str_eq(json_string_value(json_object_get(d, "name")), "not repeatable");
    cr_assert_eq(json_integer_value(json_object_get(d, "first_row")), 9);
    cr_assert_eq(json_integer_value(json_object_get(d, "rows")), ROWS - 9);
    cr_assert_not_null(json_string_value(json_object_get(d, "evidence")));
    cr_assert(json_is_integer(json_object_get(o, "masked")));
    cr_assert(json_is_false(json_object_get(json_object_get(o, "log_probabilities"), "b")));
    const json_t *row = json_array_get(json_object_get(o, "per_row"), 3);
    cr_assert_eq(json_integer_value(json_object_get(row, "masked")), 0);
    cr_assert_eq(json_real_value(json_object_get(row, "offset")), 0);
    json_decref(o);
    free(out);
    out = output_of("--json a.npy near.npy", 0);
    cr_assert_null(file_parse_json("out", out, strlen(out), &o));
    cr_assert(json_is_null(json_object_get(o, "diagnosis")));
    json_decref(o);
    free(out);
}

Test(compare, wrong_usage_and_files_end_in_2)
{
    static const struct {
        const char *line, *parts;
    } bad[] = {
        {"", "0 files where two|--help"},
        {"a.npy", "1 files where two"},
        {"a.npy a.npy a.npy", "3 files where two"},
        {"--precision float8 a.npy a.npy", "float8|bfloat16"},
        {"a.npy a.npy --precision", "--precision"},
        {"--fast a.npy a.npy", "--fast"},
        {"a.npy missing.npy", "missing.npy|No such file"},
        {"a.npy small.npy", "small.npy|(40, 300)|(1, 3)"},
        {"-a small.npy a.npy a.npy", "--again small.npy|(40, 300)|(1, 3)"},
        {"-a missing.npy a.npy a.npy", "missing.npy|No such file"},
    };
    pair p = {make_matrix(1, 3, false), {0}};
    save_all();
    save("small.npy", &p.a);
    free_pair(&p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int code = -1;
        support_assert_refused(run_line(bad[i].line, &code), bad[i].parts);
        cr_assert_eq(code, EXIT_USAGE, "'%s': exit %d", bad[i].line, code);
    }
}

Test(compare, every_failing_allocation_is_reported)
{
    save_all();
    static const char *const lines[] = {"a.npy far.npy", "--json --rows a.npy near.npy",
                                        "--json -a far.npy a.npy near.npy"};
    for (size_t i = 0; i < 3; i++) {
        int code = -1;
        memory_fail_at(0);
        cr_assert_null(run_line(lines[i], &code));
        const size_t allocations = memory_fail_at(0);
        cr_assert_gt(allocations, 6);
        for (size_t n = 1; n <= allocations; n++) {
            memory_fail_at(n);
            status s = run_line(lines[i], &code);
            memory_fail_at(0);
            support_assert_refused(s, "out of memory");
            cr_assert_eq(code, EXIT_USAGE);
        }
    }
}
