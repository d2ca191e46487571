// The page: one file with everything in it, which can be read without a network, without scripts,
// and on paper.
#include <math.h>
#include <string.h>
#include <time.h>

#include "bench/report/drawing.h"
#include "bench/report/page.h"
#include "bench/report/tables.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/version.h"

const char *page_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

double page_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void page_digest(FILE *f, const char *hex)
{
    char start[13];
    snprintf(start, sizeof start, "%s", hex ? hex : "unknown");
    fputs("<code>", f);
    drawing_text(f, start);
    fputs("</code>", f);
}

const json_t *page_context(const report_data *r)
{
    for (size_t i = 0; i < REPORT_STORIES; i++)
        if (r->of[report_stories[i].of].context)
            return r->of[report_stories[i].of].context;
    return NULL;
}

const measured *page_measured(const page *p)
{
    return &p->r->of[report_stories[p->i].of];
}

const char *page_known(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static bool has_spec(const json_t *v)
{
    return page_text(v, "spec") != NULL;
}

static status print_rows(FILE *f, const page *p, bool specs)
{
    size_t i;
    json_t *v;
    json_array_foreach(p->r->verified, i, v)
    {
        if (has_spec(v) != specs)
            continue;
        const char *name = page_text(v, "model");
        static const char *const counts[] = {"longest", "logits", "logits_differing",
                                             "keys_and_values", "keys_and_values_differing"};
        fputs("<tr><th scope=\"row\" class=\"left\">", f);
        drawing_text(f, name ? name : "unnamed");
        if (!specs && page_text(v, "plugin_sha256") && page_text(v, "decoder")) {
            fputs(", ", f);
            drawing_text(f, page_text(v, "decoder"));
        }
        fputs("</th>", f);
        if (specs) {
            fputs("<td class=\"left\">", f);
            drawing_text(f, page_known(page_text(v, "decoder"), "unnamed"));
            fputs("</td>", f);
        }
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            fputs("<td>", f);
            report_whole(f, page_number(v, counts[k]));
            fputs("</td>", f);
        }
        fputs("<td>", f);
        page_digest(f, page_text(v, "build_sha256"));
        fputs("</td><td>", f);
        page_digest(f, page_text(v, "logits_sha256"));
        fputs("</td></tr>\n", f);
    }
    return NULL;
}

static status print_verified_rows(FILE *f, const void *what)
{
    return print_rows(f, what, false);
}

static status print_spec_rows(FILE *f, const void *what)
{
    return print_rows(f, what, true);
}

// What was verified of caches that keep less, or in another form, against a recompute that sees the
// same: they agree with that, and not with plain decoding.
static status print_specs(FILE *f, const void *what)
{
    static const template_value values[] = {{.name = "rows", .print = print_spec_rows}, {0}};
    const page *p = what;
    for (size_t i = 0; i < json_array_size(p->r->verified); i++)
        if (has_spec(json_array_get(p->r->verified, i)))
            return template_fill(f, &p->words->frames[PAGE_VERDICT], "specs", values, p);
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
    static const template_value values[] = {{.name = "rows", .print = print_verified_rows},
                                            {.name = "specs", .print = print_specs},
                                            {0}};
    return template_fill(f, &((const page *)what)->words->frames[PAGE_VERDICT], "compared", values,
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
    return template_fill(f, &p->words->frames[PAGE_VERDICT], part, values, p);
}

static status print_conclusion(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = page_measured(p);
    if (!m->conclusion || strcmp(m->name, "throughput") == 0) // its table is that already
        return NULL;
    const char *text = m->conclusion + strspn(m->conclusion, "\n");
    if (!*text)
        return NULL;
    const bool one = strchr(text, '\n') == text + strlen(text) - 1; // one line is no table
    const template_value values[] = {{.name = "conclusion", .text = text}, {0}};
    return template_fill(f, &p->words->frames[PAGE_SECTION], one ? "sentence" : "lines", values, p);
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
    return template_fill(f, &p->words->frames[PAGE_SECTION], part, values, p);
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
    report_prose(f, own ? own : page_measured(p)->question);
    return NULL;
}

static status print_section(FILE *f, const page *p)
{
    const template *words = &p->words->stories[p->i];
    const measured *m = page_measured(p);
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
                                     {.name = "run", .print = page_print_run},
                                     {0}};
    return template_fill(f, &p->words->frames[PAGE_SECTION], *m->problem ? "missing" : "measured",
                         values, p);
}

static status print_entry(FILE *f, const page *p)
{
    const bool missing = *page_measured(p)->problem;
    const template_value values[] = {
        {.name = "id", .text = report_stories[p->i].id},
        {.name = "title", .html = template_part(&p->words->stories[p->i], "title")},
        {.name = "question",
         .text = missing ? "not measured" : NULL,
         .print = missing ? NULL : print_question},
        {0}};
    return template_fill(f, &p->words->frames[PAGE_FRAME], "entry", values, p);
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
    const double bytes = page_number(object, key);
    return bytes > 0 ? format_bytes(bytes, text) : "unknown";
}

static status print_build(FILE *f, const void *what)
{
    const page *p = what;
    page_digest(f, page_text(json_object_get(page_context(p->r), "build"), "sha256"));
    return NULL;
}

// A model's shape, with the letters that the page uses.
static const char *shape_text(const json_t *m, char text[256])
{
    snprintf(text, 256,
             "%.0f layers (L), %.0f channels (C), %.0f heads (H), %.0f K/V heads (G), %.0f inner "
             "channels (F), %.0f tokens known (V), %.0f positions at most",
             page_number(m, "layers"), page_number(m, "channels"), page_number(m, "heads"),
             page_number(m, "kv_heads"), page_number(m, "inner"), page_number(m, "vocabulary"),
             page_number(m, "context"));
    return text;
}

static status print_machine(FILE *f, const void *what)
{
    const page *p = what;
    const json_t *context = page_context(p->r), *machine = json_object_get(context, "machine"),
                 *system = json_object_get(context, "system"),
                 *build = json_object_get(context, "build"),
                 *of = json_object_get(context, "model");
    char shape[256], cores[FORMAT_ROOM], l1[FORMAT_ROOM], l2[FORMAT_ROOM], l3[FORMAT_ROOM],
        all[FORMAT_ROOM];
    if (!context)
        return NULL;
    snprintf(cores, sizeof cores, "%.0f", page_number(machine, "cores"));
    const template_value values[] = {
        {.name = "model", .text = page_known(page_text(of, "name"), "unknown")},
        {.name = "shape", .text = shape_text(of, shape)},
        {.name = "cpu", .text = page_known(page_text(machine, "cpu"), "unknown")},
        {.name = "cores", .text = cores},
        {.name = "l1", .text = bytes_text(machine, "l1d_bytes", l1)},
        {.name = "l2", .text = bytes_text(machine, "l2_bytes", l2)},
        {.name = "l3", .text = bytes_text(machine, "l3_bytes", l3)},
        {.name = "memory", .text = bytes_text(machine, "memory_available_bytes", all)},
        {.name = "system", .text = page_known(page_text(system, "name"), "unknown")},
        {.name = "huge", .text = page_known(page_text(system, "huge_pages"), "unknown")},
        {.name = "compiler", .text = page_known(page_text(build, "compiler"), "unknown")},
        {.name = "flags", .text = page_known(page_text(build, "flags"), "unknown")},
        {.name = "build", .print = print_build},
        {0}};
    return template_fill(f, &p->words->frames[PAGE_FRAME], "machine", values, p);
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
    return template_fill(f, &p->words->frames[PAGE_FRAME], "page", values, p);
}

// All files of plots/page/.
static status read_words(page_words *words)
{
    static const char dir[] = SOURCE_DIR "/plots/page";
    static const char *const frames[] = {"page.html", "verdict.html", "section.html", "run.html"};
    char name[64];
    status failed = template_file(dir, "style.css", &words->style);
    for (size_t i = 0; i < PAGE_FRAMES && !failed; i++)
        failed = template_read(dir, frames[i], &words->frames[i]);
    for (size_t i = 0; i < REPORT_STORIES && !failed; i++) {
        snprintf(name, sizeof name, "sections/%s.html", report_stories[i].id);
        failed = template_read(dir, name, &words->stories[i]);
    }
    return failed;
}

static void free_words(page_words *words)
{
    for (size_t i = 0; i < PAGE_FRAMES; i++)
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
