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

enum { PAGE, VERDICT, SECTION, RUN, FRAMES };

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

static const measured *measured_of(const page *p)
{
    return &p->r->of[report_stories[p->i].of];
}

static const char *known(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

// A number in a buffer of its own: whole in threes, or with `digits` behind the point.
static const char *whole(double n, char text[FORMAT_ROOM])
{
    return n >= 0 && n < 1e18 ? format_whole((uint64_t)n, text) : "\u2013";
}

static const char *fixed(double n, int digits, char text[FORMAT_ROOM])
{
    snprintf(text, FORMAT_ROOM, "%.*f", digits, n);
    return text;
}

static status print_weights(FILE *f, const void *what)
{
    print_digest(f, text_of(json_object_get(measured_of(what)->context, "model"), "sha256"));
    return NULL;
}

static status print_program(FILE *f, const void *what)
{
    print_digest(f, text_of(json_object_get(measured_of(what)->context, "build"), "sha256"));
    return NULL;
}

static status print_of(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = measured_of(p);
    const char *name = text_of(json_object_get(m->context, "model"), "name"),
               *part = m->curve && !m->curve->model ? "of-first-model" : "of-model";
    const template_value values[] = {{.name = "model", .text = name}, {0}};
    return name ? template_fill(f, &p->words->frames[RUN], part, values, p) : NULL;
}

// What the host took from this machine, where that can be seen.
static status print_stolen(FILE *f, const void *what)
{
    const page *p = what;
    const double steal = number_of(about(measured_of(p)), "steal_s");
    char text[FORMAT_ROOM];
    const template_value values[] = {{.name = "steal", .text = fixed(steal, 1, text)}, {0}};
    return steal >= 0.05 ? template_fill(f, &p->words->frames[RUN], "stolen", values, p) : NULL;
}

static status print_held(FILE *f, const void *what)
{
    const page *p = what;
    const char *level = text_of(about(measured_of(p)), "level");
    const template_value values[] = {{.name = "level", .text = level}, {0}};
    return level ? template_fill(f, &p->words->frames[RUN], "held", values, p) : NULL;
}

static status print_range(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = measured_of(p);
    const json_t *fitted = json_object_get(about(m), "fitted");
    char from[FORMAT_ROOM], to[FORMAT_ROOM];
    if (!m->curve || json_array_size(fitted) != 2)
        return NULL;
    const template_value values[] = {
        {.name = "from", .text = whole(json_number_value(json_array_get(fitted, 0)), from)},
        {.name = "to", .text = whole(json_number_value(json_array_get(fitted, 1)), to)},
        {.name = "held", .print = print_held},
        {0}};
    return template_fill(f, &p->words->frames[RUN], "range", values, p);
}

static status print_elsewhere(FILE *f, const void *what)
{
    const page *p = what;
    const json_t *context = measured_of(p)->context, *machine = json_object_get(context, "machine");
    char cores[FORMAT_ROOM];
    const template_value values[] = {
        {.name = "cpu", .text = known(text_of(machine, "cpu"), "unknown processor")},
        {.name = "cores", .text = whole(number_of(machine, "cores"), cores)},
        {.name = "build", .print = print_program},
        {0}};
    return is_elsewhere(context, first_context(p->r))
               ? template_fill(f, &p->words->frames[RUN], "elsewhere", values, p)
               : NULL;
}

// A part of run.html if it applies.
static const char *part_if(const page *p, bool applies, const char *part)
{
    return applies ? template_part(&p->words->frames[RUN], part) : "";
}

// How the measurement went, and what disturbed it.
static status print_timed(FILE *f, const page *p)
{
    const measured *m = measured_of(p);
    const json_t *run = about(m);
    const double change = number_of(run, "drift");
    char text[8][FORMAT_ROOM];
    const template_value values[] = {
        {.name = "command", .text = m->command},
        {.name = "of", .print = print_of},
        {.name = "weights", .print = print_weights},
        {.name = "rounds", .text = whole(number_of(run, "rounds"), text[0])},
        {.name = "requests", .text = whole(number_of(run, "requests"), text[1])},
        {.name = "seconds", .text = fixed(number_of(run, "seconds"), 0, text[2])},
        {.name = "partial",
         .html = part_if(p, json_is_true(json_object_get(run, "partial")), "partial")},
        {.name = "outliers", .text = whole(number_of(run, "outliers"), text[3])},
        {.name = "values", .text = whole(number_of(run, "values"), text[4])},
        {.name = "drift", .text = fixed(100 * fabs(change), 1, text[5])},
        {.name = "direction", .html = part_if(p, true, change < 0 ? "faster" : "slower")},
        {.name = "clear",
         .html = part_if(p, json_is_true(json_object_get(run, "drift_clear")), "clear")},
        {.name = "switches", .text = whole(number_of(run, "involuntary_switches"), text[6])},
        {.name = "stolen", .print = print_stolen},
        {.name = "range", .print = print_range},
        {.name = "load",
         .text = fixed(number_of(json_object_get(m->context, "system"), "load_1min"), 1, text[7])},
        {.name = "elsewhere", .print = print_elsewhere},
        {0}};
    return template_fill(f, &p->words->frames[RUN], "measured", values, p);
}

// Where nothing was timed, it does not matter how steady the machine was.
static status print_run(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = measured_of(p);
    const template_value values[] = {{.name = "command", .text = m->command}, {0}};
    if (m->curve || report_stories[p->i].metric)
        return print_timed(f, p);
    return template_fill(f, &p->words->frames[RUN], m->context ? "counted" : "plain", values, p);
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
        {.name = "cpu", .text = known(text_of(machine, "cpu"), "unknown")},
        {.name = "cores", .text = cores},
        {.name = "l1", .text = bytes_text(machine, "l1d_bytes", l1)},
        {.name = "l2", .text = bytes_text(machine, "l2_bytes", l2)},
        {.name = "l3", .text = bytes_text(machine, "l3_bytes", l3)},
        {.name = "memory", .text = bytes_text(machine, "memory_available_bytes", all)},
        {.name = "system", .text = known(text_of(system, "name"), "unknown")},
        {.name = "huge", .text = known(text_of(system, "huge_pages"), "unknown")},
        {.name = "compiler", .text = known(text_of(build, "compiler"), "unknown")},
        {.name = "flags", .text = known(text_of(build, "flags"), "unknown")},
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
    static const char *const frames[] = {"page.html", "verdict.html", "section.html", "run.html"};
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
