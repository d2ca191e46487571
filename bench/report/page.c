// The page: one file with everything in it, which can be read without a network, without scripts,
// and on paper.
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "bench/report/drawing.h"
#include "bench/report/tables.h"
#include "bench/report/template.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/version.h"

enum { PAGE, VERDICT, SECTION, FRAMES };

// What is read from plots/page/.
typedef struct page_words {
    template frames[FRAMES], stories[REPORT_STORIES];
    char *style;
} page_words;

// What the parts of the page are made of: all of it, or story i of it.
typedef struct page {
    const report_data *r;
    const page_words *words;
    size_t i;
} page;

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

static status print_verified_rows(FILE *f, const void *what)
{
    const page *p = what;
    size_t i;
    json_t *v;
    json_array_foreach(p->r->verified, i, v)
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
    return NULL;
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

// "0 of 2,721,792"
static void print_share(FILE *f, const report_data *r, const char *differing, const char *compared)
{
    report_whole(f, total_of(r, differing));
    fputs(" of ", f);
    report_whole(f, total_of(r, compared));
}

static status print_logits(FILE *f, const void *what)
{
    print_share(f, ((const page *)what)->r, "logits_differing", "logits");
    return NULL;
}

static status print_kept(FILE *f, const void *what)
{
    print_share(f, ((const page *)what)->r, "keys_and_values_differing", "keys_and_values");
    return NULL;
}

static status print_compared(FILE *f, const void *what)
{
    static const template_value values[] = {{.name = "rows", .print = print_verified_rows}, {0}};
    return template_fill(f, &((const page *)what)->words->frames[VERDICT], "compared", values,
                         what);
}

static status print_verdict(FILE *f, const void *what)
{
    static const template_value values[] = {{.name = "logits", .print = print_logits},
                                            {.name = "kept", .print = print_kept},
                                            {.name = "compared", .print = print_compared},
                                            {0}};
    const page *p = what;
    const char *part = json_array_size(p->r->verified) == 0 ? "none"
                       : all_passed(p->r)                   ? "passed"
                                                            : "failed";
    return template_fill(f, &p->words->frames[VERDICT], part, values, p);
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

static status print_run(FILE *f, const void *what)
{
    const page *p = what;
    const report_data *r = p->r;
    const story *s = &report_stories[p->i];
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
        fputs(".</p>", f);
        return NULL;
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
    fputs("</p>", f);
    return NULL;
}

static const measured *measured_of(const page *p)
{
    return &p->r->of[report_stories[p->i].of];
}

static status print_conclusion(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = measured_of(p);
    if (!m->conclusion || strcmp(m->name, "throughput") == 0) // its table is that already
        return NULL;
    const char *text = m->conclusion + strspn(m->conclusion, "\n");
    if (!*text)
        return NULL;
    const bool one = strchr(text, '\n') == text + strlen(text) - 1; // one line is no table
    const template_value values[] = {{.name = "conclusion", .text = text}, {0}};
    return template_fill(f, &p->words->frames[SECTION], one ? "sentence" : "lines", values, p);
}

static status print_light(FILE *f, const void *what)
{
    const page *p = what;
    drawing_data(f, p->r->pictures[p->i][REPORT_LIGHT]);
    return NULL;
}

static status print_dark(FILE *f, const void *what)
{
    const page *p = what;
    drawing_data(f, p->r->pictures[p->i][REPORT_DARK]);
    return NULL;
}

static status print_figure(FILE *f, const void *what)
{
    const page *p = what;
    const story *s = &report_stories[p->i];
    const template_value values[] = {
        {.name = "id", .text = s->id},
        {.name = "light", .print = print_light},
        {.name = "dark", .print = print_dark},
        {.name = "shows", .html = template_part(&p->words->stories[p->i], "shows")},
        {0}};
    const char *part = !report_may_compare(p->r, s) ? "unverified"
                       : !p->r->pictures[p->i][0]   ? "undrawn"
                                                    : "figure";
    return template_fill(f, &p->words->frames[SECTION], part, values, p);
}

static status print_answer(FILE *f, const void *what)
{
    const page *p = what;
    report_answer(f, p->r, &report_stories[p->i]);
    return NULL;
}

static status print_tables(FILE *f, const void *what)
{
    const page *p = what;
    return report_tables(f, p->r, &report_stories[p->i]);
}

// A story may ask a question of its own; else it is the experiment's.
static status print_question(FILE *f, const void *what)
{
    const page *p = what;
    const char *own = template_part(&p->words->stories[p->i], "question");
    report_prose(f, own ? own : measured_of(p)->question);
    return NULL;
}

static status print_section(FILE *f, const page *p)
{
    const template *words = &p->words->stories[p->i];
    const measured *m = measured_of(p);
    char number[FORMAT_ROOM];
    snprintf(number, sizeof number, "%zu", p->i + 1);
    const template_value values[] = {{.name = "id", .text = report_stories[p->i].id},
                                     {.name = "number", .text = number},
                                     {.name = "title", .html = template_part(words, "title")},
                                     {.name = "question", .print = print_question},
                                     {.name = "problem", .text = m->problem},
                                     {.name = "command", .text = m->command},
                                     {.name = "answer", .print = print_answer},
                                     {.name = "figure", .print = print_figure},
                                     {.name = "formula", .html = template_part(words, "formula")},
                                     {.name = "theory", .html = template_part(words, "theory")},
                                     {.name = "tables", .print = print_tables},
                                     {.name = "conclusion", .print = print_conclusion},
                                     {.name = "run", .print = print_run},
                                     {0}};
    return template_fill(f, &p->words->frames[SECTION], *m->problem ? "missing" : "measured",
                         values, p);
}

static status print_entry(FILE *f, const page *p)
{
    const bool missing = *measured_of(p)->problem;
    const template_value values[] = {
        {.name = "id", .text = report_stories[p->i].id},
        {.name = "title", .html = template_part(&p->words->stories[p->i], "title")},
        {.name = "question",
         .text = missing ? "not measured" : NULL,
         .print = missing ? NULL : print_question},
        {0}};
    return template_fill(f, &p->words->frames[PAGE], "entry", values, p);
}

// One after the other for each story.
static status print_each(FILE *f, const page *whole, status print(FILE *f, const page *p))
{
    status failed = NULL;
    for (page p = *whole; p.i < REPORT_STORIES && !failed; p.i++)
        failed = print(f, &p);
    return failed;
}

static status print_contents(FILE *f, const void *what)
{
    return print_each(f, what, print_entry);
}

static status print_sections(FILE *f, const void *what)
{
    return print_each(f, what, print_section);
}

static const char *known(const char *text)
{
    return text ? text : "unknown";
}

static const char *bytes_text(const json_t *object, const char *key, char text[FORMAT_ROOM])
{
    const double bytes = number_of(object, key);
    return bytes > 0 ? format_bytes(bytes, text) : "unknown";
}

static status print_build(FILE *f, const void *what)
{
    const page *p = what;
    print_digest(f, text_of(json_object_get(first_context(p->r), "build"), "sha256"));
    return NULL;
}

static status print_machine(FILE *f, const void *what)
{
    const page *p = what;
    const json_t *context = first_context(p->r), *machine = json_object_get(context, "machine"),
                 *system = json_object_get(context, "system"),
                 *build = json_object_get(context, "build");
    char cores[FORMAT_ROOM], l1[FORMAT_ROOM], l2[FORMAT_ROOM], l3[FORMAT_ROOM], all[FORMAT_ROOM];
    if (!context)
        return NULL;
    snprintf(cores, sizeof cores, "%.0f", number_of(machine, "cores"));
    const template_value values[] = {
        {.name = "cpu", .text = known(text_of(machine, "cpu"))},
        {.name = "cores", .text = cores},
        {.name = "l1", .text = bytes_text(machine, "l1d_bytes", l1)},
        {.name = "l2", .text = bytes_text(machine, "l2_bytes", l2)},
        {.name = "l3", .text = bytes_text(machine, "l3_bytes", l3)},
        {.name = "memory", .text = bytes_text(machine, "memory_available_bytes", all)},
        {.name = "system", .text = known(text_of(system, "name"))},
        {.name = "huge", .text = known(text_of(system, "huge_pages"))},
        {.name = "compiler", .text = known(text_of(build, "compiler"))},
        {.name = "flags", .text = known(text_of(build, "flags"))},
        {.name = "build", .print = print_build},
        {0}};
    return template_fill(f, &p->words->frames[PAGE], "machine", values, p);
}

static status print_page(FILE *f, const page *p)
{
    char date[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    const template_value values[] = {{.name = "style", .html = p->words->style},
                                     {.name = "version", .text = LOCKSTEP_VERSION},
                                     {.name = "date", .text = date},
                                     {.name = "verdict", .print = print_verdict},
                                     {.name = "contents", .print = print_contents},
                                     {.name = "machine", .print = print_machine},
                                     {.name = "sections", .print = print_sections},
                                     {0}};
    return template_fill(f, &p->words->frames[PAGE], "page", values, p);
}

// All files of plots/page/.
static status read_words(page_words *words)
{
    static const char dir[] = SOURCE_DIR "/plots/page";
    static const char *const frames[] = {"page.html", "verdict.html", "section.html"};
    char name[64];
    status failed = template_file(dir, "style.css", &words->style);
    for (size_t i = 0; i < FRAMES && !failed; i++)
        failed = template_read(dir, frames[i], &words->frames[i]);
    for (size_t i = 0; i < REPORT_STORIES && !failed; i++) {
        snprintf(name, sizeof name, "sections/%s.html", report_stories[i].id);
        failed = template_read(dir, name, &words->stories[i]);
    }
    return failed;
}

static void free_words(page_words *words)
{
    for (size_t i = 0; i < FRAMES; i++)
        template_free(&words->frames[i]);
    for (size_t i = 0; i < REPORT_STORIES; i++)
        template_free(&words->stories[i]);
    memory_free(words->style);
    memory_free(words);
}

status report_print_page(FILE *f, const void *what)
{
    page_words *words = memory_array(1, sizeof *words);
    if (!words)
        return memory_failed("the page");
    *words = (page_words){.style = NULL};
    status failed = read_words(words);
    if (!failed)
        failed = print_page(f, &(page){.r = what, .words = words});
    free_words(words);
    return failed;
}
