// The page: one file with everything in it, which can be read without a network, without scripts,
// and on paper.
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "bench/report/drawing.h"
#include "bench/report/tables.h"
#include "common/base/format.h"
#include "common/base/version.h"

// One rule a line, as a stylesheet would have it.
// clang-format off
static const char style[] =
    ":root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --soft: #59636e; "
    "--faint: #d8dee4; --wash: #f6f8fa;\n"
    "  --naive: #d55e00; --cached: #0072b2; --good: #1a7f37; --bad: #cf222e }\n"
    "@media screen and (prefers-color-scheme: dark) {\n"
    "  :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --faint: #30363d; --wash: "
    "#161b22;\n"
    "    --cached: #56b4e9; --good: #3fb950; --bad: #f85149 }\n"
    "}\n"
    "* { box-sizing: border-box }\n"
    "html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }\n"
    "body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, "
    "-apple-system, 'Segoe UI',\n"
    "  Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif }\n"
    "header, main, footer { max-width: 64rem; margin: 0 auto; padding: 0 1.25rem }\n"
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
    ".verdict { margin: 2rem 0 1.25rem; padding: 1rem 1.25rem; background: var(--wash); border: "
    "1px solid var(--faint);\n"
    "  border-left: .35rem solid var(--soft) }\n"
    ".verdict.good { border-left-color: var(--good) }\n"
    ".verdict.bad { border-left-color: var(--bad) }\n"
    ".verdict p { margin: .25rem 0 }\n"
    ".verdict .said { font-size: 1.5rem; line-height: 1.3; font-weight: 600; margin: 0 }\n"
    ".good .mark { color: var(--good) }\n"
    ".bad .mark { color: var(--bad) }\n"
    "nav ol { padding-left: 1.75rem; margin: .5rem 0 }\n"
    "nav li { margin: .15rem 0 }\n"
    ".formula { margin: 1rem 0; padding: .15rem 0 .15rem 1rem; border-left: 2px solid "
    "var(--faint); max-width: none;\n"
    "  overflow-x: auto; font-family: Georgia, 'Times New Roman', 'Liberation Serif', serif }\n"
    "figure { margin: 1.5rem 0 1rem; max-width: 54rem }\n"
    "figure svg { display: block; width: 100%; height: auto }\n"
    ".scroll { overflow-x: auto }\n"
    ".scroll + .scroll { margin-top: 1.25rem }\n"
    "figcaption { margin-top: .5rem }\n"
    ".scroll:focus-visible { outline: 2px solid var(--cached) }\n"
    "table { border-collapse: collapse; font-size: .875rem; line-height: 1.4; "
    "font-variant-numeric: tabular-nums }\n"
    "caption { text-align: left; padding-bottom: .4rem }\n"
    "th, td { padding: .3rem .65rem; text-align: right; white-space: nowrap; border-bottom: 1px "
    "solid var(--faint) }\n"
    "th:first-child, td:first-child { padding-left: 0 }\n"
    "th:last-child, td:last-child { padding-right: 0 }\n"
    "th { font-weight: 600 }\n"
    "thead th { vertical-align: bottom; border-bottom-color: var(--soft) }\n"
    "thead th.naive { border-bottom: 2px solid var(--naive) }\n"
    "thead th.cached { border-bottom: 2px solid var(--cached) }\n"
    "th[scope=colgroup] { text-align: center }\n"
    "tbody th { font-weight: 400 }\n"
    ".left { text-align: left }\n"
    "td.wrap { white-space: normal; min-width: 20rem }\n"
    ".ci { color: var(--soft); font-size: .8125rem; white-space: nowrap }\n"
    ".whole { white-space: nowrap }\n"
    "td .ci { display: inline-block; min-width: 8.5em; text-align: left }\n"
    ".points thead th { white-space: normal }\n"
    ".dense thead th:first-child { white-space: normal; width: 5rem }\n"
    ".dense th, .dense td { padding-right: .5rem; padding-left: .5rem }\n"
    ".dense td .ci { display: block; min-width: 0; text-align: right }\n"
    "code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', "
    "monospace; font-size: .875em }\n"
    "code { overflow-wrap: anywhere }\n"
    "pre { font-size: .8125rem; line-height: 1.45; margin: .5rem 0; padding: .75rem 1rem; "
    "background: var(--wash);\n"
    "  overflow-x: auto }\n"
    "dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: "
    ".5rem 0; font-size: .9375rem }\n"
    "dt { color: var(--soft) }\n"
    "dd { margin: 0; overflow-wrap: anywhere }\n";
static const char narrow_and_printed[] =
    "@media (max-width: 38rem) {\n"
    "  header { padding-top: 1.5rem }\n"
    "  h1 { font-size: 1.625rem }\n"
    "  .verdict .said { font-size: 1.25rem }\n"
    "  figure svg { overflow: visible }\n"
    "  svg [font-size^='14.0'] { font-size: 18.5px }\n"
    "  svg [font-size^='12.0'] { font-size: 15px }\n"
    "  svg [font-size^='16.0'] { font-size: 21px }\n"
    "  thead th[rowspan] { white-space: normal }\n"
    "  caption { max-width: calc(100vw - 2.5rem) }\n"
    "  td .ci { display: block; min-width: 0; text-align: right }\n"
    "  dl { grid-template-columns: 1fr; gap: 0 }\n"
    "  dd { margin-bottom: .4rem }\n"
    "}\n"
    "@media print {\n"
    "  :root { color-scheme: light }\n"
    "  @page { margin: 16mm }\n"
    "  html { font-size: 9.5pt }\n"
    "  body { line-height: 1.45 }\n"
    "  header, main, footer { max-width: none; padding: 0 }\n"
    "  section { margin-top: 1.5rem; padding-top: .75rem }\n"
    "  th, td { padding: .15rem .4rem }\n"
    "  td.wrap { min-width: 0 }\n"
    "  td .ci { min-width: 0 }\n"
    "  pre { white-space: pre-wrap }\n"
    "  .scroll, .formula, pre { overflow: visible }\n"
    "  figure svg { max-height: 95mm }\n"
    "  figure, tr, .formula, .verdict, pre, dl { break-inside: avoid }\n"
    "  h2, h3, caption, .question, .answer { break-after: avoid }\n"
    "  thead { display: table-header-group }\n"
    "  a { text-decoration: none }\n"
    "}\n";
// clang-format on

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

static void print_verified_rows(FILE *f, const report_data *r)
{
    size_t i;
    json_t *v;
    json_array_foreach(r->verified, i, v)
    {
        const char *name = text_of(v, "model");
        static const char *const counts[] = {"longest", "logits", "logits_differing",
                                             "keys_and_values", "keys_and_values_differing"};
        fputs("<tr><th scope=\"row\" class=\"left\">", f);
        drawing_text(f, name ? name : "unnamed");
        if (text_of(v, "plugin_sha256") && text_of(v, "decoder")) {
            fputs(", ", f);
            drawing_text(f, text_of(v, "decoder"));
        }
        fputs("</th>", f);
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            fputs("<td>", f);
            report_whole(f, number_of(v, counts[k]));
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
    for (size_t i = 0; i < json_array_size(r->verified); i++)
        sum += json_number_value(json_object_get(json_array_get(r->verified, i), key));
    return sum;
}

static bool all_passed(const report_data *r)
{
    for (size_t i = 0; i < json_array_size(r->verified); i++)
        if (!json_is_true(json_object_get(json_array_get(r->verified, i), "passed")))
            return false;
    return true;
}

// "0 of 2,721,792 logits"
static void print_share(FILE *f, const report_data *r, const char *differing, const char *compared,
                        const char *what)
{
    report_whole(f, total_of(r, differing));
    fputs(" of ", f);
    report_whole(f, total_of(r, compared));
    fprintf(f, " %s", what);
}

static void print_verdict(FILE *f, const report_data *r)
{
    const bool any = json_array_size(r->verified) > 0, passed = any && all_passed(r);
    fprintf(f, "<div class=\"verdict %s\" id=\"verdict\">\n<p class=\"said\">",
            !any     ? ""
            : passed ? "good"
                     : "bad");
    if (!any) {
        fputs("Nothing here has been verified.</p>\n<p>The builds that measured have not compared "
              "the decoders, so no "
              "speed-up is shown. <code>build/bench verify</code> compares them; <code>make "
              "bench</code> verifies "
              "before it measures.</p>\n</div>\n",
              f);
        return;
    }
    fprintf(f, "<span class=\"mark\" aria-hidden=\"true\">%s</span> ",
            passed ? "&#10003;" : "&#10007;");
    print_share(f, r, "logits_differing", "logits", "logits differ.</p>\n<p>");
    print_share(f, r, "keys_and_values_differing", "keys_and_values", "keys and values differ. ");
    fputs(passed ? "The decoder with a cache and the one that recomputes everything agree in every "
                   "bit, however a "
                   "context was reached: token by token, in chunks, at once, and after "
                   "rollbacks.</p>\n</div>\n"
                 : "<strong>The decoders do not agree</strong>, so no speed-up is shown for the "
                   "models where they "
                   "differ. <code>build/bench verify</code> says where they part.</p>\n</div>\n",
          f);
    report_table_begin(f, "verdict", "table", "What was compared, bit for bit");
    fputs("<thead><tr><th scope=\"col\" class=\"left\">model</th><th scope=\"col\">context</th>"
          "<th scope=\"col\">logits</th><th scope=\"col\">differ</th><th scope=\"col\">keys and "
          "values</th>"
          "<th scope=\"col\">differ</th><th scope=\"col\">build</th><th "
          "scope=\"col\">digest</th></tr></thead>\n<tbody>\n",
          f);
    print_verified_rows(f, r);
    report_table_end(f);
    fputs("<p class=\"small\">By <code>build/bench verify -m MODEL</code>. Context: the longest "
          "compared, in tokens. "
          "Build: "
          "the SHA-256 of the program. Digest: that of the recomputed logits, the same on every "
          "machine.</p>\n",
          f);
}

static const json_t *about(const measured *m)
{
    return json_object_get(m->context, m->curve ? "experiment" : "sweep");
}

static void print_noise(FILE *f, const json_t *run)
{
    const double change = number_of(run, "drift"), steal = number_of(run, "steal_s");
    report_whole(f, number_of(run, "rounds"));
    fputs(" rounds, ", f);
    report_whole(f, number_of(run, "requests"));
    fprintf(f, " samples in %.0f&#160;s%s; ", number_of(run, "seconds"),
            json_is_true(json_object_get(run, "partial"))
                ? ", <strong>partial</strong>: it was stopped early"
                : "");
    report_whole(f, number_of(run, "outliers"));
    fputs(" of ", f);
    report_whole(f, number_of(run, "values"));
    fprintf(f, " values are outliers (kept); second half %.1f&#160;%% %s than the first%s; ",
            100 * fabs(change), change < 0 ? "faster" : "slower",
            json_is_true(json_object_get(run, "drift_clear")) ? ", beyond chance" : "");
    report_whole(f, number_of(run, "involuntary_switches"));
    fputs(" involuntary context switches", f);
    if (steal >= 0.05)
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
    report_whole(f, json_number_value(json_array_get(fitted, 0)));
    fputs(" to ", f);
    report_whole(f, json_number_value(json_array_get(fitted, 1)));
    if (level) {
        fputs(", where what a cached step reads is held by ", f);
        drawing_text(f, level);
    }
    fputs(". ", f);
}

// Whether this was measured where, and by what, the page says at its top.
static bool is_elsewhere(const json_t *here, const json_t *there)
{
    static const char *const told_by[][2] = {
        {"machine", "cpu"}, {"machine", "cores"}, {"build", "sha256"}};
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

static void print_run(FILE *f, const report_data *r, const story *s)
{
    const measured *m = &r->of[s->of];
    const bool counted =
        !m->curve && !s->metric; // then it does not matter how steady the machine was
    const json_t *run = about(m), *machine = json_object_get(m->context, "machine"),
                 *build = json_object_get(m->context, "build"),
                 *weights = json_object_get(m->context, "model");
    fprintf(f, "<p class=\"small\">%s by <code>", m->context && counted ? "Counted" : "Measured");
    drawing_text(f, m->command);
    fputs("</code>", f);
    if (counted) {
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
    fprintf(f, "Load at the start: %.1f. ",
            number_of(json_object_get(m->context, "system"), "load_1min"));
    if (is_elsewhere(m->context, first_context(r))) {
        fputs("<strong>Another machine or build</strong> than the one above: ", f);
        drawing_text(f, text_of(machine, "cpu") ? text_of(machine, "cpu") : "unknown processor");
        fputs(", ", f);
        report_whole(f, number_of(machine, "cores"));
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
    const char *element =
        strchr(text, '\n') == text + strlen(text) - 1 ? "p" : "pre"; // one line is no table
    fprintf(f, "<h3>What follows</h3>\n<%s>", element);
    drawing_text(f, text);
    fprintf(f, "</%s>\n", element);
}

static void print_figure(FILE *f, const report_data *r, const story *s, size_t i)
{
    if (!report_may_compare(r, s)) {
        fputs(
            "<p class=\"note\">The picture is left out: not all that it shows was verified.</p>\n",
            f);
        return;
    }
    if (!r->pictures[i]) {
        fputs("<p class=\"note\">There is no picture: <code>make report</code> draws it.</p>\n", f);
        return;
    }
    fprintf(f,
            "<figure>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
            "aria-labelledby=\"%s-shows\">\n%s</div>\n",
            s->id, r->pictures[i]);
    fprintf(f, "<figcaption id=\"%s-shows\">%s.</figcaption>\n</figure>\n", s->id, s->shows);
}

static status print_section(FILE *f, const report_data *r, size_t i)
{
    const story *s = &report_stories[i];
    const measured *m = &r->of[s->of];
    fprintf(f, "<section id=\"%s\" aria-labelledby=\"%s-head\">\n<h2 id=\"%s-head\">%zu. %s</h2>\n",
            s->id, s->id, s->id, i + 1, s->title);
    fputs("<p class=\"question\">", f);
    report_prose(f, s->question ? s->question : m->question);
    fputs("</p>\n", f);
    if (*m->problem) {
        fputs("<p>", f);
        drawing_text(f, m->problem);
        fputs(" <code>", f);
        drawing_text(f, m->command);
        fputs("</code> measures it.</p>\n", f);
    } else {
        report_answer(f, r, s);
        print_figure(f, r, s, i);
    }
    fprintf(
        f,
        "<div class=\"theory\">\n<h3>Theory</h3>\n<p class=\"formula\">%s</p>\n<p>%s</p>\n</div>\n",
        s->formula, s->theory);
    status failed = NULL;
    if (!*m->problem) {
        failed = report_tables(f, r, s);
        print_conclusion(f, m);
        print_run(f, r, s);
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
        report_prose(f, *m->problem ? "not measured" : s->question ? s->question : m->question);
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

static const char *bytes_text(const json_t *object, const char *key, char text[FORMAT_ROOM])
{
    const double bytes = number_of(object, key);
    return bytes > 0 ? format_bytes(bytes, text) : "unknown";
}

static void print_machine(FILE *f, const json_t *context)
{
    const json_t *machine = json_object_get(context, "machine"),
                 *system = json_object_get(context, "system"),
                 *build = json_object_get(context, "build");
    char cores[FORMAT_ROOM], a[FORMAT_ROOM], b[FORMAT_ROOM], c[FORMAT_ROOM], caches[128];
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
    fputs("</dd>\n</dl>\n<p class=\"small\">Everything is timed on one thread, with no other "
          "running. Memory is what "
          "was available at the start.</p>\n",
          f);
}

static const char method[] =
    "<section id=\"method\" aria-labelledby=\"method-head\">\n<h2 id=\"method-head\">How to read "
    "the numbers</h2>\n"
    "<p>Samples are taken in rounds, each of which takes one of every cell in random order. Shown "
    "is the median, with "
    "the interval between two of the sorted samples that holds the true median with 95&#160;% or "
    "more, whatever the "
    "distribution. No sample is dropped. <b>ttft</b> is the time from a prompt&#8217;s ids to its "
    "first generated "
    "token, <b>step</b> the time of the one step that extends a context. All numbers have three "
    "significant digits."
    "</p>\n"
    "<p>A slope is that of a straight line through the points (ln x, ln y), with Student&#8217;s "
    "interval. The "
    "coefficients of a + b x + c x&#178; are the best that are not negative, weighted for equal "
    "relative errors; a "
    "coefficient of 0 comes with the largest value that the points still allow. Models are ranked "
    "by AICc.</p>\n"
    "<p>Letters: T tokens in the sequence, t tokens of context, C channels, F width of the "
    "feed-forward layer, L "
    "layers, V size of the vocabulary.</p>\n"
    "<p>All of this stands in <code>results.json</code> beside this page, and the samples in "
    "<code>build/results</code>. The course explains it: chapter 4 how it is measured, chapter 8 "
    "what is counted, "
    "chapter 9 how curves are fitted, chapter 10 the roofline, chapter 11 this "
    "report.</p>\n</section>\n";

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
            "<title>What a KV cache buys: Lockstep&#8217;s "
            "report</title>\n<style>\n%s%s</style>\n</head>\n<body>\n",
            style, narrow_and_printed);
    fprintf(f,
            "<header>\n<h1>What a KV cache buys</h1>\n<p class=\"lead\">Two GPT-2 decoders in "
            "lockstep: one recomputes "
            "every row for each new token, one keeps keys and values. First whether they agree, "
            "then what it is worth. "
            "Lockstep %s, written on %s.</p>\n</header>\n<main>\n",
            LOCKSTEP_VERSION, date);
    print_verdict(f, r);
    print_contents(f, r);
    print_machine(f, first_context(r));
    status failed = NULL;
    for (size_t i = 0; i < REPORT_STORIES && !failed; i++)
        failed = print_section(f, r, i);
    fprintf(f,
            "%s</main>\n<footer>\n<p>Made by <code>make "
            "report</code>.</p>\n</footer>\n</body>\n</html>\n",
            method);
    return failed;
}
