// bench curves: runs the experiments one after the other, each within its budget, each to be
// resumed at any sample.
#include "bench/curves/curves.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/interrupt.h"
#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "common/base/memory.h"
#include "common/text/utf8.h"
#include "naive/naive.h"

static const char usage[] =
    "build/bench curves [options] [EXPERIMENT ...]: what a step costs against context, layers and "
    "tokens\n\n"
    "  -m, --model DIR|synthetic:...  instead of the experiment's own model\n"
    "  -c, --contexts 16,32,100-103   the places on the x axis instead of its own: contexts, or "
    "tokens, or layers\n"
    "  -b, --budget SECONDS           for all that is asked for (default: what is listed below)\n"
    "  -n, --samples N                take N samples of each instead, however long it lasts; 6 or "
    "more\n"
    "  -s, --seed N                   of the order in which samples are taken (default 0)\n"
    "  -o, --out DIR                  where NAME-samples.csv and the like go (default: "
    "build/results/curves)\n" SUBJECT_USAGE
    "                                 without either: kvcache; naive is measured beside it\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n\n"
    "Run again, an experiment that was stopped goes on where it stopped. The experiments, and "
    "their seconds:\n\n";

static status take(void *user, size_t cell, double *values)
{
    lab *l = user;
    return l->what->measure(l, cell / l->xs, cell % l->xs, values);
}

static double work(const void *user, size_t cell)
{
    const lab *l = user;
    double all = 0;
    for (size_t k = 0; k < l->metrics; k++)
        all += l->what->count(l, k, cell / l->xs, cell % l->xs);
    return all;
}

static rounds_label label(const void *user, size_t cell, size_t value)
{
    const lab *l = user;
    return (rounds_label){model_label(lab_model(l, cell % l->xs)), l->of.at[cell / l->xs].name,
                          l->what->metrics[value], l->x[cell % l->xs]};
}

// The digests of all models, by name.
static status digests(const lab *l, json_t **out)
{
    *out = json_object();
    for (size_t i = 0; i < l->xs; i++) {
        char digest[65];
        status failed = model_digest(lab_model(l, i), digest);
        if (!failed && utf8_set_new(*out, model_label(lab_model(l, i)), json_string(digest)) != 0)
            failed = memory_failed("the models' digests");
        if (failed)
            return failed;
    }
    return NULL;
}

static status list_places_as_json(const lab *l, json_t **out)
{
    *out = json_array();
    for (size_t i = 0; i < l->xs; i++)
        if (json_array_append_new(*out, json_integer((json_int_t)l->x[i])) != 0)
            return memory_failed("the list of places");
    return NULL;
}

// NAME-context.json as it is at the beginning.
static status describe(const lab *l, json_t **out)
{
    json_t *models = NULL, *places = NULL, *decoders = subjects_json(&l->of);
    status failed = machine_context(l->models[0], out);
    if (!failed)
        failed = digests(l, &models);
    if (!failed)
        failed = list_places_as_json(l, &places);
    if (!failed && !decoders)
        failed = memory_failed("the list of decoders");
    json_t *about = json_pack(
        "{s:s, s:s, s:O, s:O, s:O, s:I, s:[I, I], s:s?}", "name", l->what->name, "x", l->what->x,
        "places", places, "decoders", decoders, "models", models, "seed", (json_int_t)l->o->seed,
        "fitted", (json_int_t)l->x[l->first], (json_int_t)l->x[l->last], "level", l->level);
    json_decref(models);
    json_decref(places);
    json_decref(decoders);
    if (!failed && json_object_set(*out, "experiment", about) != 0)
        failed = memory_failed("the description of an experiment");
    json_decref(about);
    return failed;
}

// The first thing that samples depend on and that is not the same in two descriptions; NULL if
// there is none.
static const char *difference(const json_t *old, const json_t *now)
{
    static const struct {
        const char *object, *key, *name;
    } parts_of[] = {{"build", "sha256", "build"},
                    {"experiment", "models", "model"},
                    {"experiment", "places", "list of places"},
                    {"experiment", "decoders", "list of decoders"},
                    {"experiment", "seed", "seed"}};
    for (size_t i = 0; i < sizeof parts_of / sizeof *parts_of; i++)
        if (!json_equal(json_object_get(json_object_get(old, parts_of[i].object), parts_of[i].key),
                        json_object_get(json_object_get(now, parts_of[i].object), parts_of[i].key)))
            return parts_of[i].name;
    return NULL;
}

// *old: the description that samples which can be gone on with have left; NULL: there are none.
static status earlier(const lab *l, const char *file, const json_t *now, json_t **old)
{
    *old = NULL;
    status failed = file_exists(l->dir, file) ? file_read_json(l->dir, file, old) : NULL;
    if (failed)
        return status_fail("%s; or remove it to begin anew", failed);
    const char *other = *old ? difference(*old, now) : NULL;
    if (!other)
        return NULL;
    fprintf(stderr, "note: %s/%s: measured with another %s: begun anew\n", l->dir, file, other);
    json_decref(*old);
    *old = NULL;
    return NULL;
}

// Adds what has come of it, and writes the description.
static status write_context(const lab *l, const char *file, json_t *context)
{
    status failed = rounds_describe(&l->rounds, json_object_get(context, "experiment"));
    return failed ? failed : results_write_json(l->dir, file, context);
}

static status open_rounds(lab *l, const char *context_file, const json_t *context)
{
    char file[64];
    snprintf(file, sizeof file, "%s-samples.csv", l->what->name);
    const rounds_job job = {.name = l->what->name,
                            .x = l->what->x,
                            .unit = l->what->unit,
                            .cells = l->of.n * l->xs,
                            .values = l->metrics,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = l,
                            .samples = l->o->samples,
                            .budget_s = l->budget_s,
                            .seed = l->o->seed};
    json_t *old;
    status failed = earlier(l, context_file, context, &old);
    if (!failed)
        failed = rounds_open(&job, l->dir, file, old, &l->rounds);
    if (old)
        rounds_resume(&l->rounds, json_object_get(old, "experiment"));
    json_decref(old);
    if (!failed && l->rounds.taken > 0)
        fprintf(stderr, "%s: going on after sample %zu\n", l->what->name, l->rounds.taken);
    return failed;
}

// Opens the samples, takes what is missing, and writes down how it went.
static status measure(lab *l)
{
    char context_file[64], what[256];
    json_t *context = NULL;
    snprintf(context_file, sizeof context_file, "%s-context.json", l->what->name);
    snprintf(what, sizeof what, "%s: %zu places, %zu decoders", l->what->name, l->xs, l->of.n);
    status failed = describe(l, &context);
    if (!failed)
        failed = open_rounds(l, context_file, context);
    if (!failed)
        failed = write_context(l, context_file, context);
    if (!failed)
        failed = rounds_run(&l->rounds, what);
    if (!failed)
        failed = lab_write(l, context);
    if (!failed)
        failed = write_context(l, context_file, context);
    json_decref(context);
    return failed;
}

static status list_places(lab *l, size_t most)
{
    size_t *list, n;
    status failed = l->o->contexts
                        ? bench_options_contexts(l->o->contexts, most, &list, &n, &l->exit_code)
                        : contexts_doubling(most, &list, &n);
    if (!failed && n > CURVES_X) {
        failed = status_fail("--contexts: %zu places are more than the %d of an experiment", n,
                             CURVES_X);
        l->exit_code = EXIT_USAGE;
    }
    for (size_t i = 0; i < n && !failed; i++)
        l->x[l->xs++] = list[i];
    memory_free(list);
    return failed;
}

// The places: those asked for, or the experiment's own as far as the model allows.
static status choose_places(lab *l)
{
    size_t most = l->what->most(l->models[0] ? &l->models[0]->config : NULL);
    if (most == 0)
        return status_fail("%s: too short a context to measure; use another model",
                           model_label(l->models[0]));
    if (l->o->contexts || !l->what->places)
        return list_places(l, most);
    for (const size_t *place = l->what->places; *place && *place <= most; place++)
        l->x[l->xs++] = *place;
    return NULL;
}

static status load(lab *l)
{
    const bench_options *o = l->o;
    if (!l->what->model && o->model_given)
        fprintf(stderr, "note: %s makes its own models: --model does not count\n", l->what->name);
    if (!l->what->model)
        return NULL;
    const char *name = o->model_given || !*l->what->model ? o->model : l->what->model;
    status failed = subjects_check_memory(
        o, &(subjects_need){.model = name, .first = naive_decoder.name, .firsts = 1, .others = 1});
    return failed ? failed : model_load(name, &l->models[0]);
}

// No folder is in the way of what will be written: NAME-summary.csv and the like.
static status check_places(const lab *l)
{
    static const char *const files[] = {"summary.csv",    "counts.csv",   "fits.csv",
                                        "conclusion.txt", "context.json", NULL};
    char before[32];
    snprintf(before, sizeof before, "%s-", l->what->name);
    return results_check_places(l->dir, before, files);
}

static status run(lab *l)
{
    while (l->what->metrics[l->metrics])
        l->metrics++;
    status failed = check_places(l);
    if (!failed)
        failed = load(l);
    if (!failed)
        failed = subjects_open(l->o, naive_decoder.name, &l->of);
    if (!failed)
        failed = choose_places(l);
    if (!failed && l->what->open)
        failed = l->what->open(l);
    if (failed)
        return failed;
    lab_settle_range(l);
    failed = measure(l);
    if (!failed)
        failed = lab_report(l);
    fflush(stdout); // before the next one's progress, which goes to standard error
    return failed;
}

static void release(lab *l)
{
    rounds_close(&l->rounds);
    for (size_t d = 0; l->parts && d < l->of.n; d++)
        parts_free(&l->parts[d]);
    memory_free(l->parts);
    for (size_t i = 0; i < CURVES_X; i++) {
        workload_free(&l->work[i]);
        model_free(l->models[i]);
    }
    subjects_free(&l->of);
}

// An experiment with `share` times its own budget.
static status run_experiment(const experiment *e, const bench_options *o, const char *dir,
                             double share, int *exit_code)
{
    lab *l = memory_array(1, sizeof *l);
    if (!l)
        return memory_failed("an experiment");
    *l = (lab){.what = e, .o = o, .budget_s = share * e->budget_s};
    snprintf(l->dir, sizeof l->dir, "%s", dir);
    status failed = run(l);
    *exit_code = !failed && l->rounds.partial ? interrupt_exit_code() : l->exit_code;
    release(l);
    memory_free(l);
    return failed;
}

static void print_help(void)
{
    fputs(usage, stdout);
    for (size_t i = 0; i < EXPERIMENTS; i++)
        printf("  %-11s %3.0f  %s\n", experiments[i].name, experiments[i].budget_s,
               experiments[i].question);
}

// Marks the experiments that were named; all if none was.
static status choose(const bench_options *o, bool chosen[EXPERIMENTS])
{
    for (size_t w = 0; w < o->word_count; w++) {
        size_t i = 0;
        while (i < EXPERIMENTS && strcmp(o->words[w], experiments[i].name) != 0)
            i++;
        if (i == EXPERIMENTS)
            return status_fail("there is no experiment '%s'; build/bench curves --help lists them",
                               o->words[w]);
        chosen[i] = true;
    }
    for (size_t i = 0; i < EXPERIMENTS && o->word_count == 0; i++)
        chosen[i] = true;
    return NULL;
}

// build/results to build/results/curves
static status make_folder(char dir[FILE_PATH_SIZE])
{
    char folder[FILE_PATH_SIZE];
    status failed = file_path(dir, "curves", folder);
    return failed ? failed : results_make(folder, dir);
}

static status run_chosen(const bench_options *o, const bool chosen[EXPERIMENTS], int *exit_code)
{
    char dir[FILE_PATH_SIZE];
    double budgets_s = 0;
    for (size_t i = 0; i < EXPERIMENTS; i++)
        budgets_s += chosen[i] ? experiments[i].budget_s : 0;
    int lock = -1;
    status failed = results_make(o->out, dir);
    if (!failed && !o->out)
        failed = make_folder(dir);
    if (!failed)
        failed = results_lock(dir, &lock);
    for (size_t i = 0; i < EXPERIMENTS && !failed && *exit_code == 0; i++)
        if (chosen[i])
            failed = run_experiment(&experiments[i], o, dir,
                                    o->budget > 0 ? o->budget / budgets_s : 1, exit_code);
    results_unlock(lock);
    return failed;
}

static status curves_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    bool chosen[EXPERIMENTS] = {false};
    status failed = choose(o, chosen);
    if (failed) {
        *exit_code = EXIT_USAGE;
        return failed;
    }
    interrupt_catch();
    failed = run_chosen(o, chosen, exit_code);
    interrupt_release();
    return failed;
}

status curves_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "*m:c:b:n:s:o:d:k:t:", "", &o, exit_code);
    if (!failed)
        failed = bench_options_enough_samples(&o, exit_code);
    if (failed)
        return failed;
    if (o.help) {
        print_help();
        return NULL;
    }
    return subjects_contain(curves_body, &o, exit_code);
}
