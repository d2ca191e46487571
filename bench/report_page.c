// The page: one file with everything in it, which can be read without a network, without scripts, and on paper.
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "bench/drawing.h"
#include "bench/fit.h"
#include "bench/report.h"
#include "common/humane.h"
#include "common/memory.h"
#include "common/version.h"

enum { MOST_DECODERS = 4 };

// One rule a line, as a stylesheet would have it.
// clang-format off
static const char style[] =
    ":root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --faint: #d8dee4; --wash: #f6f8fa;\n"
    "  --naive: #d55e00; --cached: #0072b2; --good: #1a7f37; --bad: #cf222e }\n"
    "@media screen and (prefers-color-scheme: dark) {\n"
    "  :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --faint: #30363d; --wash: #161b22;\n"
    "    --cached: #56b4e9; --good: #3fb950; --bad: #f85149 }\n"
    "}\n"
    "* { box-sizing: border-box }\n"
    "html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }\n"
    "body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, 'Segoe UI',\n"
    "  Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif }\n"
    "header, main, footer { max-width: 58rem; margin: 0 auto; padding: 0 1.25rem }\n"
    "header { padding-top: 3rem }\n"
    "footer { padding-bottom: 4rem }\n"
    "p, li, dl, h1, h2, figcaption { max-width: 42rem }\n"
    "h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em }\n"
    "h2 { font-size: 1.375rem; line-height: 1.3; margin: 0 0 .25rem }\n"
    "h3 { font-size: 1rem; margin: 1.75rem 0 .25rem }\n"
    "section { margin-top: 3.5rem; padding-top: 1.5rem; border-top: 1px solid var(--faint) }\n"
    ".lead, .question { color: var(--soft); margin-top: 0; font-size: 1.0625rem }\n"
    ".small, .note, caption, figcaption { font-size: .875rem; color: var(--soft) }\n"
    "a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: .15em }\n"
    ".verdict { margin: 2rem 0 1.25rem; padding: 1rem 1.25rem; background: var(--wash); border: 1px solid var(--faint);\n"
    "  border-left: .35rem solid var(--soft) }\n"
    ".verdict.good { border-left-color: var(--good) }\n"
    ".verdict.bad { border-left-color: var(--bad) }\n"
    ".verdict p { margin: .25rem 0 }\n"
    ".verdict .said { font-size: 1.5rem; line-height: 1.3; font-weight: 600; margin: 0 }\n"
    ".good .mark { color: var(--good) }\n"
    ".bad .mark { color: var(--bad) }\n"
    "nav ol { padding-left: 1.75rem; margin: .5rem 0 }\n"
    "nav li { margin: .15rem 0 }\n"
    ".formula { margin: 1rem 0; padding: .15rem 0 .15rem 1rem; border-left: 2px solid var(--faint); max-width: none;\n"
    "  overflow-x: auto; font-family: Georgia, 'Times New Roman', 'Liberation Serif', serif }\n"
    "figure { margin: 1.5rem 0 1rem }\n"
    "figure svg { display: block; width: 100%; height: auto }\n"
    ".scroll { overflow-x: auto }\n"
    ".scroll:focus-visible { outline: 2px solid var(--cached) }\n"
    "table { border-collapse: collapse; font-size: .875rem; line-height: 1.4; font-variant-numeric: tabular-nums }\n"
    "caption { text-align: left; padding-bottom: .4rem }\n"
    "th, td { padding: .3rem .75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--faint) }\n"
    "th:first-child, td:first-child { padding-left: 0 }\n"
    "th { font-weight: 600 }\n"
    "thead th { vertical-align: bottom; border-bottom-color: var(--soft) }\n"
    "thead th.naive { border-bottom: 2px solid var(--naive) }\n"
    "thead th.cached { border-bottom: 2px solid var(--cached) }\n"
    "th[scope=colgroup] { text-align: center }\n"
    "tbody th { font-weight: 400 }\n"
    ".left { text-align: left }\n"
    "td.wrap { white-space: normal; min-width: 20rem }\n"
    ".ci { color: var(--soft); font-size: .8125rem }\n"
    "td .ci { display: inline-block; min-width: 8.5em; text-align: left }\n"
    "code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace; font-size: .875em }\n"
    "code { overflow-wrap: anywhere }\n"
    "pre { font-size: .8125rem; line-height: 1.45; margin: .5rem 0; padding: .75rem 1rem; background: var(--wash);\n"
    "  overflow-x: auto }\n"
    "dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: .5rem 0; font-size: .9375rem }\n"
    "dt { color: var(--soft) }\n"
    "dd { margin: 0; overflow-wrap: anywhere }\n";
static const char narrow_and_printed[] =
    "@media (max-width: 38rem) {\n"
    "  header { padding-top: 1.5rem }\n"
    "  h1 { font-size: 1.625rem }\n"
    "  .verdict .said { font-size: 1.25rem }\n"
    "  figure svg { min-width: 36rem }\n"
    "  td .ci { display: block; min-width: 0; text-align: right }\n"
    "  dl { grid-template-columns: 1fr; gap: 0 }\n"
    "  dd { margin-bottom: .4rem }\n"
    "}\n"
    "@media print {\n"
    "  :root { color-scheme: light }\n"
    "  @page { margin: 16mm }\n"
    "  body { font-size: 9.5pt; line-height: 1.45 }\n"
    "  header, main, footer { max-width: none; padding: 0 }\n"
    "  section { margin-top: 1.5rem; padding-top: .75rem }\n"
    "  table { font-size: 8pt }\n"
    "  th, td { padding: .15rem .4rem }\n"
    "  td.wrap { min-width: 0 }\n"
    "  td .ci { display: block; min-width: 0; text-align: right; font-size: 7pt }\n"
    "  pre { white-space: pre-wrap; font-size: 7.5pt }\n"
    "  .scroll, .formula, pre { overflow: visible }\n"
    "  figure svg { max-height: 95mm }\n"
    "  figure, tr, .formula, .verdict, pre, dl { break-inside: avoid }\n"
    "  h2, h3, caption, .question { break-after: avoid }\n"
    "  thead { display: table-header-group }\n"
    "  a { text-decoration: none }\n"
    "}\n";
// clang-format on

// Three significant digits: 0.0673, 1.02, 97.5, 1,250, 5.30 x 10^-5; a dash where there is nothing.
static void print_number(FILE *f, double value)
{
    char digits[HUMANE];
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
        fprintf(f, "%.2f&#8239;&#215;&#8239;10<sup>%s%d</sup>", size * pow(10, -power), power < 0 ? "&#8722;" : "",
                power < 0 ? -power : power);
    else if (power < 3)
        fprintf(f, "%.*f", 2 - power, size);
    else
        fputs(
            humane_whole((uint64_t)llround(size * pow(10, 2 - power)) * (uint64_t)llround(pow(10, power - 2)), digits),
            f);
}

static void print_interval(FILE *f, double value, double lo, double hi)
{
    print_number(f, value);
    if (isnan(lo) || isnan(hi))
        return;
    fputs(" <span class=\"ci\">(", f);
    print_number(f, lo);
    fputs(" to ", f);
    print_number(f, hi);
    fputs(")</span>", f);
}

static void print_whole(FILE *f, double n)
{
    char digits[HUMANE];
    fputs(n >= 0 && n < 1e18 ? humane_whole((uint64_t)n, digits) : "&#8211;", f);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

// NaN where there is none.
static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

// The first characters of a digest are enough to compare two.
static void print_digest(FILE *f, const char *hex)
{
    char start[13];
    snprintf(start, sizeof start, "%s", hex ? hex : "unknown");
    fputs("<code>", f);
    drawing_text(f, start);
    fputs("</code>", f);
}

// Text of our own, in which x^2 stands for a square.
static void print_prose(FILE *f, const char *text)
{
    for (; *text; text++)
        if (strncmp(text, "^2", 2) == 0) {
            fputs("&#178;", f);
            text++;
        } else
            drawing_text(f, (char[]){*text, '\0'});
}

// The box that a table scrolls in, and its caption; print_table_end closes both.
static void print_table_begin(FILE *f, const char *id, const char *kind, const char *caption)
{
    fprintf(f,
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"%s-%s\">\n"
            "<table>\n<caption id=\"%s-%s\">%s</caption>\n",
            id, kind, id, kind, caption);
}

static void print_table_end(FILE *f)
{
    fputs("</tbody>\n</table>\n</div>\n", f);
}

static void print_verified_rows(FILE *f, const report_data *r)
{
    size_t i;
    json_t *v;
    json_array_foreach(r->verified, i, v)
    {
        const char *name = text_of(v, "model");
        static const char *const counts[] = {"longest", "logits", "logits_differing", "keys_and_values",
                                             "keys_and_values_differing"};
        fputs("<tr><th scope=\"row\" class=\"left\">", f);
        drawing_text(f, name ? name : "unnamed");
        fputs("</th>", f);
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            fputs("<td>", f);
            print_whole(f, number_of(v, counts[k]));
            fputs("</td>", f);
        }
        fputs("<td>", f);
        print_digest(f, text_of(v, "build_sha256"));
        fputs("</td><td>", f);
        print_digest(f, text_of(v, "logits_sha256"));
        fputs("</td></tr>\n", f);
    }
}

static double total_of(const report_data *r, const char *key)
{
    double sum = 0;
    size_t i;
    json_t *v;
    json_array_foreach(r->verified, i, v) sum += json_number_value(json_object_get(v, key));
    return sum;
}

static bool all_passed(const report_data *r)
{
    size_t i;
    json_t *v;
    json_array_foreach(r->verified, i, v) if (!json_is_true(json_object_get(v, "passed"))) return false;
    return true;
}

// "0 of 2,721,792 logits"
static void print_share(FILE *f, const report_data *r, const char *differing, const char *compared, const char *what)
{
    print_whole(f, total_of(r, differing));
    fputs(" of ", f);
    print_whole(f, total_of(r, compared));
    fprintf(f, " %s", what);
}

static void print_verdict(FILE *f, const report_data *r)
{
    const bool any = json_array_size(r->verified) > 0, passed = any && all_passed(r);
    fprintf(f, "<div class=\"verdict %s\" id=\"verdict\">\n<p class=\"said\">", !any ? "" : passed ? "good" : "bad");
    if (!any) {
        fputs("Nothing here has been verified.</p>\n<p>The builds that measured have not compared the decoders, so no "
              "speed-up is shown. <code>build/bench verify</code> compares them; <code>make bench</code> verifies "
              "before it measures.</p>\n</div>\n",
              f);
        return;
    }
    fprintf(f, "<span class=\"mark\" aria-hidden=\"true\">%s</span> ", passed ? "&#10003;" : "&#10007;");
    print_share(f, r, "logits_differing", "logits", "logits differ.</p>\n<p>");
    print_share(f, r, "keys_and_values_differing", "keys_and_values", "keys and values differ. ");
    fputs(passed ? "The decoder with a cache and the one that recomputes everything agree in every bit, however a "
                   "context was reached: token by token, in chunks, at once, and after rollbacks.</p>\n</div>\n"
                 : "<strong>The decoders do not agree</strong>, so no speed-up is shown for the models where they "
                   "differ. <code>build/bench verify</code> says where they part.</p>\n</div>\n",
          f);
    print_table_begin(f, "verdict", "table", "What was compared, bit for bit");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">model</th><th scope=\"col\">context</th>"
          "<th scope=\"col\">logits</th><th scope=\"col\">differ</th><th scope=\"col\">keys and values</th>"
          "<th scope=\"col\">differ</th><th scope=\"col\">build</th><th "
          "scope=\"col\">digest</th></tr></thead>\n<tbody>\n",
          f);
    print_verified_rows(f, r);
    print_table_end(f);
    fputs("<p class=\"small\">By <code>build/bench verify -m MODEL</code>. Context: the longest compared, in tokens. "
          "Build: "
          "the SHA-256 of the program. Digest: that of the recomputed logits, the same on every machine.</p>\n",
          f);
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

static const report_median *find_median(const measured *m, const char *who, const char *metric, double x)
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
    if (strcmp(m->name, "throughput") == 0)
        return (scale){"tokens/s", 1e9, true};
    return strcmp(m->unit, "ns") == 0 ? (scale){"ms", 1e6, false} : (scale){"MiB", 0x1p20, false};
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
    bool speedup, ratios;
} view;

static view view_of(const report_data *r, const story *s)
{
    const measured *m = &r->of[s->of];
    view v = {.r = r, .m = m, .s = s, .scale = scale_of(m)};
    v.decoder_count = decoders_of(m, v.decoders);
    if (s->metric)
        v.metrics[v.metric_count++] = s->metric;
    while (m->curve && !s->metric && m->curve->metrics[v.metric_count]) {
        v.metrics[v.metric_count] = m->curve->metrics[v.metric_count];
        v.metric_count++;
    }
    v.speedup = strcmp(s->id, "speedup") == 0;
    v.ratios = v.decoder_count == 2 && (m->curve || v.speedup);
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
    return (double)report_verified(v->r, v->m, c->model) >= c->x + (double)reach;
}

// The first decoder's median over the other's, if both are there and the build has verified them.
static void print_ratio(FILE *f, const view *v, const report_median *slow, const report_median *fast)
{
    const double none = NAN;
    fputs("<td>", f);
    if (!slow || !fast || !is_verified(v, slow) || fast->value.median <= 0)
        print_number(f, none);
    else if (v->speedup)
        print_interval(f, slow->value.median / fast->value.median, slow->value.lo / fast->value.hi,
                       slow->value.hi / fast->value.lo);
    else
        print_number(f, slow->value.median / fast->value.median);
    fputs("</td>", f);
}

static void print_median_row(FILE *f, const view *v, double x)
{
    fputs("<tr><th scope=\"row\">", f);
    print_whole(f, x);
    fputs("</th>", f);
    for (size_t k = 0; k < v->metric_count; k++) {
        const report_median *found[MOST_DECODERS];
        for (size_t d = 0; d < v->decoder_count; d++) {
            found[d] = find_median(v->m, v->decoders[d], v->metrics[k], x);
            const estimate e = scaled(v->scale, found[d] ? found[d]->value : (estimate){NAN, NAN, NAN});
            fputs("<td>", f);
            print_interval(f, e.median, e.lo, e.hi);
            fputs("</td>", f);
        }
        if (v->ratios)
            print_ratio(f, v, found[0], found[1]);
    }
    fputs("</tr>\n", f);
}

// A decoder's head is underlined in the colour of its curve.
static void print_decoder_head(FILE *f, const char *name, size_t d)
{
    fprintf(f, "<th scope=\"col\"%s>", d == 0 ? " class=\"naive\"" : d == 1 ? " class=\"cached\"" : "");
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
        fprintf(f, "<th scope=\"colgroup\" colspan=\"%zu\">%s (%s)</th>", v->decoder_count + v->ratios, v->metrics[k],
                v->scale.unit);
    fputs("</tr>\n<tr>", f);
    for (size_t k = 0; k < v->metric_count; k++) {
        for (size_t d = 0; d < v->decoder_count; d++)
            print_decoder_head(f, v->decoders[d], d);
        if (v->ratios)
            fprintf(f, "<th scope=\"col\">%s</th>", v->speedup ? "speed-up" : "ratio");
    }
    fputs("</tr></thead>\n<tbody>\n", f);
}

// Says which command would let ratios appear.
static void print_unverified(FILE *f, const view *v)
{
    for (size_t i = 0; i < v->m->n && v->ratios; i++)
        if (!is_verified(v, &v->m->medians[i])) {
            fputs("<p class=\"note\">No ratio is shown that the build which measured has not verified: "
                  "<code>build/bench verify -m ",
                  f);
            drawing_text(f, v->m->medians[i].model);
            fputs("</code>, before it measures.</p>\n", f);
            return;
        }
}

static void print_medians(FILE *f, const view *v)
{
    print_table_begin(f, v->s->id, "medians", "Medians, with their 95 % intervals");
    print_median_head(f, v);
    for (size_t i = 0; i < v->m->n; i++)
        if (is_first(v, i))
            print_median_row(f, v, v->m->medians[i].x);
    print_table_end(f);
    print_unverified(f, v);
}

static double field(const table *t, size_t row, size_t column)
{
    double value = NAN;
    return table_number(t, row, column, &value) ? NAN : value; // the numbers were checked when they were read
}

static void print_bytes_table(FILE *f, const story *s, const table *t)
{
    print_table_begin(f, s->id, "bytes", "Counted from the shape of the model");
    fputs("<thead><tr><th scope=\"col\">context (tokens)</th><th scope=\"col\" class=\"naive\">naive&#8217;s rows (MiB)"
          "</th><th scope=\"col\" class=\"cached\">KV cache (MiB)</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows; row++) {
        fputs("<tr><th scope=\"row\">", f);
        print_whole(f, field(t, row, 1));
        fputs("</th><td>", f);
        print_number(f, field(t, row, 3) / 0x1p20);
        fputs("</td><td>", f);
        print_number(f, field(t, row, 2) / 0x1p20);
        fputs("</td></tr>\n", f);
    }
    print_table_end(f);
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
    print_interval(f, field(t, row, column) / divisor, field(t, row, column + 1) / divisor,
                   field(t, row, column + 2) / divisor);
    fputs("</td>", f);
}

static void print_slope_table(FILE *f, const story *s, const table *t)
{
    print_table_begin(f, s->id, "slopes",
                      "Slopes on log-log axes, with their 95 % intervals, beside those of what was "
                      "counted at the same places");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">curve</th><th scope=\"col\">from</th><th scope=\"col\">to</th>"
          "<th scope=\"col\">places</th><th scope=\"col\">slope</th><th scope=\"col\">counted</th>"
          "<th scope=\"col\">R&#178;</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows; row++) {
        print_curve_name(f, t, row);
        for (size_t k = FIT_FROM; k <= FIT_PLACES; k++) {
            fputs("<td>", f);
            print_whole(f, field(t, row, k));
            fputs("</td>", f);
        }
        print_fit_cell(f, t, row, FIT_SLOPE, 1);
        fputs("<td>", f);
        print_number(f, field(t, row, FIT_COUNTED));
        fprintf(f, "</td><td>%.5f</td></tr>\n", field(t, row, FIT_R2));
    }
    print_table_end(f);
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
        print_prose(f, ranked[i].name);
        fprintf(f, "&#160;(%.1f&#160;%%)", 100 * ranked[i].rms_relative);
    }
    fputs("</td></tr>\n", f);
    return found == 0 || found == FIT_CANDIDATES ? NULL : memory_failed("the models of a curve");
}

static status print_model_table(FILE *f, const measured *m, const story *s, const table *t)
{
    const bool time = strcmp(m->unit, "ns") == 0;
    const double divisors[FIT_TERMS] = {time ? 1e6 : 0x1p20, time ? 1e3 : 0x1p10, 1};
    const char *const units[FIT_TERMS] = {time ? "ms" : "MiB", time ? "&#181;s" : "KiB", time ? "ns" : "B"};
    print_table_begin(f, s->id, "models",
                      "The whole curve as a + b x + c x&#178;, none of them negative; all models, "
                      "best first, with how far each lies off (rms)");
    fprintf(f,
            "<thead><tr><th scope=\"col\" class=\"left\">curve</th><th scope=\"col\">a (%s)</th>"
            "<th scope=\"col\">b (%s)</th><th scope=\"col\">c (%s)</th><th scope=\"col\">off by</th>"
            "<th scope=\"col\" class=\"left\">models, best first</th></tr></thead>\n<tbody>\n",
            units[0], units[1], units[2]);
    status failed = NULL;
    for (size_t row = 1; row <= t->rows; row++) {
        print_curve_name(f, t, row);
        for (size_t k = 0; k < FIT_TERMS; k++)
            print_fit_cell(f, t, row, FIT_A + 3 * k, divisors[k]);
        fprintf(f, "<td>%.1f&#160;%%</td>", 100 * field(t, row, FIT_RMS));
        if (!failed)
            failed = print_candidates(f, m, table_text(t, row, FIT_DECODER), table_text(t, row, FIT_METRIC));
    }
    print_table_end(f);
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
    return print_model_table(f, m, s, t);
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
    print_whole(f, field(t, row, ROOF_CONTEXT));
    fputs("</td>", f);
    print_fit_cell(f, t, row, ROOF_MEDIAN, 1e6);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        fputs("<td>", f);
        print_number(f, field(t, row, numbers[k]));
        fputs("</td>", f);
    }
    fputs("<td>", f);
    print_number(f, 100 * field(t, row, ROOF_SHARE));
    fputs("</td></tr>\n", f);
}

// The roofs, whatever columns they come with.
static void print_roofs(FILE *f, const story *s, const table *t)
{
    print_table_begin(f, s->id, "roofs",
                      "The roofs: what the processor and the memory reached when nothing else was "
                      "asked of them");
    fputs("<thead><tr>", f);
    for (size_t row = 0; row <= t->rows; row++) {
        fputs(row == 0 ? "" : "<tr>", f);
        for (size_t k = 0; k < t->columns; k++) {
            double number = NAN;
            bool text = row == 0 || k == 0 || table_number(t, row, k, &number) || isnan(number);
            const char *cell = row == 0 || k == 0 ? "th" : "td";
            fprintf(f, "<%s%s%s>", cell,
                    row == 0 ? " scope=\"col\""
                    : k == 0 ? " scope=\"row\""
                             : "",
                    k == 0 ? " class=\"left\"" : "");
            if (text)
                drawing_text(f, table_text(t, row, k));
            else
                print_number(f, number);
            fprintf(f, "</%s>", cell);
        }
        fputs(row == 0 ? "</tr></thead>\n<tbody>\n" : "</tr>\n", f);
    }
    print_table_end(f);
}

static void print_roofline(FILE *f, const measured *m, const story *s)
{
    const table *t = &m->tables[REPORT_SUMMARY];
    print_table_begin(f, s->id, "points", "Each part of a pass, below its roof; times are medians with 95 % intervals");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">part</th><th scope=\"col\" class=\"left\">pass</th>"
          "<th scope=\"col\">context (tokens)</th><th scope=\"col\">time (ms)</th>"
          "<th scope=\"col\">intensity (FLOP/byte)</th><th scope=\"col\">speed (GFLOP/s)</th>"
          "<th scope=\"col\">its roof (GFLOP/s)</th><th scope=\"col\">share (%)</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t row = 1; row <= t->rows; row++)
        print_roofline_row(f, t, row);
    print_table_end(f);
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
        print_number(f, e.median);
        fprintf(f, "&#160;%s", v->scale.unit);
        any = true;
    }
}

static size_t fit_row(const table *t, const char *who, const char *metric)
{
    for (size_t row = 1; row <= t->rows; row++)
        if (strcmp(table_text(t, row, FIT_DECODER), who) == 0 && strcmp(table_text(t, row, FIT_METRIC), metric) == 0)
            return row;
    return 0;
}

static void print_slopes_said(FILE *f, const view *v, const char *metric)
{
    const table *t = &v->m->tables[REPORT_FITS];
    const char *before = "; slope ";
    for (size_t d = 0; d < v->decoder_count; d++) {
        size_t row = fit_row(t, v->decoders[d], metric);
        if (row == 0)
            continue;
        fputs(before, f);
        print_interval(f, field(t, row, FIT_SLOPE), field(t, row, FIT_SLOPE + 1), field(t, row, FIT_SLOPE + 2));
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
static void print_answer(FILE *f, const view *v)
{
    const double x = last_x(v->m);
    fputs("<p class=\"answer\">At ", f);
    print_whole(f, x);
    fprintf(f, " %s: ", strcmp(v->m->x, "context") == 0 ? "tokens of context" : v->m->x);
    for (size_t k = 0; k < v->metric_count; k++) {
        fprintf(f, "%s<strong>%s</strong> ", k == 0 ? "" : ".<br>", v->metrics[k]);
        print_last(f, v, v->metrics[k], x);
        print_slopes_said(f, v, v->metrics[k]);
    }
    fputs(".</p>\n", f);
}

static const json_t *about(const measured *m)
{
    return json_object_get(m->context, m->curve ? "experiment" : "sweep");
}

static void print_noise(FILE *f, const json_t *run)
{
    const double change = number_of(run, "drift"), steal = number_of(run, "steal_s");
    print_whole(f, number_of(run, "rounds"));
    fputs(" rounds, ", f);
    print_whole(f, number_of(run, "requests"));
    fprintf(f, " samples in %.0f&#160;s%s; ", number_of(run, "seconds"),
            json_is_true(json_object_get(run, "partial")) ? ", <strong>partial</strong>: it was stopped early" : "");
    print_whole(f, number_of(run, "outliers"));
    fputs(" of ", f);
    print_whole(f, number_of(run, "values"));
    fprintf(f, " values are outliers (kept); second half %.1f&#160;%% %s than the first%s; ", 100 * fabs(change),
            change < 0 ? "faster" : "slower",
            json_is_true(json_object_get(run, "drift_clear")) ? ", beyond chance" : "");
    print_whole(f, number_of(run, "involuntary_switches"));
    fputs(" involuntary context switches", f);
    if (steal > 0)
        fprintf(f, "; the host took %.1f&#160;s", steal);
    fputs(". ", f);
}

static void print_range(FILE *f, const measured *m, const json_t *run)
{
    const json_t *fitted = json_object_get(run, "fitted");
    const char *level = text_of(run, "level");
    if (!m->curve || json_array_size(fitted) != 2)
        return;
    fputs("Slopes are fitted from ", f);
    print_whole(f, json_number_value(json_array_get(fitted, 0)));
    fputs(" to ", f);
    print_whole(f, json_number_value(json_array_get(fitted, 1)));
    if (level) {
        fputs(", where what a cached step reads is held by ", f);
        drawing_text(f, level);
    }
    fputs(". ", f);
}

// Whether this was measured where, and by what, the page says at its top.
static bool is_elsewhere(const json_t *here, const json_t *there)
{
    static const char *const told_by[][2] = {{"machine", "cpu"}, {"machine", "cores"}, {"build", "sha256"}};
    for (size_t i = 0; i < sizeof told_by / sizeof *told_by; i++)
        if (!json_equal(json_object_get(json_object_get(here, told_by[i][0]), told_by[i][1]),
                        json_object_get(json_object_get(there, told_by[i][0]), told_by[i][1])))
            return true;
    return false;
}

// The first description there is: the page's.
static const json_t *first_context(const report_data *r)
{
    for (size_t i = 0; i < REPORT_STORIES; i++)
        if (r->of[report_stories[i].of].context)
            return r->of[report_stories[i].of].context;
    return NULL;
}

static void print_run(FILE *f, const report_data *r, const measured *m)
{
    const json_t *run = about(m), *machine = json_object_get(m->context, "machine"),
                 *build = json_object_get(m->context, "build"), *weights = json_object_get(m->context, "model");
    fputs("<p class=\"small\">Measured by <code>", f);
    drawing_text(f, m->command);
    fputs("</code>", f);
    if (!m->context) {
        fputs(".</p>\n", f);
        return;
    }
    if (text_of(weights, "name")) {
        fputs(m->curve && !m->curve->model ? "; first model " : " on ", f);
        drawing_text(f, text_of(weights, "name"));
    }
    fputs(" (", f);
    print_digest(f, text_of(weights, "sha256"));
    fputs("): ", f);
    print_noise(f, run);
    print_range(f, m, run);
    fprintf(f, "Load at the start: %.1f. ", number_of(json_object_get(m->context, "system"), "load_1min"));
    if (is_elsewhere(m->context, first_context(r))) {
        fputs("<strong>Another machine or build</strong> than the one above: ", f);
        drawing_text(f, text_of(machine, "cpu") ? text_of(machine, "cpu") : "unknown processor");
        fputs(", ", f);
        print_whole(f, number_of(machine, "cores"));
        fputs(" cores, build ", f);
        print_digest(f, text_of(build, "sha256"));
        fputc('.', f);
    }
    fputs("</p>\n", f);
}

static void print_conclusion(FILE *f, const measured *m)
{
    const char *text = m->conclusion;
    if (!text || strcmp(m->name, "throughput") == 0) // its table is that already
        return;
    text += strspn(text, "\n");
    if (!*text)
        return;
    fputs("<h3>What follows</h3>\n<pre>", f);
    drawing_text(f, text);
    fputs("</pre>\n", f);
}

static void print_figure(FILE *f, const report_data *r, const story *s, size_t i)
{
    if (!r->pictures[i]) {
        fputs("<p class=\"note\">There is no picture: <code>make report</code> draws it.</p>\n", f);
        return;
    }
    fprintf(f,
            "<figure>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"%s-shows\">\n%s</div>\n",
            s->id, r->pictures[i]);
    fprintf(f, "<figcaption id=\"%s-shows\">%s.</figcaption>\n</figure>\n", s->id, s->shows);
}

static status print_data(FILE *f, const report_data *r, const story *s)
{
    const measured *m = &r->of[s->of];
    const view v = view_of(r, s);
    if (s->of == REPORT_ROOFLINE)
        print_roofline(f, m, s);
    else if (v.metric_count == 0)
        print_bytes_table(f, s, &m->tables[REPORT_MORE]);
    else
        print_medians(f, &v);
    if (!m->curve)
        return NULL;
    status failed = print_fits(f, m, s);
    print_conclusion(f, m);
    return failed;
}

static status print_section(FILE *f, const report_data *r, size_t i)
{
    const story *s = &report_stories[i];
    const measured *m = &r->of[s->of];
    fprintf(f, "<section id=\"%s\" aria-labelledby=\"%s-head\">\n<h2 id=\"%s-head\">%zu. %s</h2>\n", s->id, s->id,
            s->id, i + 1, s->title);
    fputs("<p class=\"question\">", f);
    print_prose(f, s->question ? s->question : m->question);
    fputs("</p>\n", f);
    if (*m->problem) {
        fputs("<p>", f);
        drawing_text(f, m->problem);
        fputs(" <code>", f);
        drawing_text(f, m->command);
        fputs("</code> measures it.</p>\n", f);
    } else {
        const view v = view_of(r, s);
        if (v.metric_count > 0 && !v.speedup)
            print_answer(f, &v);
        print_figure(f, r, s, i);
    }
    fprintf(f, "<div class=\"theory\">\n<h3>Theory</h3>\n<p class=\"formula\">%s</p>\n<p>%s</p>\n</div>\n", s->formula,
            s->theory);
    status failed = NULL;
    if (!*m->problem) {
        failed = print_data(f, r, s);
        print_run(f, r, m);
    }
    fputs("</section>\n", f);
    return failed;
}

static void print_contents(FILE *f, const report_data *r)
{
    fputs("<nav aria-label=\"Contents\">\n<h3>Contents</h3>\n<ol>\n", f);
    for (size_t i = 0; i < REPORT_STORIES; i++) {
        const story *s = &report_stories[i];
        const measured *m = &r->of[s->of];
        fprintf(f, "<li><a href=\"#%s\">%s</a> <span class=\"small\">", s->id, s->title);
        print_prose(f, *m->problem ? "not measured" : s->question ? s->question : m->question);
        fputs("</span></li>\n", f);
    }
    fputs("</ol>\n</nav>\n", f);
}

static void print_item(FILE *f, const char *name, const char *value)
{
    fprintf(f, "<dt>%s</dt><dd>", name);
    drawing_text(f, value ? value : "unknown");
    fputs("</dd>\n", f);
}

static const char *bytes_text(const json_t *object, const char *key, char text[HUMANE])
{
    const double bytes = number_of(object, key);
    return bytes > 0 ? humane_bytes(bytes, text) : "unknown";
}

static void print_machine(FILE *f, const json_t *context)
{
    const json_t *machine = json_object_get(context, "machine"), *system = json_object_get(context, "system"),
                 *build = json_object_get(context, "build");
    char cores[HUMANE], a[HUMANE], b[HUMANE], c[HUMANE], caches[128];
    if (!context)
        return;
    snprintf(cores, sizeof cores, "%.0f", number_of(machine, "cores"));
    snprintf(caches, sizeof caches, "L1 %s, L2 %s, L3 %s", bytes_text(machine, "l1d_bytes", a),
             bytes_text(machine, "l2_bytes", b), bytes_text(machine, "l3_bytes", c));
    fputs("<h3>The machine</h3>\n<dl>\n", f);
    print_item(f, "Processor", text_of(machine, "cpu"));
    print_item(f, "Cores", cores);
    print_item(f, "Caches", caches);
    print_item(f, "Memory", bytes_text(machine, "memory_available_bytes", a));
    print_item(f, "System", text_of(system, "name"));
    print_item(f, "Huge pages", text_of(system, "huge_pages"));
    print_item(f, "Compiler", text_of(build, "compiler"));
    print_item(f, "Flags", text_of(build, "flags"));
    fputs("<dt>Build</dt><dd>", f);
    print_digest(f, text_of(build, "sha256"));
    fputs("</dd>\n</dl>\n<p class=\"small\">Everything is timed on one thread, with no other running. Memory is what "
          "was available at the start.</p>\n",
          f);
}

static const char method[] =
    "<section id=\"method\" aria-labelledby=\"method-head\">\n<h2 id=\"method-head\">How to read the numbers</h2>\n"
    "<p>Samples are taken in rounds, each of which takes one of every cell in random order. Shown is the median, with "
    "the interval between two of the sorted samples that holds the true median with 95&#160;% or more, whatever the "
    "distribution. No sample is dropped. <b>ttft</b> is the time from a prompt&#8217;s ids to its first generated "
    "token, <b>step</b> the time of the one step that extends a context. All numbers have three significant digits."
    "</p>\n"
    "<p>A slope is that of a straight line through the points (ln x, ln y), with Student&#8217;s interval. The "
    "coefficients of a + b x + c x&#178; are the best that are not negative, weighted for equal relative errors; a "
    "coefficient of 0 comes with the largest value that the points still allow. Models are ranked by AICc.</p>\n"
    "<p>Letters: T tokens in the sequence, t tokens of context, C channels, F width of the feed-forward layer, L "
    "layers, V size of the vocabulary.</p>\n"
    "<p>All of this stands in <code>results.json</code> beside this page, and the samples in "
    "<code>build/results</code>. The course explains it: chapter 4 how it is measured, chapter 8 what is counted, "
    "chapter 9 how curves are fitted, chapter 11 this report.</p>\n</section>\n";

status report_print_page(FILE *f, const void *what)
{
    const report_data *r = what;
    char date[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    fprintf(f,
            "<!DOCTYPE html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta name=\"color-scheme\" content=\"light dark\">\n"
            "<title>What a KV cache buys: Lockstep&#8217;s report</title>\n<style>\n%s%s</style>\n</head>\n<body>\n",
            style, narrow_and_printed);
    fprintf(f,
            "<header>\n<h1>What a KV cache buys</h1>\n<p class=\"lead\">Two GPT-2 decoders in lockstep: one recomputes "
            "every row for each new token, one keeps keys and values. First whether they agree, then what it is worth. "
            "Lockstep %s, written on %s.</p>\n</header>\n<main>\n",
            LOCKSTEP_VERSION, date);
    print_verdict(f, r);
    print_contents(f, r);
    print_machine(f, first_context(r));
    status failed = NULL;
    for (size_t i = 0; i < REPORT_STORIES && !failed; i++)
        failed = print_section(f, r, i);
    fprintf(f, "%s</main>\n<footer>\n<p>Made by <code>make report</code>.</p>\n</footer>\n</body>\n</html>\n", method);
    return failed;
}
