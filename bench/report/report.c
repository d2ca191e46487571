// bench report: reads what verify, sweep, curves and roofline have left, and writes
// report/index.html and results.json.
#include "bench/report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/base/options.h"
#include "bench/base/results.h"
#include "bench/report/drawing.h"
#include "bench/subject/subject.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/version.h"
#include "common/model/model.h"
#include "common/text/utf8.h"

enum { SCHEMA_VERSION = 1, NAME = 64, MOST_MEDIANS = 10000 };

static const char usage[] =
    "build/bench report [options] [DIR]: one page of everything that was verified and measured, "
    "and one file\n\n"
    "  DIR            where results/ and plots/ are (default: the folder of this program, build)\n"
    "  -o, --out DIR  where index.html and results.json go (default: DIR/report)\n\n"
    "`make report` draws the plots first.\n";

static const char summary_columns[] =
    "model,decoder,metric,%s,median_%s,ci_lo_%s,ci_hi_%s,samples,throttled";
static const char fit_columns[] =
    "model,decoder,metric,from,to,places,slope,slope_lo,slope_hi,factor,r2,counted_slope,"
    "a,a_lo,a_hi,b,b_lo,b_hi,c,c_lo,c_hi,rms_relative";
static const char roofline_columns[] =
    "model,decoder,pass,context,stage,multiply_adds,bytes,intensity,median_ns,"
    "ci_lo_ns,ci_hi_ns,gflops,roof_gflops,share";
enum { MODEL, DECODER, METRIC, X, MEDIAN, LO, HI, SAMPLES, THROTTLED }; // columns of a summary

static const char *text_at(const json_t *object, const char *key, const char *inner)
{
    return json_string_value(json_object_get(json_object_get(object, key), inner));
}

// The object of a description that says how the measurement went.
static const json_t *about(const measured *m)
{
    return json_object_get(m->context, m->curve ? "experiment" : "sweep");
}

// Whether both are the same text, or both are none.
static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

size_t report_verified(const report_data *r, const measured *m, const char *model_name,
                       const char *who)
{
    const char *build = text_at(m->context, "build", "sha256");
    const char *wanted = text_at(about(m), "decoders", who);
    const char *digest =
        m->curve
            ? json_string_value(json_object_get(json_object_get(about(m), "models"), model_name))
            : text_at(m->context, "model", "sha256");
    size_t i;
    json_t *v;
    json_array_foreach(r->verified, i, v)
    {
        json_int_t longest = json_integer_value(json_object_get(v, "longest"));
        if (build && digest && wanted &&
            same_text(build, json_string_value(json_object_get(v, "build_sha256"))) &&
            same_text(digest, json_string_value(json_object_get(v, "model_sha256"))) &&
            same_text(wanted, json_string_value(json_object_get(v, "subject"))) &&
            json_is_true(json_object_get(v, "passed")) && longest > 0)
            return (size_t)longest;
    }
    return 0;
}

// Whether an experiment on this page has measured the decoder that verified.json calls `wanted`.
static bool is_measured(const report_data *r, const char *wanted)
{
    for (size_t i = 0; i < REPORT_ALL; i++) {
        const char *name;
        json_t *key;
        json_object_foreach(json_object_get(about(&r->of[i]), "decoders"), name, key)
        {
            if (same_text(wanted, json_string_value(key)))
                return true;
        }
    }
    return false;
}

// What a key of verified.json has behind the model's digest: nothing for kvcache, "NAME:SPEC" for
// another spec, and in place of the name the digest of a plug-in.
typedef struct found_key {
    char model[65], plugin[65];
    const char *subject, *spec; // spec NULL: plain
} found_key;

// Of a subject's key, how many characters are a plug-in's digest: 64 or none.
static size_t plugin_length(const char *key)
{
    const size_t n = strcspn(key, ":");
    return n == 64 && strspn(key, "0123456789abcdef") == n ? n : 0;
}

static found_key read_key(const char *key)
{
    found_key k = {.subject = strchr(key, ' ')};
    snprintf(k.model, sizeof k.model, "%.*s", (int)strcspn(key, " "), key);
    k.subject = k.subject ? k.subject + 1 : "kvcache";
    k.spec = strchr(k.subject, ':');
    k.spec = k.spec ? k.spec + 1 : NULL;
    const size_t n = plugin_length(k.subject);
    snprintf(k.plugin, sizeof k.plugin, "%.*s", (int)n, k.subject);
    return k;
}

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

// Adds what one build has found of a model and a decoder. A plug-in that nothing here is about is
// left out, and so is an entry of an earlier version.
static status add_finding(report_data *r, const char *build, const char *key, json_t *found)
{
    const found_key k = read_key(key);
    if (!json_is_object(found) || (*k.plugin && !is_measured(r, k.subject)))
        return NULL;
    json_t *v = json_copy(found);
    bool whole = json_object_set_new(v, "build_sha256", json_string(build)) == 0;
    whole = json_object_set_new(v, "model_sha256", json_string(k.model)) == 0 && whole;
    whole = json_object_set_new(v, "plugin_sha256", text_or_null(k.plugin)) == 0 && whole;
    whole = json_object_set_new(v, "subject", json_string(k.subject)) == 0 && whole;
    whole = json_object_set_new(v, "spec", text_or_null(k.spec)) == 0 && whole;
    return json_array_append_new(r->verified, v) == 0 && whole ? NULL
                                                               : memory_failed("the verifications");
}

// Adds what one program has found, if that is the build at hand or one that has measured.
static status add_verified(report_data *r, const json_t *entry, const char *own)
{
    const char *build = json_string_value(json_object_get(entry, "build")), *key;
    bool wanted = build && strcmp(build, own) == 0;
    for (size_t i = 0; i < REPORT_ALL && build; i++)
        wanted = wanted || same_text(build, text_at(r->of[i].context, "build", "sha256"));
    json_t *found;
    status failed = NULL;
    json_object_foreach(wanted ? json_object_get(entry, "models") : NULL, key, found)
    {
        if (!failed)
            failed = add_finding(r, build, key, found);
    }
    return failed;
}

static status read_verified(report_data *r)
{
    static const char name[] = "verified.json";
    char own[65];
    const char *program;
    json_t *record = NULL, *entry;
    r->verified = json_array();
    if (!file_exists(r->results, name))
        return NULL;
    status failed = results_build(own), unreadable = file_read_json(r->results, name, &record);
    if (unreadable) {
        fprintf(stderr, "bench report: %s; verify again\n", unreadable);
        r->problems++;
    }
    json_object_foreach(record, program, entry)
    {
        if (!failed)
            failed = add_verified(r, entry, own);
    }
    json_decref(record);
    return failed;
}

// A file of an experiment is SUMMARY.csv in results/, or NAME-summary.csv in results/curves/.
static void file_name(const measured *m, const char *rest, char name[NAME])
{
    snprintf(name, NAME, "%s%s%s", m->curve ? m->name : "", m->curve ? "-" : "", rest);
}

static status read_medians(measured *m)
{
    const table *t = &m->tables[REPORT_SUMMARY];
    if (t->rows > MOST_MEDIANS)
        return status_fail("%s: %zu rows are more than the %d that a page can show", t->path,
                           t->rows, MOST_MEDIANS);
    m->medians = memory_array(t->rows + 1, sizeof *m->medians);
    status failed = m->medians ? NULL : memory_failed(t->path);
    for (size_t row = 1; row <= t->rows && !failed; row++) {
        report_median *c = &m->medians[m->n];
        *c = (report_median){.model = table_text(t, row, MODEL),
                             .decoder = table_text(t, row, DECODER),
                             .metric = table_text(t, row, METRIC)};
        double *const numbers[] = {&c->x,        &c->value.median, &c->value.lo,
                                   &c->value.hi, &c->samples,      &c->throttled};
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers && !failed; k++)
            failed = table_number(t, row, X + k, numbers[k]);
        if (!failed && !(c->x > 0 && c->value.median >= 0))
            failed = status_fail("%s, line %zu: no such median can be", t->path, row + 1);
        m->n++;
    }
    return failed;
}

// Whether all columns from `first` on hold numbers.
static status check_numbers(const table *t, size_t first)
{
    double number;
    status failed = NULL;
    for (size_t row = 1; row <= t->rows; row++)
        for (size_t k = first; k < t->columns && !failed; k++)
            failed = table_number(t, row, k, &number);
    return failed;
}

static status read_conclusion(const char *dir, measured *m)
{
    char name[NAME];
    size_t n;
    file_name(m, "conclusion.txt", name);
    if (!file_exists(dir, name))
        return NULL;
    status failed = file_read(dir, name, &m->conclusion, &n);
    if (!failed)
        utf8_clean(m->conclusion, n);
    return failed;
}

static status read_curve(const char *dir, measured *m)
{
    char name[NAME], columns[128];
    file_name(m, "fits.csv", name);
    status failed = table_read(dir, name, fit_columns, &m->tables[REPORT_FITS]);
    if (!failed)
        failed = check_numbers(&m->tables[REPORT_FITS], METRIC + 1);
    file_name(m, "counts.csv", name);
    snprintf(columns, sizeof columns, "model,decoder,metric,%s,%s", m->x, m->curve->counted);
    if (!failed)
        failed = table_read(dir, name, columns, &m->tables[REPORT_MORE]);
    if (!failed)
        failed = check_numbers(&m->tables[REPORT_MORE], METRIC + 1);
    return failed ? failed : read_conclusion(dir, m);
}

static status read_sweep(const char *dir, measured *m)
{
    table *t = &m->tables[REPORT_MORE];
    status failed =
        table_read(dir, "memory.csv", "model,decoder,context,kv_bytes,naive_activation_bytes", t);
    return failed ? failed : check_numbers(t, 2);
}

// Refuses files that this description was not written with.
static status check_seal(const char *dir, const measured *m)
{
    static const char *const sweep[] = {"summary.csv", "memory.csv", NULL},
                             *const curve[] = {"summary.csv", "counts.csv", "fits.csv",
                                               "conclusion.txt", NULL},
                             *const roofline[] = {"roofline.csv", "roofs.csv", NULL};
    const bool roofs = !m->curve && strcmp(m->name, "roofline") == 0;
    char description[NAME], before[NAME], again[NAME];
    snprintf(description, sizeof description, "%s", roofs ? "roofline-context.json" : "");
    if (!roofs)
        file_name(m, "context.json", description);
    file_name(m, "", before);
    snprintf(again, sizeof again, "build/bench %s%s", m->curve ? "curves " : "", m->name);
    return results_check_seal(dir, description, before,
                              m->curve ? curve
                              : roofs  ? roofline
                                       : sweep,
                              m->context, again);
}

static status read_experiment(const char *dir, measured *m)
{
    char name[NAME], columns[128];
    file_name(m, "summary.csv", name);
    snprintf(columns, sizeof columns, summary_columns, m->x, m->unit, m->unit, m->unit);
    status failed = table_read(dir, name, columns, &m->tables[REPORT_SUMMARY]);
    if (!failed)
        failed = read_medians(m);
    file_name(m, "context.json", name);
    if (!failed)
        failed = file_read_json(dir, name, &m->context);
    if (failed)
        return failed;
    failed = m->curve ? read_curve(dir, m) : read_sweep(dir, m);
    return failed ? failed : check_seal(dir, m);
}

static status read_roofline(const char *dir, measured *m)
{
    status failed = table_read(dir, "roofline.csv", roofline_columns, &m->tables[REPORT_SUMMARY]);
    const table *t = &m->tables[REPORT_SUMMARY];
    for (size_t row = 1; row <= t->rows && !failed; row++)
        for (size_t k = 3; k < t->columns && !failed; k++) {
            double number;
            if (k != 4)
                failed = table_number(t, row, k, &number);
        }
    if (!failed)
        failed = table_read(dir, "roofs.csv", "kind,value,unit", &m->tables[REPORT_MORE]);
    for (size_t row = 1; row <= m->tables[REPORT_MORE].rows && !failed; row++) {
        double number;
        failed = table_number(&m->tables[REPORT_MORE], row, 1, &number);
    }
    if (!failed)
        failed = file_read_json(dir, "roofline-context.json", &m->context);
    return failed ? failed : check_seal(dir, m);
}

static void forget(measured *m)
{
    for (size_t i = 0; i < REPORT_TABLES; i++)
        table_free(&m->tables[i]);
    memory_free(m->medians);
    memory_free(m->conclusion);
    json_decref(m->context);
    m->medians = NULL;
    m->conclusion = NULL;
    m->context = NULL;
    m->n = 0;
}

// The places of a summary's first curve.
static size_t places_of(const measured *m, double x[CURVES_X])
{
    size_t n = 0;
    for (size_t i = 0; i < m->n && n < CURVES_X; i++)
        if (strcmp(m->medians[i].decoder, m->medians[0].decoder) == 0 &&
            strcmp(m->medians[i].metric, m->medians[0].metric) == 0)
            x[n++] = m->medians[i].x;
    return n;
}

// Whether these are the places that are taken unless others are asked for: see choose_places in
// bench/curves/curves.c.
static bool are_usual(const measured *m, const double *x, size_t n)
{
    const size_t *places = m->curve ? m->curve->places : NULL;
    const double T =
        json_number_value(json_object_get(json_object_get(m->context, "model"), "context"));
    for (size_t i = 0; i < n; i++)
        if (places ? x[i] != (double)places[i] : i + 1 < n && x[i] != (double)((size_t)16 << i))
            return false;
    return places || (n > 0 && x[n - 1] + 16 >= T);
}

void report_print_decoder(FILE *f, const measured *m, const char *name)
{
    const char *key =
        json_string_value(json_object_get(json_object_get(about(m), "decoders"), name));
    char text[sizeof "PLUGIN.so" + SUBJECT_KEY];
    const size_t n = key ? plugin_length(key) : 0;
    snprintf(text, sizeof text, "%s%s", n > 0 ? "PLUGIN.so" : "", key ? key + n : name);
    fputs(" -d ", f);
    format_word(f, text);
}

// The decoders besides naive, unless that is kvcache alone.
static void print_decoders(FILE *f, const measured *m)
{
    const json_t *run = about(m);
    json_t *decoders = json_object_get(run, "decoders"), *key;
    const char *name;
    const bool usual = json_object_size(decoders) == 2 && json_object_get(decoders, "kvcache") &&
                       !json_object_get(run, "plugin_sha256");
    json_object_foreach(usual ? NULL : decoders, name, key)
    {
        const char *text = json_string_value(key);
        if (text && strcmp(text, "naive") != 0)
            report_print_decoder(f, m, name);
    }
}

static void print_command(FILE *f, const measured *m)
{
    const char *name = text_at(m->context, "model", "name"),
               *own = m->curve ? m->curve->model : NULL;
    const json_t *run = about(m);
    double x[CURVES_X];
    const size_t n = places_of(m, x);
    fprintf(f, "build/bench %s%s", m->curve ? "curves " : "", m->name);
    if (m->curve && own && !*own)
        own = model_default() + sizeof SOURCE_DIR;
    if (name && (!m->curve || own) && (!own || strcmp(name, own) != 0))
        bench_options_print_model(f, name);
    if (n > 0 && !are_usual(m, x, n))
        for (size_t i = 0; i < n; i++)
            fprintf(f, "%s%.0f", i == 0 ? " -c " : ",", x[i]);
    print_decoders(f, m);
    if (json_integer_value(json_object_get(run, "rounds")) > 0)
        fprintf(f, " -n %lld", (long long)json_integer_value(json_object_get(run, "rounds")));
    if (json_integer_value(json_object_get(run, "seed")) > 0)
        fprintf(f, " -s %lld", (long long)json_integer_value(json_object_get(run, "seed")));
}

// Of a roofline, its model, its contexts, which stand together, and the decoder beside naive, which
// comes first; of a plug-in only the name is known.
static void print_roofline_command(FILE *f, const table *t)
{
    const char *before = "";
    fputs("build/bench roofline", f);
    bench_options_print_model(f, table_text(t, 1, MODEL));
    for (size_t row = 1; row <= t->rows; row++) {
        const char *here = table_text(t, row, X);
        if (strcmp(here, before) != 0)
            fprintf(f, "%s%s", row == 1 ? " -c " : ",", here);
        before = here;
    }
    const char *other = table_text(t, 1, DECODER);
    if (strcmp(other, "kvcache") != 0) {
        fputs(" -d ", f);
        format_word(f, strncmp(other, "kvcache:", 8) == 0 ? other : "PLUGIN.so");
    }
}

// What makes m: again, or at all.
static status compose_command(measured *m)
{
    FILE *f = fmemopen(m->command, sizeof m->command, "w");
    if (!f)
        return memory_failed("a command");
    if (m->plain)
        report_plain_command(f, m);
    else if (m->n > 0)
        print_command(f, m);
    else if (m->tables[REPORT_SUMMARY].rows > 0)
        print_roofline_command(f, &m->tables[REPORT_SUMMARY]);
    else
        fprintf(f, "build/bench %s%s%s", m->curve ? "curves " : "", m->name,
                m->curve || strcmp(m->name, "sweep") != 0 ? "" : " -m " BENCH_MODEL);
    fclose(f);
    return NULL;
}

// Messages on the page name files from DIR on.
static void keep_problem(report_data *r, measured *m, const char *message)
{
    size_t n = strlen(r->results);
    while (n > 0 && r->results[n - 1] != '/')
        n--;
    if (strncmp(message, r->results, n) != 0)
        n = 0;
    snprintf(m->problem, sizeof m->problem, "%s", message + n);
    utf8_clean(m->problem, strlen(m->problem));
    fprintf(stderr, "bench report: %s\n", message);
    r->problems++;
}

static status read_one(report_data *r, size_t i)
{
    static const char *const first[] = {"summary.csv", "roofline.csv"};
    measured *m = &r->of[i];
    char curves[FILE_PATH_SIZE], name[NAME];
    status failed = file_path(r->results, "curves", curves);
    if (failed)
        return failed;
    const char *dir = m->curve ? curves : r->results;
    if (m->plain)
        snprintf(name, sizeof name, "%s", m->plain->csv);
    else
        file_name(m, first[i == REPORT_ROOFLINE], name);
    if (!file_exists(dir, name)) {
        snprintf(m->problem, sizeof m->problem, "This has not been measured.");
        return compose_command(m);
    }
    failed = m->plain               ? report_read_plain(dir, m)
             : i == REPORT_ROOFLINE ? read_roofline(dir, m)
                                    : read_experiment(dir, m);
    if (failed) {
        keep_problem(r, m, failed);
        forget(m);
    }
    return compose_command(m);
}

static void forget_picture(report_data *r, size_t i)
{
    for (size_t theme = 0; theme < REPORT_THEMES; theme++) {
        memory_free(r->pictures[i][theme]);
        r->pictures[i][theme] = NULL;
    }
}

// The drawings of a story, where there are both.
static void read_picture(report_data *r, size_t i)
{
    static const char *const themes[REPORT_THEMES] = {"light", "dark"};
    const story *s = &report_stories[i];
    char name[REPORT_THEMES][NAME], path[FILE_PATH_SIZE];
    size_t n;
    bool drawn = !*r->of[s->of].problem;
    status failed = NULL;
    for (size_t theme = 0; theme < REPORT_THEMES; theme++) {
        snprintf(name[theme], NAME, "%s-%s.svg", s->id, themes[theme]);
        drawn = drawn && file_exists(r->plots, name[theme]);
    }
    for (size_t theme = 0; theme < REPORT_THEMES && drawn && !failed; theme++) {
        failed = file_path(r->plots, name[theme], path);
        if (!failed)
            failed = file_read(r->plots, name[theme], &r->pictures[i][theme], &n);
        if (!failed)
            failed = drawing_check(path, r->pictures[i][theme]);
    }
    if (!failed)
        return;
    forget_picture(r, i);
    fprintf(stderr, "bench report: %s\n", failed);
    r->problems++;
}

static status read_all(report_data *r)
{
    status failed = NULL;
    for (size_t i = 0; i < EXPERIMENTS; i++)
        r->of[i] = (measured){.name = experiments[i].name,
                              .question = experiments[i].question,
                              .x = experiments[i].x,
                              .unit = experiments[i].unit,
                              .curve = &experiments[i]};
    r->of[REPORT_SWEEP] = (measured){.name = "sweep",
                                     .question = "What does a cache buy, in a model of real size?",
                                     .x = "context",
                                     .unit = "ns"};
    r->of[REPORT_ROOFLINE] =
        (measured){.name = "roofline",
                   .question = "What holds each part back: arithmetic, or memory?",
                   .x = "context",
                   .unit = "ns"};
    for (size_t i = REPORT_STRATEGIES; i < REPORT_ALL; i++) {
        const report_plain *plain = &report_plains[i - REPORT_STRATEGIES];
        r->of[i] = (measured){.name = plain->name, .question = plain->question, .plain = plain};
    }
    for (size_t i = 0; i < REPORT_ALL && !failed; i++)
        failed = read_one(r, i);
    for (size_t i = 0; i < REPORT_STORIES && !failed; i++)
        read_picture(r, i);
    return failed ? failed : read_verified(r);
}

static json_t *number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *medians_json(const measured *m)
{
    json_t *all = json_array();
    for (size_t i = 0; i < m->n; i++) {
        const report_median *c = &m->medians[i];
        json_t *one = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "model", c->model,
                                "decoder", c->decoder, "metric", c->metric, "x", number_json(c->x),
                                "median", number_json(c->value.median), "lo",
                                number_json(c->value.lo), "hi", number_json(c->value.hi), "samples",
                                number_json(c->samples), "throttled", number_json(c->throttled));
        if (json_array_append_new(all, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

// The rows of a table as objects with the columns' names: numbers from column `first` on where they
// are some.
static json_t *rows_json(const table *t, size_t first)
{
    json_t *all = json_array();
    bool whole = all;
    for (size_t row = 1; row <= t->rows && whole; row++) {
        json_t *one = json_object();
        for (size_t k = 0; k < t->columns && whole; k++) {
            double number;
            bool is_number = k >= first && !table_number(t, row, k, &number);
            json_t *value = is_number ? number_json(number) : json_string(table_text(t, row, k));
            whole = json_object_set_new(one, table_text(t, 0, k), value) == 0;
        }
        whole = json_array_append_new(all, one) == 0 && whole;
    }
    if (!whole)
        json_decref(all);
    return whole ? all : NULL;
}

// The counts of a curve, whose last two columns bear other names in each experiment.
static json_t *counts_json(const table *t)
{
    json_t *all = json_array();
    for (size_t row = 1; row <= t->rows; row++) {
        double x = 0, count = 0;
        table_number(t, row, X, &x); // read_curve has tried them
        table_number(t, row, X + 1, &count);
        json_t *one = json_pack("{s:s, s:s, s:s, s:f, s:f}", "model", table_text(t, row, MODEL),
                                "decoder", table_text(t, row, DECODER), "metric",
                                table_text(t, row, METRIC), "x", x, "count", count);
        if (json_array_append_new(all, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *measured_json(const measured *m)
{
    const table *points = &m->tables[REPORT_SUMMARY], *more = &m->tables[REPORT_MORE], none = {0};
    const bool sweep = !m->curve && strcmp(m->name, "sweep") == 0,
               roofline = !m->curve && !sweep && !m->plain;
    json_t *context = m->context ? json_incref(m->context) : json_null();
    return json_pack(
        "{s:s, s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "name", m->name, "question", m->question, "command", m->command, "problem",
        *m->problem ? m->problem : NULL, "x", m->x, "unit", m->unit, "counted",
        m->curve ? m->curve->counted : NULL, "conclusion", m->conclusion, "context", context,
        "medians", medians_json(m), "fits", rows_json(&m->tables[REPORT_FITS], METRIC + 1),
        "counts", counts_json(m->curve ? more : &none), "memory",
        rows_json(sweep ? more : &none, 2), "points", rows_json(roofline ? points : &none, 3),
        "roofs", rows_json(roofline ? more : &none, 1), "rows",
        rows_json(m->plain ? points : &none, m->plain ? m->plain->texts : 0));
}

// Described in notes/11-report.md. *out is to be released also after a failure.
static status results_json(const report_data *r, json_t **out)
{
    char written[32];
    time_t now = time(NULL);
    strftime(written, sizeof written, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    json_t *all = json_array();
    bool whole = all;
    for (size_t i = 0; i < REPORT_STORIES && whole; i++) // in the page's order, each once
        if (i == 0 || report_stories[i].of != report_stories[i - 1].of)
            whole = json_array_append_new(all, measured_json(&r->of[report_stories[i].of])) == 0;
    *out = json_pack("{s:s, s:i, s:s, s:s, s:O, s:o}", "schema", "lockstep-results", "version",
                     SCHEMA_VERSION, "lockstep", LOCKSTEP_VERSION, "written", written, "verified",
                     r->verified, "experiments", all);
    return whole && *out ? NULL : memory_failed("results.json");
}

static status write_all(const report_data *r)
{
    json_t *results = NULL;
    status failed = results_json(r, &results);
    if (!failed)
        failed = results_write_json(r->out, "results.json", results);
    json_decref(results);
    return failed ? failed : results_write(r->out, "index.html", report_print_page, r);
}

// DIR, or the folder of this program.
static status find_folders(const bench_options *o, report_data *r)
{
    char dir[FILE_PATH_SIZE], out[FILE_PATH_SIZE];
    status failed =
        o->word_count > 1 ? status_fail("one DIR is enough; build/bench report --help") : NULL;
    if (!failed && o->word_count == 0)
        failed = results_make(NULL, dir);
    if (failed)
        return failed;
    if (o->word_count)
        snprintf(dir, sizeof dir, "%s", o->words[0]);
    else
        *strrchr(dir, '/') = '\0';
    if (!file_exists(dir, "results"))
        return status_fail(
            "%s: there is no results/ in it; name the folder that holds it, or run make bench",
            dir);
    failed = file_path(dir, "results", r->results);
    if (!failed)
        failed = file_path(dir, "plots", r->plots);
    if (!failed)
        failed = file_path(dir, "report", out);
    return failed ? failed : results_make(o->out ? o->out : out, r->out);
}

static status make_report(const bench_options *o, report_data *r)
{
    status failed = find_folders(o, r);
    if (!failed)
        failed = read_all(r);
    if (!failed)
        failed = write_all(r);
    if (failed)
        return failed;
    printf("report: %s/index.html, and results.json beside it\n", r->out);
    return r->problems == 0
               ? NULL
               : status_fail("%zu of what was measured cannot be shown: see above, or the page",
                             r->problems);
}

static void release(report_data *r)
{
    for (size_t i = 0; i < REPORT_ALL; i++)
        forget(&r->of[i]);
    for (size_t i = 0; i < REPORT_STORIES; i++)
        forget_picture(r, i);
    json_decref(r->verified);
}

status report_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "*o:", usage, &o, exit_code);
    if (failed || o.help)
        return failed;
    report_data *r = memory_array(1, sizeof *r);
    if (!r)
        return memory_failed("the report");
    failed = make_report(&o, r);
    release(r);
    memory_free(r);
    return failed;
}
