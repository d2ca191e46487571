// Numbers and tables of the report.
#include "bench/report/tables.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/base/options.h"
#include "bench/curves/fit.h"
#include "bench/report/drawing.h"
#include "common/base/format.h"
#include "common/base/memory.h"

#define THROTTLED_MARK "<abbr title=\"taken while the CPU quota throttled the program\">*</abbr>"
#define WIDE_MARK " <strong class=\"wide\">wide</strong>"

enum { MOST_DECODERS = OPTIONS_SUBJECTS + 1 }; // as many as a sweep can have

// Three significant digits: 0.0673, 1.02, 97.5, 1,250, 5.30 x 10^-5; a dash where there is nothing.
void report_number(FILE *f, double value)
{
    char digits[FORMAT_ROOM];
    if (isnan(value) || value == 0) {
        fputs(isnan(value) ? "&#8211;" : "0", f);
        return;
    }
    double size = fabs(value);
    int power = (int)floor(log10(size));
    power += size * pow(10, -power) >= 9.995; // what would be rounded to 10.00
    if (value < 0)
        fputs("&#8722;", f);
    if (power < -3 || power > 14)
        fprintf(f, "%.2f&#8239;&#215;&#8239;10<sup>%s%d</sup>", size * pow(10, -power),
                power < 0 ? "&#8722;" : "", power < 0 ? -power : power);
    else if (power < 3)
        fprintf(f, "%.*f", 2 - power, size);
    else
        fputs(format_whole((uint64_t)llround(size * pow(10, 2 - power)) *
                               (uint64_t)llround(pow(10, power - 2)),
                           digits),
              f);
}

static void report_interval(FILE *f, double value, double lo, double hi)
{
    report_number(f, value);
    if (isnan(lo) || isnan(hi))
        return;
    fputs(" <span class=\"ci\">(", f);
    report_number(f, lo);
    fputs(" to ", f);
    report_number(f, hi);
    fputs(")</span>", f);
}

void report_whole(FILE *f, double n)
{
    char digits[FORMAT_ROOM];
    fputs(n >= 0 && n < 1e18 ? format_whole((uint64_t)n, digits) : "&#8211;", f);
}

// Text of our own, in which x^2 stands for a square.
void report_prose(FILE *f, const char *text)
{
    for (; *text; text++)
        if (strncmp(text, "^2", 2) == 0) {
            fputs("&#178;", f);
            text++;
        } else
            drawing_text(f, (char[]){*text, '\0'});
}

// The box that a table scrolls in, and its caption; report_table_end closes both.
void report_table_begin(FILE *f, const char *id, const char *kind, const char *caption)
{
    fprintf(f,
            "<div class=\"scroll %s\" role=\"region\" tabindex=\"0\" aria-labelledby=\"%s-%s\">\n"
            "<table>\n<caption id=\"%s-%s\">%s</caption>\n",
            kind, id, kind, id, kind, caption);
}

void report_table_end(FILE *f)
{
    fputs("</tbody>\n</table>\n</div>\n", f);
}

// The names of decoders in a summary, in order of appearance.
static size_t decoders_of(const measured *m, const char *names[MOST_DECODERS])
{
    size_t n = 0;
    for (size_t i = 0; i < m->n && n < MOST_DECODERS; i++) {
        size_t k = 0;
        while (k < n && strcmp(names[k], m->medians[i].decoder) != 0)
            k++;
        if (k == n)
            names[n++] = m->medians[i].decoder;
    }
    return n;
}

static const report_median *find_median(const measured *m, const char *who, const char *metric,
                                        double x)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->medians[i].x == x && strcmp(m->medians[i].decoder, who) == 0 &&
            strcmp(m->medians[i].metric, metric) == 0)
            return &m->medians[i];
    return NULL;
}

// How values of an experiment are shown.
typedef struct scale {
    const char *unit;
    double divisor;
    bool inverse; // tokens per second: 1e9 / ns
} scale;

static scale scale_of(const measured *m)
{
    double most = 0;
    for (size_t i = 0; i < m->n; i++)
        most = fmax(most, m->medians[i].value.median);
    if (strcmp(m->name, "throughput") == 0)
        return (scale){"tokens/s", 1e9, true};
    if (strcmp(m->unit, "ns") != 0)
        return (scale){"MiB", 0x1p20, false};
    return most < 5e6 ? (scale){"&#181;s", 1e3, false} : (scale){"ms", 1e6, false};
}

static estimate scaled(scale s, estimate e)
{
    return s.inverse ? (estimate){s.divisor / e.median, s.divisor / e.hi, s.divisor / e.lo}
                     : (estimate){e.median / s.divisor, e.lo / s.divisor, e.hi / s.divisor};
}

// What a table of medians has to know.
typedef struct view {
    const report_data *r;
    const measured *m;
    const story *s;
    const char *metrics[CURVES_METRICS + 1], *decoders[MOST_DECODERS];
    size_t metric_count, decoder_count;
    scale scale;
    bool speedup, ratios; // the latter once print_medians has seen to it
} view;

static view view_of(const report_data *r, const story *s)
{
    const measured *m = &r->of[s->of];
    view v = {.r = r, .m = m, .s = s};
    if (!m->plain)
        v.scale = scale_of(m);
    v.decoder_count = decoders_of(m, v.decoders);
    if (s->metric)
        v.metrics[v.metric_count++] = s->metric;
    while (m->curve && !s->metric && m->curve->metrics[v.metric_count]) {
        v.metrics[v.metric_count] = m->curve->metrics[v.metric_count];
        v.metric_count++;
    }
    v.speedup = strcmp(s->id, "speedup") == 0;
    return v;
}

// Whether median i is the first one at its place.
static bool is_first(const view *v, size_t i)
{
    const report_median *all = v->m->medians;
    if (strcmp(all[i].metric, v->metrics[0]) != 0)
        return false;
    for (size_t k = 0; k < i; k++)
        if (all[k].x == all[i].x && strcmp(all[k].metric, v->metrics[0]) == 0)
            return false;
    return true;
}

static bool is_verified(const view *v, const report_median *c)
{
    const size_t reach = v->m->curve ? v->m->curve->reach : 1;
    return strcmp(c->decoder, v->decoders[0]) == 0 || // what the others are compared with
           (double)report_verified(v->r, v->m, c->model, c->decoder) >= c->x + (double)reach;
}

// The first decoder's median over the other's, if both are there and the build has verified them.
static void print_ratio(FILE *f, const view *v, const report_median *slow,
                        const report_median *fast)
{
    const double none = NAN;
    fputs("<td>", f);
    if (!slow || !fast || !is_verified(v, fast) || fast->value.median <= 0)
        report_number(f, none);
    else if (v->speedup)
        report_interval(f, slow->value.median / fast->value.median, slow->value.lo / fast->value.hi,
                        slow->value.hi / fast->value.lo);
    else
        report_number(f, slow->value.median / fast->value.median);
    fputs("</td>", f);
}

static void print_median_row(FILE *f, const view *v, double x)
{
    fputs("<tr><th scope=\"row\">", f);
    report_whole(f, x);
    fputs("</th>", f);
    for (size_t k = 0; k < v->metric_count; k++) {
        const report_median *found[MOST_DECODERS];
        for (size_t d = 0; d < v->decoder_count; d++) {
            found[d] = find_median(v->m, v->decoders[d], v->metrics[k], x);
            const estimate e =
                scaled(v->scale, found[d] ? found[d]->value : (estimate){NAN, NAN, NAN});
            fputs("<td>", f);
            report_interval(f, e.median, e.lo, e.hi);
            fputs(found[d] && found[d]->throttled > 0 ? THROTTLED_MARK "</td>" : "</td>", f);
        }
        for (size_t d = 1; d < v->decoder_count && v->ratios; d++)
            print_ratio(f, v, found[0], found[d]);
    }
    fputs("</tr>\n", f);
}

// A decoder's head is underlined in the colour of its curve: plots/style.gp has as many, and begins
// anew with the third.
static void print_decoder_head(FILE *f, const char *name, size_t d)
{
    enum { OTHERS = 6 };
    if (d < 2)
        fprintf(f, "<th scope=\"col\" class=\"%s\">", d == 0 ? "naive" : "cached");
    else
        fprintf(f, "<th scope=\"col\" class=\"curve-%zu\">", (d - 2) % OTHERS + 3);
    drawing_text(f, name);
    fputs("</th>", f);
}

static const char *x_head(const measured *m)
{
    return strcmp(m->x, "context") == 0 ? "context (tokens)" : m->x;
}

static void print_median_head(FILE *f, const view *v)
{
    fprintf(f, "<thead><tr><th scope=\"col\" rowspan=\"2\">%s</th>", x_head(v->m));
    for (size_t k = 0; k < v->metric_count; k++)
        fprintf(f, "<th scope=\"colgroup\" colspan=\"%zu\">%s (%s)</th>",
                v->decoder_count + (v->ratios ? v->decoder_count - 1 : 0), v->metrics[k],
                v->scale.unit);
    fputs("</tr>\n<tr>", f);
    for (size_t k = 0; k < v->metric_count; k++) {
        for (size_t d = 0; d < v->decoder_count; d++)
            print_decoder_head(f, v->decoders[d], d);
        for (size_t d = 1; d < v->decoder_count && v->ratios; d++) {
            fprintf(f, "<th scope=\"col\">%s", v->speedup ? "speed-up" : "ratio");
            if (v->decoder_count > 2) {
                fputs(", ", f);
                drawing_text(f, v->decoders[d]);
            }
            fputs("</th>", f);
        }
    }
    fputs("</tr></thead>\n<tbody>\n", f);
}

// Says which command would let ratios appear.
static status print_unverified(FILE *f, const view *v)
{
    size_t i = 0;
    while (i < v->m->n && is_verified(v, &v->m->medians[i]))
        i++;
    if (i == v->m->n)
        return NULL;
    char line[1024] = "";
    FILE *text = fmemopen(line, sizeof line, "w");
    if (!text)
        return memory_failed("a command");
    fputs("build/bench verify", text);
    bench_options_print_model(text, v->m->medians[i].model);
    if (strcmp(v->m->medians[i].decoder, "kvcache") != 0)
        report_print_decoder(text, v->m, v->m->medians[i].decoder);
    fclose(text);
    fputs("<p class=\"note\">No ratio is shown that the build which measured has not verified: "
          "<code>",
          f);
    drawing_text(f, line);
    fputs("</code>, before it measures.</p>\n", f);
    return NULL;
}

bool report_may_compare(const report_data *r, const story *s)
{
    const view v = view_of(r, s);
    for (size_t i = 0; i < v.m->n && v.speedup; i++)
        if (!is_verified(&v, &v.m->medians[i]))
            return false;
    return true;
}

// Whether there are ratios of two decoders to show at all.
static bool has_ratios(const view *v)
{
    for (size_t i = 0; i < v->m->n; i++)
        if (strcmp(v->m->medians[i].decoder, v->decoders[0]) != 0 &&
            is_verified(v, &v->m->medians[i]))
            return true;
    return false;
}

static status print_medians(FILE *f, view *v)
{
    const bool comparable = v->decoder_count > 1 && (v->m->curve || v->speedup);
    v->ratios = comparable && has_ratios(v);
    report_table_begin(f, v->s->id, v->metric_count > 1 ? "dense" : "medians",
                       "Medians, with their 95 % intervals");
    print_median_head(f, v);
    for (size_t i = 0; i < v->m->n; i++)
        if (is_first(v, i))
            print_median_row(f, v, v->m->medians[i].x);
    report_table_end(f);
    for (size_t i = 0; i < v->m->n; i++)
        if (v->m->medians[i].throttled > 0) {
            fputs("<p class=\"note\">* Samples of this median were taken while the CPU quota "
                  "throttled the program.</p>\n",
                  f);
            break;
        }
    return comparable ? print_unverified(f, v) : NULL;
}

static double field(const table *t, size_t row, size_t column)
{
    double value = NAN;
    return table_number(t, row, column, &value)
               ? NAN
               : value; // the numbers were checked when they were read
}

enum { MEMORY_DECODER = 1, MEMORY_CONTEXT, MEMORY_KV, MEMORY_ROWS };

// The row of memory.csv for this decoder at this context; 0: there is none.
static size_t memory_row(const table *t, const char *who, double context)
{
    for (size_t row = 1; row <= t->rows; row++)
        if (strcmp(table_text(t, row, MEMORY_DECODER), who) == 0 &&
            field(t, row, MEMORY_CONTEXT) == context)
            return row;
    return 0;
}

// The decoders that keep something: all but the first.
static size_t keepers(const table *t, const char *names[MOST_DECODERS])
{
    size_t n = 0;
    for (size_t row = 2; row <= t->rows && n < MOST_DECODERS; row++) {
        const char *name = table_text(t, row, MEMORY_DECODER);
        if (strcmp(name, table_text(t, row - 1, MEMORY_DECODER)) != 0)
            names[n++] = name;
    }
    return n;
}

static void print_bytes_row(FILE *f, const table *t, size_t row, const char *const *names, size_t n)
{
    const double context = field(t, row, MEMORY_CONTEXT);
    fputs("<tr><th scope=\"row\">", f);
    report_whole(f, context);
    fputs("</th><td>", f);
    report_number(f, field(t, row, MEMORY_ROWS) / 0x1p20);
    for (size_t d = 0; d < n; d++) {
        const size_t here = memory_row(t, names[d], context);
        fputs("</td><td>", f);
        report_number(f, here ? field(t, here, MEMORY_KV) / 0x1p20 : (double)NAN);
    }
    fputs("</td></tr>\n", f);
}

static void print_bytes_table(FILE *f, const story *s, const table *t)
{
    const char *names[MOST_DECODERS];
    const size_t n = keepers(t, names);
    report_table_begin(f, s->id, "bytes", "What grows with the context, in MiB");
    fputs("<thead><tr><th scope=\"col\">context (tokens)</th><th scope=\"col\" "
          "class=\"naive\">naive&#8217;s rows</th>",
          f);
    for (size_t d = 0; d < n; d++)
        print_decoder_head(f, names[d], d + 1);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t row = 1; row <= t->rows && strcmp(table_text(t, row, MEMORY_DECODER),
                                                  table_text(t, 1, MEMORY_DECODER)) == 0;
         row++)
        print_bytes_row(f, t, row, names, n);
    report_table_end(f);
}

enum {
    FIT_DECODER = 1,
    FIT_METRIC,
    FIT_FROM,
    FIT_TO,
    FIT_PLACES,
    FIT_SLOPE,
    FIT_R2 = 10,
    FIT_COUNTED,
    FIT_A,
    FIT_RMS = 21
};

static void print_curve_name(FILE *f, const table *t, size_t row)
{
    fputs("<tr><th scope=\"row\" class=\"left\">", f);
    drawing_text(f, table_text(t, row, FIT_DECODER));
    fputc(' ', f);
    drawing_text(f, table_text(t, row, FIT_METRIC));
    fputs("</th>", f);
}

static void print_fit_cell(FILE *f, const table *t, size_t row, size_t column, double divisor)
{
    fputs("<td>", f);
    report_interval(f, field(t, row, column) / divisor, field(t, row, column + 1) / divisor,
                    field(t, row, column + 2) / divisor);
    fputs("</td>", f);
}

static bool is_wide(const table *t, size_t row)
{
    return fit_is_wide((fit_interval){field(t, row, FIT_SLOPE), field(t, row, FIT_SLOPE + 1),
                                      field(t, row, FIT_SLOPE + 2)});
}

// A slope, and a word where its interval is too wide to rest on.
static void print_slope_cell(FILE *f, const table *t, size_t row)
{
    fputs("<td>", f);
    report_interval(f, field(t, row, FIT_SLOPE), field(t, row, FIT_SLOPE + 1),
                    field(t, row, FIT_SLOPE + 2));
    fputs(is_wide(t, row) ? WIDE_MARK "</td>" : "</td>", f);
}

static void print_slope_table(FILE *f, const story *s, const table *t)
{
    bool any = false;
    report_table_begin(
        f, s->id, "slopes",
        "Slopes on log-log axes, with their 95 % intervals, beside those of what was "
        "counted at the same places");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">curve</th><th scope=\"col\">from</th><th "
          "scope=\"col\">to</th>"
          "<th scope=\"col\">places</th><th scope=\"col\">slope</th><th scope=\"col\">counted</th>"
          "<th scope=\"col\">R&#178;</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows; row++) {
        print_curve_name(f, t, row);
        for (size_t k = FIT_FROM; k <= FIT_PLACES; k++) {
            fputs("<td>", f);
            report_whole(f, field(t, row, k));
            fputs("</td>", f);
        }
        print_slope_cell(f, t, row);
        fputs("<td>", f);
        report_number(f, field(t, row, FIT_COUNTED));
        fprintf(f, "</td><td>%.5f</td></tr>\n", field(t, row, FIT_R2));
        any = any || is_wide(t, row);
    }
    report_table_end(f);
    if (any)
        fprintf(f,
                "<p class=\"note\">Wide: the interval reaches further than %.2f to a side, so no "
                "conclusion rests on this slope.</p>\n",
                FIT_WIDE);
}

// All models that fit_candidates ranks, best first.
static status print_candidates(FILE *f, const measured *m, const char *who, const char *metric)
{
    double x[CURVES_X], y[CURVES_X];
    size_t n = 0;
    fit_model ranked[FIT_CANDIDATES];
    for (size_t i = 0; i < m->n && n < CURVES_X; i++)
        if (strcmp(m->medians[i].decoder, who) == 0 && strcmp(m->medians[i].metric, metric) == 0) {
            x[n] = m->medians[i].x;
            y[n++] = m->medians[i].value.median;
        }
    const size_t found = fit_candidates(x, y, NULL, n, ranked, FIT_CANDIDATES);
    fputs("<td class=\"left wrap\">", f);
    for (size_t i = 0; i < found; i++) {
        fputs(i == 0 ? "" : ", ", f);
        fputs("<span class=\"whole\">", f);
        report_prose(f, ranked[i].name);
        fprintf(f, " (%.1f %%)</span>", 100 * ranked[i].rms_relative);
    }
    fputs("</td></tr>\n", f);
    return found == 0 || found == FIT_CANDIDATES ? NULL : memory_failed("the models of a curve");
}

static void print_model_table(FILE *f, const measured *m, const story *s, const table *t)
{
    const scale own = scale_of(m);
    const bool time = strcmp(m->unit, "ns") == 0, small = own.divisor == 1e3;
    const double divisors[FIT_TERMS] = {time ? (small ? 1e3 : 1e6) : 0x1p20, time ? 1e3 : 0x1p10,
                                        1};
    const char *const units[FIT_TERMS] = {time ? (small ? "&#181;s" : "ms") : "MiB",
                                          time ? "&#181;s" : "KiB", time ? "ns" : "B"};
    report_table_begin(f, s->id, "models",
                       "The whole curve as a + b x + c x&#178;, none of them negative");
    fprintf(f,
            "<thead><tr><th scope=\"col\" class=\"left\">curve</th><th scope=\"col\">a (%s)</th>"
            "<th scope=\"col\">b (%s)</th><th scope=\"col\">c (%s)</th><th scope=\"col\">off by "
            "(%%, rms)</th></tr>"
            "</thead>\n<tbody>\n",
            units[0], units[1], units[2]);
    for (size_t row = 1; row <= t->rows; row++) {
        print_curve_name(f, t, row);
        for (size_t k = 0; k < FIT_TERMS; k++)
            print_fit_cell(f, t, row, FIT_A + 3 * k, divisors[k]);
        fprintf(f, "<td>%.1f</td></tr>\n", 100 * field(t, row, FIT_RMS));
    }
    report_table_end(f);
}

static status print_ranking(FILE *f, const measured *m, const story *s, const table *t)
{
    status failed = NULL;
    report_table_begin(f, s->id, "ranking",
                       "All models, best first, and how far each lies off (rms)");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">curve</th><th scope=\"col\" "
          "class=\"left\">models</th></tr></thead>"
          "\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows && !failed; row++) {
        print_curve_name(f, t, row);
        failed =
            print_candidates(f, m, table_text(t, row, FIT_DECODER), table_text(t, row, FIT_METRIC));
    }
    report_table_end(f);
    return failed;
}

static status print_fits(FILE *f, const measured *m, const story *s)
{
    const table *t = &m->tables[REPORT_FITS];
    fputs("<h3>Fits</h3>\n", f);
    if (t->rows == 0) {
        fputs("<p class=\"note\">Too few places for a fit.</p>\n", f);
        return NULL;
    }
    print_slope_table(f, s, t);
    print_model_table(f, m, s, t);
    return print_ranking(f, m, s, t);
}

enum {
    ROOF_TEXTS = 3,
    ROOF_CONTEXT = 3,
    ROOF_STAGE,
    ROOF_MULTIPLY_ADDS,
    ROOF_BYTES,
    ROOF_INTENSITY,
    ROOF_MEDIAN,
    ROOF_GFLOPS = 11,
    ROOF_ROOF,
    ROOF_SHARE
};

// The whole pass, and its larger parts.
static bool is_whole(const char *part)
{
    static const char *const shown[] = {"everything", "linear", "attention", "logits"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        if (strcmp(part, shown[i]) == 0)
            return true;
    return false;
}

static void print_roofline_row(FILE *f, const table *t, size_t row)
{
    static const size_t numbers[] = {ROOF_INTENSITY, ROOF_GFLOPS, ROOF_ROOF};
    fputs("<tr><th scope=\"row\" class=\"left\">", f);
    drawing_text(f, table_text(t, row, ROOF_STAGE));
    fputs("</th><td class=\"left\">", f);
    drawing_text(f, table_text(t, row, 1));
    fputs(", ", f);
    drawing_text(f, table_text(t, row, 2));
    fputs("</td><td>", f);
    report_whole(f, field(t, row, ROOF_CONTEXT));
    fputs("</td>", f);
    print_fit_cell(f, t, row, ROOF_MEDIAN, 1e6);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        fputs("<td>", f);
        report_number(f, field(t, row, numbers[k]));
        fputs("</td>", f);
    }
    fputs("<td>", f);
    report_number(f, 100 * field(t, row, ROOF_SHARE));
    fputs("</td></tr>\n", f);
}

static void print_roofs(FILE *f, const story *s, const table *t)
{
    report_table_begin(f, s->id, "roofs", "The roofs, as measured");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">roof</th><th scope=\"col\">at most</th>"
          "<th scope=\"col\" class=\"left\">unit</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows; row++) {
        fputs("<tr><th scope=\"row\" class=\"left\">", f);
        drawing_text(f, table_text(t, row, 0));
        fputs("</th><td>", f);
        report_number(f, field(t, row, 1));
        fputs("</td><td class=\"left\">", f);
        drawing_text(f, table_text(t, row, 2));
        fputs("</td></tr>\n", f);
    }
    report_table_end(f);
}

static void print_roofline(FILE *f, const measured *m, const story *s)
{
    const table *t = &m->tables[REPORT_SUMMARY];
    report_table_begin(
        f, s->id, "points",
        "Each part of a pass, below its roof; times are medians with 95 % intervals");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">part</th><th scope=\"col\" "
          "class=\"left\">pass</th>"
          "<th scope=\"col\">context (tokens)</th><th scope=\"col\">time (ms)</th>"
          "<th scope=\"col\">intensity (FLOP/byte)</th><th scope=\"col\">speed (GFLOP/s)</th>"
          "<th scope=\"col\">its roof (GFLOP/s)</th><th scope=\"col\">share "
          "(%)</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows; row++)
        if (is_whole(table_text(t, row, ROOF_STAGE)))
            print_roofline_row(f, t, row);
    report_table_end(f);
    fputs("<p class=\"note\">Every stage on its own stands in results.json.</p>\n", f);
    print_roofs(f, s, &m->tables[REPORT_MORE]);
}

// "naive 1,070 ms (1,040 to 1,100), kvcache 18.0 ms (...)": what stands in the last row.
static void print_last(FILE *f, const view *v, const char *metric, double x)
{
    bool any = false;
    for (size_t d = 0; d < v->decoder_count; d++) {
        const report_median *c = find_median(v->m, v->decoders[d], metric, x);
        if (!c)
            continue;
        const estimate e = scaled(v->scale, c->value);
        fputs(any ? ", " : "", f);
        drawing_text(f, v->decoders[d]);
        fputc(' ', f);
        report_number(f, e.median);
        fprintf(f, "&#160;%s", v->scale.unit);
        any = true;
    }
}

static size_t fit_row(const table *t, const char *who, const char *metric)
{
    for (size_t row = 1; row <= t->rows; row++)
        if (strcmp(table_text(t, row, FIT_DECODER), who) == 0 &&
            strcmp(table_text(t, row, FIT_METRIC), metric) == 0)
            return row;
    return 0;
}

static void print_slopes_said(FILE *f, const view *v, const char *metric)
{
    const table *t = &v->m->tables[REPORT_FITS];
    const char *before = v->scale.inverse ? "; slopes of the time " : "; slopes ";
    for (size_t d = 0; d < v->decoder_count; d++) {
        size_t row = fit_row(t, v->decoders[d], metric);
        if (row == 0)
            continue;
        fputs(before, f);
        report_interval(f, field(t, row, FIT_SLOPE), field(t, row, FIT_SLOPE + 1),
                        field(t, row, FIT_SLOPE + 2));
        fputs(is_wide(t, row) ? WIDE_MARK : "", f);
        before = " and ";
    }
}

static double last_x(const measured *m)
{
    double last = 0;
    for (size_t i = 0; i < m->n; i++)
        last = fmax(last, m->medians[i].x);
    return last;
}

// The answer in a line for each metric.
void report_answer(FILE *f, const report_data *r, const story *s)
{
    const view all = view_of(r, s), *v = &all;
    const double x = last_x(v->m);
    if (v->metric_count == 0 || v->speedup)
        return;
    fputs("<p class=\"answer\">At ", f);
    report_whole(f, x);
    fprintf(f, " %s: ", strcmp(v->m->x, "context") == 0 ? "tokens of context" : v->m->x);
    for (size_t k = 0; k < v->metric_count; k++) {
        fprintf(f, "%s<strong>%s</strong> ", k == 0 ? "" : ".<br>", v->metrics[k]);
        print_last(f, v, v->metrics[k], x);
        print_slopes_said(f, v, v->metrics[k]);
    }
    fputs(".</p>\n", f);
}

status report_tables(FILE *f, const report_data *r, const story *s)
{
    const measured *m = &r->of[s->of];
    view v = view_of(r, s);
    status failed = NULL;
    if (s->of == REPORT_ROOFLINE)
        print_roofline(f, m, s);
    else if (m->plain && s[-1].of != s->of)
        report_print_plain(f, s->id, m);
    else if (m->plain)
        return NULL;
    else if (v.metric_count == 0)
        print_bytes_table(f, s, &m->tables[REPORT_MORE]);
    else
        failed = print_medians(f, &v);
    return failed || !m->curve ? failed : print_fits(f, m, s);
}
