// How a measurement went and what disturbed it, told in the words of plots/page/run.html.
#include <math.h>

#include "bench/report/page.h"
#include "common/base/format.h"

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
    page_digest(f, page_text(json_object_get(page_measured(what)->context, "model"), "sha256"));
    return NULL;
}

static status print_program(FILE *f, const void *what)
{
    page_digest(f, page_text(json_object_get(page_measured(what)->context, "build"), "sha256"));
    return NULL;
}

static status print_of(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = page_measured(p);
    const char *name = page_text(json_object_get(m->context, "model"), "name"),
               *part = m->curve && !m->curve->model ? "of-first-model" : "of-model";
    const template_value values[] = {{.name = "model", .text = name}, {0}};
    return name ? template_fill(f, &p->words->frames[PAGE_RUN], part, values, p) : NULL;
}

// What the host took from this machine, where that can be seen.
static status print_stolen(FILE *f, const void *what)
{
    const page *p = what;
    const double steal = page_number(about(page_measured(p)), "steal_s");
    char text[FORMAT_ROOM];
    const template_value values[] = {{.name = "steal", .text = fixed(steal, 1, text)}, {0}};
    return steal >= 0.05 ? template_fill(f, &p->words->frames[PAGE_RUN], "stolen", values, p)
                         : NULL;
}

// What a CPU quota did to the samples.
static status print_throttled(FILE *f, const void *what)
{
    const page *p = what;
    const json_t *run = about(page_measured(p));
    char n[FORMAT_ROOM], all[FORMAT_ROOM];
    const template_value values[] = {
        {.name = "throttled", .text = whole(page_number(run, "throttled"), n)},
        {.name = "requests", .text = whole(page_number(run, "requests"), all)},
        {0}};
    return page_number(run, "throttled") > 0
               ? template_fill(f, &p->words->frames[PAGE_RUN], "throttled", values, p)
               : NULL;
}

static status print_held(FILE *f, const void *what)
{
    const page *p = what;
    const char *level = page_text(about(page_measured(p)), "level");
    const template_value values[] = {{.name = "level", .text = level}, {0}};
    return level ? template_fill(f, &p->words->frames[PAGE_RUN], "held", values, p) : NULL;
}

static status print_range(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = page_measured(p);
    const json_t *fitted = json_object_get(about(m), "fitted");
    char from[FORMAT_ROOM], to[FORMAT_ROOM];
    if (!m->curve || json_array_size(fitted) != 2)
        return NULL;
    const template_value values[] = {
        {.name = "from", .text = whole(json_number_value(json_array_get(fitted, 0)), from)},
        {.name = "to", .text = whole(json_number_value(json_array_get(fitted, 1)), to)},
        {.name = "held", .print = print_held},
        {0}};
    return template_fill(f, &p->words->frames[PAGE_RUN], "range", values, p);
}

static status print_elsewhere(FILE *f, const void *what)
{
    const page *p = what;
    const json_t *context = page_measured(p)->context,
                 *machine = json_object_get(context, "machine");
    char cores[FORMAT_ROOM];
    const template_value values[] = {
        {.name = "cpu", .text = page_known(page_text(machine, "cpu"), "unknown processor")},
        {.name = "cores", .text = whole(page_number(machine, "cores"), cores)},
        {.name = "build", .print = print_program},
        {0}};
    return is_elsewhere(context, page_context(p->r))
               ? template_fill(f, &p->words->frames[PAGE_RUN], "elsewhere", values, p)
               : NULL;
}

// A part of run.html if it applies.
static const char *part_if(const page *p, bool applies, const char *part)
{
    return applies ? template_part(&p->words->frames[PAGE_RUN], part) : "";
}

// How the measurement went, and what disturbed it.
static status print_timed(FILE *f, const page *p)
{
    const measured *m = page_measured(p);
    const json_t *run = about(m);
    const double change = page_number(run, "drift");
    char text[8][FORMAT_ROOM];
    const template_value values[] = {
        {.name = "throttled", .print = print_throttled},
        {.name = "command", .text = m->command},
        {.name = "of", .print = print_of},
        {.name = "weights", .print = print_weights},
        {.name = "rounds", .text = whole(page_number(run, "rounds"), text[0])},
        {.name = "requests", .text = whole(page_number(run, "requests"), text[1])},
        {.name = "seconds", .text = fixed(page_number(run, "seconds"), 0, text[2])},
        {.name = "partial",
         .html = part_if(p, json_is_true(json_object_get(run, "partial")), "partial")},
        {.name = "outliers", .text = whole(page_number(run, "outliers"), text[3])},
        {.name = "values", .text = whole(page_number(run, "values"), text[4])},
        {.name = "drift", .text = fixed(100 * fabs(change), 1, text[5])},
        {.name = "direction", .html = part_if(p, true, change < 0 ? "faster" : "slower")},
        {.name = "clear",
         .html = part_if(p, json_is_true(json_object_get(run, "drift_clear")), "clear")},
        {.name = "switches", .text = whole(page_number(run, "involuntary_switches"), text[6])},
        {.name = "stolen", .print = print_stolen},
        {.name = "range", .print = print_range},
        {.name = "load",
         .text =
             fixed(page_number(json_object_get(m->context, "system"), "load_1min"), 1, text[7])},
        {.name = "elsewhere", .print = print_elsewhere},
        {0}};
    return template_fill(f, &p->words->frames[PAGE_RUN], "measured", values, p);
}

// Where nothing was timed, it does not matter how steady the machine was.
status page_print_run(FILE *f, const void *what)
{
    const page *p = what;
    const measured *m = page_measured(p);
    const template_value values[] = {{.name = "command", .text = m->command}, {0}};
    if (m->curve || report_stories[p->i].metric)
        return print_timed(f, p);
    return template_fill(f, &p->words->frames[PAGE_RUN],
                         m->context && m->n > 0 ? "counted" : "plain", values, p);
}
