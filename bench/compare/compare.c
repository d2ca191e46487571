// Measures two matrices of logits row by row, and tells rounding from a bug by how far the rows
// have moved.
#include "bench/compare/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/compare/diagnose.h"
#include "bench/compare/rows.h"
#include "common/base/memory.h"
#include "common/base/size.h"

// Rounding moved a row by at most 23 units of 2^-24 (float32), 16 of 2^-53 (float64) and 9 of 2^-8
// (all of bfloat16) in models of 6 to 24 layers; the limits leave room for deeper and rougher ones.
// float16 has bfloat16's factor.
static const compare_precision precisions[] = {
    {"exact", 0},        {"float64", 0x1p-44}, {"float32", 0x1p-15},
    {"float16", 0x1p-6}, {"bfloat16", 0x1p-3},
};
enum { PRECISIONS = sizeof precisions / sizeof *precisions };

const compare_precision *compare_precision_find(const char *name)
{
    for (size_t i = 0; i < PRECISIONS; i++)
        if (strcmp(name, precisions[i].name) == 0)
            return &precisions[i];
    return NULL;
}

const compare_precision *compare_precision_for(double distance)
{
    for (size_t i = 0; i < PRECISIONS; i++)
        if (distance < precisions[i].limit)
            return &precisions[i];
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status find_median(comparison *c)
{
    double *distances = memory_array(c->differing_rows, sizeof *distances);
    if (!distances)
        return memory_failed("the rows' distances");
    size_t n = 0;
    for (size_t r = 0; r < c->rows; r++)
        if (c->row[r].differing)
            distances[n++] = c->row[r].distance;
    qsort(distances, n, sizeof *distances, by_size);
    c->median_distance = n ? distances[n / 2] : 0;
    memory_free(distances);
    return NULL;
}

static void note_difference(comparison *c, size_t r, const double *a, const double *b)
{
    const comparison_row *row = &c->row[r];
    if (row->differing && c->differing_rows++ == 0) {
        c->first = r;
        c->first_a = a[row->first];
        c->first_b = b[row->first];
    }
    if (row->beyond && c->beyond++ == 0)
        c->first_beyond = r;
    c->differing += row->differing;
    c->masked += row->masked;
}

static size_t share_of_top(size_t columns)
{
    return size_min(columns, COMPARE_TOP);
}

static void sum_up(comparison *c)
{
    size_t with_kl = 0;
    double top5 = 0, kl = 0;
    for (size_t r = 0; r < c->rows; r++) {
        const comparison_row *row = &c->row[r], *all = c->row;
        c->largest = row->max_difference > all[c->largest].max_difference ? r : c->largest;
        c->max_ulps_row = row->max_ulps > all[c->max_ulps_row].max_ulps ? r : c->max_ulps_row;
        c->farthest = row->distance > all[c->farthest].distance ? r : c->farthest;
        c->max_kl_row =
            row->kl > all[c->max_kl_row].kl || isnan(all[c->max_kl_row].kl) ? r : c->max_kl_row;
        c->top1 += row->top1_a == row->top1_b;
        top5 += (double)row->top5;
        if (!isnan(row->kl)) {
            kl += row->kl;
            with_kl++;
        }
    }
    c->top5 = top5 / (double)(c->rows * share_of_top(c->columns));
    c->mean_kl = with_kl ? kl / (double)with_kl : NAN;
    if (c->differing == 0 && c->log_probs_a == c->log_probs_b)
        c->verdict = VERDICT_IDENTICAL;
    else
        c->verdict = c->beyond > 0 || c->precision->limit == 0 ? VERDICT_BUG : VERDICT_ROUNDING;
}

static bool any_finite(const double *x, size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= isfinite(x[i]) != 0;
    return any;
}

// `rows` is room for one of a, one of b, and two to sort in.
static status compare_rows(const npy_matrix *a, const npy_matrix *b, double *rows, comparison *c)
{
    double *row_a = rows, *row_b = rows + c->columns;
    bool finite_a = false, finite_b = false;
    c->log_probs_a = diagnose_log_probs(a, row_a);
    c->log_probs_b = diagnose_log_probs(b, row_a);
    for (size_t r = 0; r < c->rows; r++) {
        diagnose_read(c, a, r, row_a, b, r, row_b);
        c->row[r] = rows_compare(row_a, row_b, c->columns, c->as_double, c->precision->limit,
                                 row_b + c->columns);
        note_difference(c, r, row_a, row_b);
        finite_a |= any_finite(row_a, c->columns);
        finite_b |= any_finite(row_b, c->columns);
    }
    if (!finite_a || !finite_b)
        return status_fail(
            "%s holds no finite number: look for the NaN or the infinity in what wrote it",
            finite_a ? "B" : "A");
    sum_up(c);
    status s = find_median(c);
    if (!s)
        diagnose(c, a, b, rows);
    return s;
}

static status check_shapes(const npy_matrix *a, const npy_matrix *b)
{
    if (a->rows != b->rows || a->columns != b->columns)
        return status_fail("A is (%zu, %zu) and B is (%zu, %zu): save the same positions and the "
                           "same vocabulary of "
                           "both, such as B[:%zu, :%zu]",
                           a->rows, a->columns, b->rows, b->columns, size_min(a->rows, b->rows),
                           size_min(a->columns, b->columns));
    if (a->rows == 0 || a->columns == 0)
        return status_fail(
            "A and B are (%zu, %zu), which holds no number: save a row for each position", a->rows,
            a->columns);
    return NULL;
}

status compare_matrices(const npy_matrix *a, const npy_matrix *b,
                        const compare_precision *precision, comparison *out)
{
    *out = (comparison){.rows = a->rows,
                        .columns = a->columns,
                        .as_double = a->is_double && b->is_double,
                        .precision = precision};
    status s = check_shapes(a, b);
    if (s)
        return s;
    double *rows = memory_array(size_times(6, a->columns), sizeof *rows);
    out->row = memory_array(a->rows, sizeof *out->row);
    s = rows && out->row ? compare_rows(a, b, rows, out) : memory_failed("the rows to compare");
    memory_free(rows);
    if (s)
        compare_free(out);
    return s;
}

// How many times the median the farthest row may be before the report points at it: in the
// measurements behind the limits it was 18 times at most.
static const double STANDS_OUT = 32;

bool compare_is_even(const comparison *c)
{
    return c->row[c->farthest].distance <= STANDS_OUT * c->median_distance;
}

void compare_free(comparison *c)
{
    memory_free(c->row);
    c->row = NULL;
}

const char *compare_verdict_name(verdict v)
{
    static const char *const names[] = {"identical", "rounding", "bug"};
    return names[v];
}
