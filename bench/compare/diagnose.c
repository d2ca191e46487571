// One diagnosis for the whole matrix: the pattern that most of the wrong rows show, rows that have
// moved, or another model.
#include "bench/compare/diagnose.h"

#include <math.h>
#include <string.h>

#include "bench/compare/patterns.h"
#include "bench/compare/rows.h"

// Sums of float32 probabilities are nearer to 1 than this.
static const double SUMS_TO_ONE = 1e-3;

// Rows of one model have much in common whatever the tokens are, as rare words are rare everywhere:
// in the embedded model rows of two texts had correlations of 0.48 to 0.99
// (notes/07-your-own-cache.md). Unrelated models have less in every row.
static const double UNRELATED = 0.4;

enum { FARTHEST_SHIFT = 4 };

bool diagnose_log_probs(const npy_matrix *m, double *row)
{
    for (size_t r = 0; r < m->rows; r++) {
        npy_row(m, r, row);
        if (!(fabs(patterns_log_sum_exp(row, m->columns)) < SUMS_TO_ONE))
            return false;
    }
    return m->columns > 1;
}

static void to_log_probs(double *x, size_t n)
{
    const double sum = patterns_log_sum_exp(x, n);
    for (size_t i = 0; isfinite(sum) && i < n; i++)
        x[i] -= sum;
}

void diagnose_read(const comparison *c, const npy_matrix *a, size_t r, double *row_a,
                   const npy_matrix *b, size_t s, double *row_b)
{
    npy_row(a, r, row_a);
    npy_row(b, s, row_b);
    if (c->log_probs_a && !c->log_probs_b)
        to_log_probs(row_b, c->columns);
    if (c->log_probs_b && !c->log_probs_a)
        to_log_probs(row_a, c->columns);
}

// What the functions below share.
typedef struct reader {
    comparison *c;
    const npy_matrix *a, *b;
    double *row_a, *row_b, *room; // (columns), (columns), (2 columns)
    double *left_a, *left_b;      // (columns) each: what is not left out
} reader;

// Row r of A beside row s of B, without what is left out; returns how many numbers are left.
static size_t read_rows(const reader *d, size_t r, size_t s)
{
    const size_t n = d->c->columns;
    size_t left = 0;
    diagnose_read(d->c, d->a, r, d->row_a, d->b, s, d->row_b);
    const rows_scale of_a = rows_measure(d->row_a, n, d->room);
    const rows_scale of_b = rows_measure(d->row_b, n, d->room);
    for (size_t i = 0; i < n; i++)
        if (!rows_left_out(d->row_a[i], d->row_b[i], &of_a, &of_b)) {
            d->left_a[left] = d->row_a[i];
            d->left_b[left++] = d->row_b[i];
        }
    return left;
}

static double distance_between(const reader *d, size_t r, size_t s)
{
    const size_t n = d->c->columns;
    diagnose_read(d->c, d->a, r, d->row_a, d->b, s, d->row_b);
    const rows_scale of_a = rows_measure(d->row_a, n, d->room);
    const rows_scale of_b = rows_measure(d->row_b, n, d->room);
    return rows_distance(d->row_a, d->row_b, n, &of_a, &of_b, 0);
}

// The row differs by more than float32 rounding, whatever precision is allowed.
static bool is_wrong(const comparison *c, size_t r)
{
    return c->row[r].differing > 0 && !(c->row[r].distance < ROWS_SAME);
}

static size_t count_wrong(const comparison *c)
{
    size_t wrong = 0;
    for (size_t r = 0; r < c->rows; r++)
        wrong += is_wrong(c, r);
    return wrong;
}

// Shifted rows.

// Whether all wrong rows of B are A's row `shift` further on, as far as A has it; how many in rows.
static bool is_shifted(const reader *d, long shift, size_t *first, size_t *rows)
{
    *rows = 0;
    for (size_t s = 0; s < d->c->rows; s++) {
        const long r = (long)s + shift;
        if (!is_wrong(d->c, s) || r < 0 || r >= (long)d->c->rows)
            continue;
        if (!(distance_between(d, (size_t)r, s) < ROWS_SAME))
            return false;
        *first = (*rows)++ ? *first : s;
    }
    return *rows > 0;
}

static bool find_shift(const reader *d, compare_diagnosis *out)
{
    for (long k = 1; k <= FARTHEST_SHIFT; k++)
        for (long sign = -1; sign <= 1; sign += 2)
            if (is_shifted(d, sign * k, &out->first, &out->rows)) {
                out->name = k == 1 ? "rows shifted by one" : "rows shifted";
                snprintf(out->evidence, sizeof out->evidence,
                         "row r of B is row r%+ld of A, in %zu rows from row %zu on: a position, a "
                         "first token or a label too many or too few",
                         sign * k, out->rows, out->first);
                return true;
            }
    return false;
}

// Patterns in rows.

static bool same_pattern(const patterns_finding *x, const patterns_finding *y)
{
    return x->kind == y->kind && x->heads == y->heads && x->format == y->format &&
           fabs(x->factor - y->factor) <= 1e-3 * fabs(x->factor) && x->bits == y->bits;
}

static void say_factor(const patterns_finding *f, char text[COMPARE_EVIDENCE])
{
    size_t n = (size_t)snprintf(text, COMPARE_EVIDENCE, "B is %.6g times A", f->factor);
    if (f->D)
        snprintf(text + n, COMPARE_EVIDENCE - n,
                 f->factor > 1
                     ? ", the square root of %zu: in scores, the scale 1/sqrt(D) is "
                       "missing where D = %zu; in logits, a temperature of %.3g"
                     : ", 1 over the square root of %zu: in scores, the scale 1/sqrt(D) "
                       "was applied twice where D = %zu; in logits, a temperature of %.3g",
                 f->D, f->D, 1 / f->factor);
    else
        snprintf(text + n, COMPARE_EVIDENCE - n, ": a temperature of %.3g, or a scale",
                 1 / f->factor);
}

static void say_pattern(const patterns_finding *f, char text[COMPARE_EVIDENCE])
{
    switch (f->kind) {
    case PATTERNS_MEMORY:
        snprintf(text, COMPARE_EVIDENCE,
                 "%zu numbers are the bits 0x%08x, from column %zu on: what a debugger or an "
                 "allocator leaves in memory, or its zeros",
                 f->elements, (unsigned)f->bits, f->first);
        return;
    case PATTERNS_LOG_PROBS:
    case PATTERNS_OFFSET:
        snprintf(text, COMPARE_EVIDENCE,
                 "B is A %+.6g, the same for the whole row, which changes no probability",
                 f->offset);
        return;
    case PATTERNS_PROBABILITIES:
        snprintf(text, COMPARE_EVIDENCE, "B is softmax(A): take the logarithm, or the logits");
        return;
    case PATTERNS_FACTOR:
        say_factor(f, text);
        return;
    case PATTERNS_PRECISION:
        snprintf(text, COMPARE_EVIDENCE,
                 "every number of B is %s, A's are not: steps of %.3g at the largest%s", f->format,
                 f->quantum, f->truncated ? ", truncated, not rounded" : "");
        return;
    case PATTERNS_HEADS:
        snprintf(text, COMPARE_EVIDENCE,
                 "B's %zu blocks of %zu numbers are A's in another order: heads permuted", f->heads,
                 f->D);
        return;
    default:
        snprintf(text, COMPARE_EVIDENCE,
                 "B's numbers are A's in another order: a layout taken for another, or another "
                 "vocabulary's ids");
    }
}

// The pattern of the first wrong row, if nine in ten of the wrong rows show it; one row is enough
// for memory.
static bool find_pattern(const reader *d, compare_diagnosis *out)
{
    patterns_finding first = {0};
    const size_t wrong = count_wrong(d->c);
    for (size_t r = 0; r < d->c->rows; r++) {
        if (!is_wrong(d->c, r))
            continue;
        const size_t n = read_rows(d, r, r);
        const patterns_finding f = patterns_find(d->left_a, d->left_b, n, d->b->is_double, d->room);
        if (f.kind == PATTERNS_MEMORY && first.kind != PATTERNS_MEMORY)
            out->rows = 0, first = f;
        else if (first.kind == PATTERNS_NONE)
            first = f;
        if (f.kind != PATTERNS_NONE && same_pattern(&first, &f) && out->rows++ == 0)
            out->first = r;
    }
    if (out->rows == 0 || (first.kind != PATTERNS_MEMORY && out->rows * 10 < wrong * 9))
        return false;
    const bool scale = first.kind == PATTERNS_FACTOR && first.D > 0 && first.factor > 1;
    out->name = scale ? "missing scale 1/sqrt(D)" : patterns_name(first.kind);
    say_pattern(&first, out->evidence);
    return true;
}

// Another model.

static bool find_other_model(const reader *d, compare_diagnosis *out)
{
    double strongest = -1;
    const size_t rows = d->c->rows;
    if (count_wrong(d->c) < rows || d->c->top1 * 2 > rows || d->c->columns < 8)
        return false;
    for (size_t r = 0; r < rows; r++) {
        const size_t n = read_rows(d, r, r);
        strongest = fmax(strongest, patterns_correlation(d->left_a, d->left_b, n));
    }
    if (!(strongest < UNRELATED))
        return false;
    *out = (compare_diagnosis){.name = "another model altogether", .rows = rows};
    snprintf(out->evidence, sizeof out->evidence,
             "no row of B is like A's, row 0 neither, which has no past: their correlation is at "
             "most %.2f: other weights, other tokens, or another vocabulary",
             strongest);
    return true;
}

static void say_none(const reader *d, compare_diagnosis *out)
{
    size_t r = 0;
    while (!is_wrong(d->c, r) && r + 1 < d->c->rows)
        r++;
    const size_t n = read_rows(d, r, r);
    *out = (compare_diagnosis){
        .name = patterns_name(PATTERNS_NONE), .first = r, .rows = count_wrong(d->c)};
    snprintf(out->evidence, sizeof out->evidence,
             "row %zu of B has a correlation of %.4f with A's, but is not A's by a constant offset "
             "or factor, in a shorter format or in another order; it holds no repeated bytes, and "
             "no row of A up to %d away is like it",
             r, patterns_correlation(d->left_a, d->left_b, n), FARTHEST_SHIFT);
}

// All rows moved evenly, from the first on, and no more than a shorter format would move them: it
// was rounded on the way, so that the results show no quantum.
static bool find_roughness(const comparison *c, compare_diagnosis *out)
{
    const compare_precision *rougher = compare_precision_for(c->row[c->farthest].distance);
    if (!rougher || c->first > 0 || !compare_is_even(c))
        return false;
    *out = (compare_diagnosis){.name = "reduced precision inside, or another formula",
                               .rows = c->differing_rows};
    snprintf(out->evidence, sizeof out->evidence,
             "the rows differ evenly, from row 0 on, by what %s would give, but B's numbers are in "
             "no shorter format themselves: keys and values, weights or a GELU; save those",
             rougher->name);
    return true;
}

static void say_log_probs(comparison *c)
{
    const char *holds = c->log_probs_b ? "B" : "A", *other = c->log_probs_b ? "A" : "B";
    c->diagnosis = (compare_diagnosis){.name = patterns_name(PATTERNS_LOG_PROBS), .rows = c->rows};
    snprintf(c->diagnosis.evidence, sizeof c->diagnosis.evidence,
             "the exp of each row of %s add up to 1, those of %s do not; %s was turned into "
             "log-probabilities before all figures",
             holds, other, other);
}

static void say_offset(comparison *c)
{
    compare_diagnosis *out = &c->diagnosis;
    size_t rows = 0;
    for (size_t r = 0; r < c->rows; r++)
        if (c->row[r].offset != 0)
            out->first = rows++ ? out->first : r;
    if (rows == 0)
        return;
    out->name = patterns_name(PATTERNS_OFFSET);
    out->rows = rows;
    snprintf(out->evidence, sizeof out->evidence,
             "in row %zu B is A%+.6g, the same for every column, which changes no probability",
             out->first, c->row[out->first].offset);
}

void diagnose(comparison *c, const npy_matrix *a, const npy_matrix *b, double *rows)
{
    const size_t n = c->columns;
    const reader d = {c, a, b, rows, rows + n, rows + 2 * n, rows + 4 * n, rows + 5 * n};
    compare_diagnosis out = {0};
    if (c->log_probs_a != c->log_probs_b)
        say_log_probs(c);
    else
        say_offset(c);
    if (count_wrong(c) == 0)
        return;
    if (find_pattern(&d, &out) || find_shift(&d, &out))
        c->diagnosis = out;
    else if (c->verdict == VERDICT_BUG) {
        if (!find_roughness(c, &out) && !find_other_model(&d, &out))
            say_none(&d, &out);
        c->diagnosis = out;
    }
}

status compare_again(comparison *c, const npy_matrix *b, const npy_matrix *again)
{
    comparison repeated;
    status s = compare_matrices(b, again, compare_precision_find("exact"), &repeated);
    if (s)
        return status_fail("B once more: %s", s);
    if (repeated.differing > 0) {
        c->verdict = VERDICT_BUG;
        c->repeat_differing = repeated.differing;
        c->diagnosis = (compare_diagnosis){
            .name = "not repeatable", .first = repeated.first, .rows = repeated.differing_rows};
        snprintf(c->diagnosis.evidence, sizeof c->diagnosis.evidence,
                 "the same call twice gives B twice, and %zu of %zu numbers differ, from row %zu "
                 "on: threads that add in any order, or memory read before it is written",
                 repeated.differing, c->rows * c->columns, repeated.first);
    }
    compare_free(&repeated);
    return NULL;
}
