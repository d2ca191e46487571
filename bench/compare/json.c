// What a comparison found, as JSON.
#include <jansson.h>
#include <math.h>

#include "bench/compare/compare.h"
#include "common/base/memory.h"
#include "common/text/utf8.h"

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *whole(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *row_json(const comparison *c, size_t r)
{
    const comparison_row *row = &c->row[r];
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "row",
                     whole(r), "bit_equal", whole(c->columns - row->differing), "max_difference",
                     number(row->max_difference), "max_ulps", whole(row->max_ulps), "distance",
                     number(row->distance), "kl", number(row->kl), "top1_a", whole(row->top1_a),
                     "top1_b", whole(row->top1_b), "top5", whole(row->top5), "beyond",
                     row->beyond != WITHIN, "masked", whole(row->masked), "offset",
                     number(row->offset));
}

static json_t *rows_json(const comparison *c)
{
    json_t *array = json_array();
    bool good = array;
    for (size_t r = 0; good && r < c->rows; r++)
        good = json_array_append_new(array, row_json(c, r)) == 0;
    if (!good)
        json_decref(array);
    return good ? array : NULL;
}

// {"row": r, "value": x}: where a figure is largest.
static json_t *largest_json(size_t r, json_t *value)
{
    return json_pack("{s:o, s:o}", "row", whole(r), "value", value);
}

static json_t *first_json(const comparison *c)
{
    if (c->differing == 0)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o}", "row", whole(c->first), "column",
                     whole(c->row[c->first].first), "a", number(c->first_a), "b",
                     number(c->first_b));
}

static json_t *totals_json(const comparison *c)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "bit_equal",
        whole(c->rows * c->columns - c->differing), "masked", whole(c->masked), "rows",
        whole(c->rows), "columns", whole(c->columns), "compared_as",
        c->as_double ? "float64" : "float32", "differing_rows", whole(c->differing_rows),
        "first_difference", first_json(c), "max_difference",
        largest_json(c->largest, number(c->row[c->largest].max_difference)), "max_ulps",
        largest_json(c->max_ulps_row, whole(c->row[c->max_ulps_row].max_ulps)), "max_distance",
        largest_json(c->farthest, number(c->row[c->farthest].distance)), "median_distance",
        number(c->median_distance), "max_kl",
        largest_json(c->max_kl_row, number(c->row[c->max_kl_row].kl)), "mean_kl",
        number(c->mean_kl), "top1", number((double)c->top1 / (double)c->rows), "top5",
        number(c->top5));
}

static json_t *diagnosis_json(const compare_diagnosis *d)
{
    return !d->name ? json_null()
                    : json_pack("{s:s, s:o, s:o, s:s}", "name", d->name, "first_row",
                                whole(d->first), "rows", whole(d->rows), "evidence", d->evidence);
}

static json_t *log_probs_json(const comparison *c)
{
    return json_pack("{s:b, s:b}", "a", c->log_probs_a, "b", c->log_probs_b);
}

static json_t *verdict_json(const comparison *c)
{
    char why[COMPARE_WHY];
    compare_explain(c, why);
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:s}", "a",
                     utf8_text(c->a_path), "b", utf8_text(c->b_path), "precision",
                     c->precision->name, "limit", number(c->precision->limit), "rows_beyond",
                     whole(c->beyond), "first_row_beyond",
                     c->beyond ? whole(c->first_beyond) : json_null(), "diagnosis",
                     diagnosis_json(&c->diagnosis), "log_probabilities", log_probs_json(c), "why",
                     why, "verdict", compare_verdict_name(c->verdict));
}

status compare_print_json(FILE *f, const comparison *c, bool all_rows)
{
    json_t *object = totals_json(c), *judged = verdict_json(c),
           *rows = all_rows ? rows_json(c) : NULL;
    bool good = object && judged && json_object_update(object, judged) == 0;
    if (good && all_rows)
        good = rows && json_object_set(object, "per_row", rows) == 0;
    if (good)
        good = json_dumpf(object, f, 0) == 0 && putc('\n', f) != EOF;
    json_decref(rows);
    json_decref(judged);
    json_decref(object);
    return good || ferror(f) ? NULL : memory_failed("the JSON report");
}
