// What a comparison found, in words and as a table, in 80 columns.
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "bench/compare/compare.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/size.h"

enum { FIRST_ROWS = 3, AROUND = 3, WORST_ROWS = 5, SHOWN = FIRST_ROWS + AROUND + WORST_ROWS };

// Why.

typedef struct words {
    char *text;
    size_t used;
} words;

__attribute__((format(printf, 2, 3))) static void say(words *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(w->text + w->used, COMPARE_WHY - w->used, format, arguments);
    va_end(arguments);
    w->used = size_min(w->used + (size_t)n, COMPARE_WHY - 1);
}

static void say_where_it_begins(words *w, const comparison *c)
{
    const comparison_row *bad = &c->row[c->first_beyond];
    if (isinf(bad->distance))
        say(w,
            "in row %zu an infinity or a NaN stands in one of A and B alone, or a number beyond "
            "all measure",
            c->first_beyond);
    else if (bad->beyond == BEYOND_KL)
        say(w,
            "row %zu is the first that no rounding explains: it is near, at a distance of %.2g, "
            "but its KL divergence is %.2g nats",
            c->first_beyond, bad->distance, bad->kl);
    else if (bad->beyond == BEYOND_TOP1)
        say(w,
            "row %zu is the first that no rounding explains: it is near, at a distance of %.2g, "
            "but its largest logit is at %zu, not %zu, and that was no tie",
            c->first_beyond, bad->distance, bad->top1_b, bad->top1_a);
    else
        say(w,
            "row %zu is the first that is too far for %s rounding: a distance of %.2g where %.2g "
            "is allowed",
            c->first_beyond, c->precision->name, bad->distance, c->precision->limit);
}

static void say_before(words *w, const comparison *c)
{
    const size_t bad = c->first_beyond;
    double before = 0;
    for (size_t r = 0; r < bad; r++)
        before = c->row[r].distance > before ? c->row[r].distance : before;
    if (bad == 0)
        say(w, "; it is the first row, which has no past: compare the tokens, the weights and what "
               "one position "
               "computes alone");
    else if (c->first == bad)
        say(w, "; %s identical", bad == 1 ? "row 0 is" : "the rows before it are");
    else
        say(w, "; before it the farthest distance is %.2g", before);
    if (bad == 1)
        say(w, ", so it goes wrong with the first use of the cache");
}

static void say_after(words *w, const comparison *c)
{
    const size_t after = c->rows - c->first_beyond;
    if (after > 1 && c->beyond * 10 >= after * 9)
        say(w, "; %zu of the %zu rows from there on are too far: it begins at one row and stays",
            c->beyond, after);
    else if (after > 1)
        say(w, "; %zu of the %zu rows from there on are too far: look at what these have in common",
            c->beyond, after);
}

static double times_the_median(const comparison *c)
{
    return c->median_distance > 0 ? c->row[c->farthest].distance / c->median_distance : 1;
}

// Too much for the precision, but shaped as rounding is: from the first row on, and evenly.
static void say_rougher(words *w, const comparison *c, const char *rougher)
{
    say(w,
        "%zu of %zu rows differ, from the first on, too far for %s rounding: the farthest distance "
        "is %.2g, and "
        "%.2g is allowed. But they differ evenly (at most %.1f times the median) and no more than "
        "computing in %s "
        "would give: look for numbers kept in lower precision, or for a formula that differs a "
        "little (another "
        "GELU, another epsilon)",
        c->differing_rows, c->rows, c->precision->name, c->row[c->farthest].distance,
        c->precision->limit, times_the_median(c), rougher);
}

static void say_bug(words *w, const comparison *c)
{
    const compare_precision *rougher = compare_precision_for(c->row[c->farthest].distance);
    const bool like_rounding = rougher && compare_is_even(c);
    if (c->precision->limit == 0)
        say(w, "%zu of %zu rows differ, from row %zu on, and --precision exact allows none",
            c->differing_rows, c->rows, c->first);
    else if (like_rounding && c->first == 0)
        say_rougher(w, c, rougher->name);
    else {
        say_where_it_begins(w, c);
        say_before(w, c);
        say_after(w, c);
    }
    say(w, ". The largest logit changes in %zu of %zu rows.", c->rows - c->top1, c->rows);
    if (like_rounding)
        say(w, " If numbers are kept so on purpose: --precision %s allows this much.",
            rougher->name);
}

static void say_rounding(words *w, const comparison *c)
{
    say(w,
        "%zu of %zu rows differ, none by more than %s rounding explains: the farthest distance is "
        "%.2g, and %.2g is "
        "allowed. ",
        c->differing_rows, c->rows, c->precision->name, c->row[c->farthest].distance,
        c->precision->limit);
    if (compare_is_even(c))
        say(w, "They differ evenly: at most %.1f times the median.", times_the_median(c));
    else
        say(w,
            "But row %zu stands out, %.1f times as far as the median of the differing rows: look "
            "at it.",
            c->farthest, times_the_median(c));
    if (c->top1 < c->rows)
        say(w, " The largest logit changes in %zu rows, where two were as good as equal.",
            c->rows - c->top1);
}

void compare_explain(const comparison *c, char text[COMPARE_WHY])
{
    words w = {text, 0};
    if (c->repeat_differing)
        say(&w,
            "%zu numbers of B differ from one run to the next; until that is mended, no other "
            "difference means anything.",
            c->repeat_differing);
    else if (c->verdict == VERDICT_BUG)
        say_bug(&w, c);
    else if (c->verdict == VERDICT_ROUNDING)
        say_rounding(&w, c);
    else
        say(&w, "all %zu numbers are the same to the last bit.", c->rows * c->columns);
}

// For people.

static double percent(size_t part, size_t whole)
{
    return 100 * (double)part / (double)whole;
}

static void print_kl(FILE *f, const comparison *c)
{
    if (isnan(c->mean_kl))
        fputs("  KL divergence       none: every row holds a NaN or an infinity\n", f);
    else
        fprintf(f, "  KL divergence       %.2g nats in row %zu, mean %.2g\n",
                c->row[c->max_kl_row].kl, c->max_kl_row, c->mean_kl);
}

static void print_equal(FILE *f, const comparison *c)
{
    const size_t all = c->rows * c->columns;
    fprintf(f, "compare: %zu rows of %zu logits, as %s\n", c->rows, c->columns,
            c->as_double ? "float64" : "float32");
    fprintf(f, "  A, the reference    %s\n  B                   %s\n", c->a_path, c->b_path);
    fprintf(f, "  bit-equal           %zu of %zu (%.2f %%)\n", all - c->differing, all,
            percent(all - c->differing, all));
    if (c->masked)
        fprintf(f, "  left out            %zu masked in both (-Inf, -1e9 and the like)\n",
                c->masked);
    if (c->log_probs_a || c->log_probs_b)
        fprintf(f, "  log-probabilities   %s\n",
                !c->log_probs_b   ? "A; B was turned into such before comparing"
                : !c->log_probs_a ? "B; A was turned into such before comparing"
                                  : "A and B");
}

static void print_differences(FILE *f, const comparison *c)
{
    fprintf(f, "  largest difference  %.3g in row %zu, column %zu\n",
            c->row[c->largest].max_difference, c->largest, c->row[c->largest].max_column);
    fprintf(f, "  most ulps           %llu in row %zu\n",
            (unsigned long long)c->row[c->max_ulps_row].max_ulps, c->max_ulps_row);
    fprintf(f, "  farthest distance   %.2g in row %zu, median of the differing rows %.2g\n",
            c->row[c->farthest].distance, c->farthest, c->median_distance);
    print_kl(f, c);
    fprintf(f, "  top-1 agreement     %zu of %zu rows (%.2f %%)\n", c->top1, c->rows,
            percent(c->top1, c->rows));
    fprintf(f, "  top-5 agreement     %.2f %%\n", 100 * c->top5);
    fprintf(f, "  first difference    row %zu, column %zu\n                      A %.*g, B %.*g\n",
            c->first, c->row[c->first].first, c->as_double ? 17 : 9, c->first_a,
            c->as_double ? 17 : 9, c->first_b);
}

static void print_row(FILE *f, const comparison *c, size_t r)
{
    const comparison_row *row = &c->row[r];
    char top1[64] = "same";
    if (row->top1_a != row->top1_b)
        snprintf(top1, sizeof top1, "%zu, not %zu", row->top1_b, row->top1_a);
    fprintf(f, "  %6zu %6.2f %%  %7.1e %10llu  %7.1e%c %7.1e  %-16s %zu of %zu\n", r,
            percent(c->columns - row->differing, c->columns), row->max_difference,
            (unsigned long long)row->max_ulps, row->distance, row->beyond ? '!' : ' ', row->kl,
            top1, row->top5, size_min(c->columns, COMPARE_TOP));
}

typedef struct selection {
    size_t row[SHOWN], n; // ascending
} selection;

static bool is_in(const selection *s, size_t r)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->row[i] == r)
            return true;
    return false;
}

static void insert(selection *s, size_t r, size_t rows)
{
    if (r >= rows || is_in(s, r))
        return;
    size_t i = s->n++;
    for (; i > 0 && s->row[i - 1] > r; i--)
        s->row[i] = s->row[i - 1];
    s->row[i] = r;
}

// The first rows, those around the place where it begins, and the worst.
static selection select_rows(const comparison *c)
{
    selection s = {0};
    const size_t begin = c->beyond ? c->first_beyond : c->first;
    for (size_t r = 0; r < FIRST_ROWS; r++)
        insert(&s, r, c->rows);
    for (size_t r = begin ? begin - 1 : 0; r <= begin + 1; r++)
        insert(&s, r, c->rows);
    for (size_t i = 0; i < WORST_ROWS; i++) {
        size_t worst = c->rows;
        for (size_t r = 0; r < c->rows; r++)
            if (!is_in(&s, r) && (worst == c->rows || c->row[r].distance > c->row[worst].distance))
                worst = r;
        insert(&s, worst, c->rows);
    }
    return s;
}

static void print_table(FILE *f, const comparison *c, bool all_rows)
{
    const selection chosen = select_rows(c);
    fputs("\n     row    equal max diff   max ulps distance       KL  top-1            top-5\n", f);
    for (size_t r = 0, shown = 0; r < c->rows; r++)
        if (all_rows || is_in(&chosen, r)) {
            if (r > shown)
                fputs("     ...\n", f);
            print_row(f, c, r);
            shown = r + 1;
        }
    if (!all_rows && chosen.n < c->rows)
        fprintf(f, "  (the first rows and the worst; --rows shows all %zu)\n", c->rows);
    fputc('\n', f);
}

void compare_print(FILE *f, const comparison *c, bool all_rows)
{
    char why[COMPARE_WHY];
    compare_explain(c, why);
    print_equal(f, c);
    if (c->differing)
        print_differences(f, c);
    if (c->differing || all_rows)
        print_table(f, c, all_rows);
    if (c->diagnosis.name) {
        fprintf(f, "found: %s\n", c->diagnosis.name);
        format_wrapped(f, " ", 2, c->diagnosis.evidence);
    }
    format_wrapped(f, "why:", 2, why);
    fprintf(f, "verdict: %s\n", compare_verdict_name(c->verdict));
}
