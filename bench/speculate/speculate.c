// bench speculate: which cells there are, and what came of them.
#include "bench/speculate/speculate.h"

#include <stdio.h>
#include <string.h>

#include "bench/base/interrupt.h"
#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/measure/rounds.h"
#include "bench/speculate/cells.h"
#include "bench/subject/subject.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/text/utf8.h"

static const char usage[] =
    "build/bench speculate [options]: time per token with and without drafts\n\n"
    "  -m, --model DIR|synthetic:...  where acceptance is forced, and passes over several rows\n"
    "                                 are timed (default: " BENCH_MODEL ")\n"
    "  -n, --samples N                of each cell (default: as many as fit --budget, at least 6)\n"
    "  -b, --budget SECONDS           (default 90)\n"
    "  -s, --seed S                   of the order of the samples\n"
    "  -q, --quick                    6 samples of texts a quarter as long\n"
    "  -o, --out DIR                  results, speculate*.csv and speculate.json (default:\n"
    "                                 build/results)\n"
    "  -j, --json                     print speculate.json in place of the tables\n\n"
    "The texts continue a speaker's name, at temperatures 0 and 1, with the embedded model; seed\n"
    "and speaker are another for each sample, the same for every draft.\n";

enum { EMBEDDED, LARGE, SITES };
enum { MOST_CELLS = 64, MOST_ROWS = 32, TEXT = 160, LARGE_TEXT = 24, BUDGET_S = 90 };

typedef struct speculate_run {
    bench_options o;
    site sites[SITES];
    cell cells[MOST_CELLS];
    size_t n;
    rounds rounds;
    char dir[FILE_PATH_SIZE];
} speculate_run;

static void add_cell(speculate_run *r, cell c, const char *name)
{
    snprintf(c.name, sizeof c.name, "%s", name);
    r->cells[r->n++] = c;
}

static void list_cells(speculate_run *r)
{
    static const size_t ks[] = {1, 2, 4, 8}, rows_of[] = {1, 2, 4, 6, 8, 16, MOST_ROWS};
    static const double rates[] = {0.5, 0.7, 0.9};
    for (int t = 0; t < 2; t++) {
        const cell plain = {.kind = CELL_PLAIN, .at = &r->sites[EMBEDDED], .temperature = (float)t};
        add_cell(r, plain, "plain");
        for (size_t i = 0; i < 8; i++) {
            cell drafted = plain;
            drafted.kind = CELL_DRAFT;
            drafted.x = ks[i % 4];
            add_cell(r, drafted, i < 4 ? "draft" : "lookup");
        }
    }
    add_cell(r, (cell){.kind = CELL_PLAIN, .at = &r->sites[LARGE]}, "plain");
    for (size_t i = 0; i < 9; i++) {
        char name[CELL_NAME];
        snprintf(name, sizeof name, "right %.1f", rates[i / 3]);
        add_cell(r,
                 (cell){.kind = CELL_FORCED,
                        .at = &r->sites[LARGE],
                        .rate = rates[i / 3],
                        .x = ks[1 + i % 3]},
                 name);
    }
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++)
        add_cell(r, (cell){.kind = CELL_ROWS, .at = &r->sites[LARGE], .x = rows_of[i]}, "rows");
}

static status take(void *user, size_t i, double *values)
{
    return cell_take(&((speculate_run *)user)->cells[i], values);
}

// In multiply-adds of a linear layer's row, roughly: all the bar's estimate of time needs.
static double work(const void *user, size_t i)
{
    const cell *c = &((const speculate_run *)user)->cells[i];
    const config *of = &c->at->m->config;
    const double row = (double)(12 * of->C * of->C * of->L + of->C * of->V);
    return row * (c->kind == CELL_ROWS ? 2 + (double)c->x / 8 : (double)c->at->tokens);
}

static rounds_label label(const void *user, size_t i, size_t value)
{
    static const char *const metrics[] = {"token at temperature 0", "token at temperature 1"};
    const cell *c = &((const speculate_run *)user)->cells[i];
    (void)value;
    return (rounds_label){model_label(c->at->m), c->name,
                          c->kind == CELL_ROWS ? "pass" : metrics[c->temperature > 0], c->x};
}

static estimate ns_of(const speculate_run *r, size_t i)
{
    return rounds_estimate(&r->rounds, i, 0);
}

// What a cell is compared with: the last plain one before it, and of passes that over one row.
static size_t base_of(const speculate_run *r, size_t i)
{
    const cell_kind kind = r->cells[i].kind;
    while (kind == CELL_ROWS ? r->cells[i].x != 1 : r->cells[i].kind != CELL_PLAIN)
        i--;
    return i;
}

static double tokens_per_pass(const cell *c)
{
    return (double)speculation_tokens(&c->counts) / (double)speculation_passes(&c->counts);
}

// "yes" and "no" where the intervals lie apart.
static const char *pays(estimate with, estimate without)
{
    return with.hi < without.lo ? "yes" : with.lo > without.hi ? "no" : "unclear";
}

static void print_texts(const speculate_run *r, cell_kind kind)
{
    printf("  %-11s %2s %11s %11s %12s %10s %13s %9s  %s\n", "draft", "k", "temperature",
           "acceptance", "tokens/pass", "predicted", "time a token", "speed-up", "pays");
    for (size_t i = 0; i < r->n; i++) {
        const cell *c = &r->cells[i];
        const estimate with = ns_of(r, i), without = ns_of(r, base_of(r, i));
        char time[FORMAT_ROOM];
        format_ns(with.median, time);
        if (c->kind == CELL_PLAIN && c->at == &r->sites[kind == CELL_FORCED ? LARGE : EMBEDDED])
            printf("  %-11s %2s %11.0f %11s %12s %10s %13s\n", c->name, "", (double)c->temperature,
                   "", "", "", time);
        else if (c->kind == kind)
            printf("  %-11s %2zu %11.0f %11.3f %12.2f %10.2f %13s %9.2f  %s\n", c->name, c->x,
                   (double)c->temperature, speculation_rate(&c->counts), tokens_per_pass(c),
                   speculation_predicted(&c->counts), time, without.median / with.median,
                   pays(with, without));
    }
}

static void print_rows(const speculate_run *r)
{
    printf("  %4s %10s %12s\n", "rows", "time", "of one row");
    for (size_t i = 0; i < r->n; i++) {
        char time[FORMAT_ROOM];
        if (r->cells[i].kind == CELL_ROWS)
            printf("  %4zu %10s %12.2f\n", r->cells[i].x, format_ns(ns_of(r, i).median, time),
                   ns_of(r, i).median / ns_of(r, base_of(r, i)).median);
    }
}

static void print_tables(const speculate_run *r)
{
    printf("%s: texts of %zu tokens, each with another speaker and seed\n",
           model_label(r->sites[EMBEDDED].m), r->sites[EMBEDDED].tokens);
    print_texts(r, CELL_DRAFT);
    printf("\n%s: a simulation. Each drafted token is right with a given chance, by a generator,\n"
           "and costs nothing: what a draft of that quality could gain at most\n",
           model_label(r->sites[LARGE].m));
    print_texts(r, CELL_FORCED);
    printf("\n%s: one pass over n rows, all logits wanted, behind a context of %zu\n",
           model_label(r->sites[LARGE].m), r->sites[LARGE].context);
    print_rows(r);
}

// For the picture: what a pass over n rows costs, in passes over one; and the tokens that n - 1
// drafted ones give, by the prediction, for rates of acceptance.
static status print_picture(FILE *f, const void *what)
{
    static const double rates[] = {0.5, 0.755, 0.9};
    const speculate_run *r = what;
    fprintf(f, "model,decoder,metric,rows,ratio\n");
    for (size_t a = 0; a <= sizeof rates / sizeof *rates; a++)
        for (size_t i = 0; i < r->n; i++) {
            const cell *c = &r->cells[i];
            if (c->kind != CELL_ROWS)
                continue;
            speculation_counts given = {.judged = {1000}};
            given.passes[c->x - 1] = 1;
            given.accepted[0] = a > 0 ? (size_t)(1000 * rates[a - 1]) : 0;
            results_csv_text(f, model_label(c->at->m));
            if (a == 0)
                fprintf(f, ",cost,ratio,%zu,%.6g\n", c->x,
                        ns_of(r, i).median / ns_of(r, base_of(r, i)).median);
            else
                fprintf(f, ",tokens-at-%.3g,ratio,%zu,%.6g\n", rates[a - 1], c->x,
                        speculation_predicted(&given));
        }
    return NULL;
}

static json_t *cell_json(const speculate_run *r, size_t i)
{
    const cell *c = &r->cells[i];
    const estimate ns = ns_of(r, i), base = ns_of(r, base_of(r, i));
    const size_t passes = speculation_passes(&c->counts);
    return json_pack("{s:o, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:f}", "model",
                     utf8_text(model_label(c->at->m)), "draft", c->name, "metric",
                     label(r, i, 0).metric, "x", (json_int_t)c->x, "ns", ns.median, "ci_lo_ns",
                     ns.lo, "ci_hi_ns", ns.hi, "speed_up", base.median / ns.median, "passes",
                     (json_int_t)passes, "tokens", (json_int_t)speculation_tokens(&c->counts),
                     "acceptance", speculation_rate(&c->counts), "predicted",
                     speculation_predicted(&c->counts));
}

static status describe(const speculate_run *r, json_t **out)
{
    status failed = machine_context(r->sites[LARGE].m, out);
    json_t *cells = json_array();
    for (size_t i = 0; i < r->n && !failed; i++)
        if (json_array_append_new(cells, cell_json(r, i)) != 0)
            failed = memory_failed("the results");
    if (!failed && json_object_set(*out, "cells", cells) != 0)
        failed = memory_failed("the results");
    json_decref(cells);
    return failed ? failed : rounds_describe(&r->rounds, *out);
}

static status finish(speculate_run *r)
{
    json_t *about = NULL;
    status failed = describe(r, &about);
    if (!failed)
        failed = results_write_json(r->dir, "speculate.json", about);
    if (!failed)
        failed = results_write(r->dir, "speculate-summary.csv", rounds_print_summary, &r->rounds);
    if (!failed)
        failed = results_write(r->dir, "speculate.csv", print_picture, r);
    if (!failed && r->o.json)
        json_dumpf(about, stdout, JSON_INDENT(2));
    else if (!failed)
        print_tables(r);
    json_decref(about);
    return failed || r->o.json ? failed : rounds_print_noise(&r->rounds);
}

static status measure(speculate_run *r, int *exit_code)
{
    const rounds_job job = {.name = "speculate",
                            .x = "k_or_rows",
                            .unit = "ns",
                            .cells = r->n,
                            .values = 1,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = r,
                            .samples = r->o.samples ? r->o.samples
                                       : r->o.quick ? STATS_MIN_SAMPLES
                                                    : 0,
                            .budget_s = r->o.budget > 0 ? r->o.budget : BUDGET_S,
                            .seed = r->o.seed};
    status failed = rounds_open(&job, r->dir, "speculate-samples.csv", false, &r->rounds);
    interrupt_catch();
    if (!failed)
        failed = rounds_run(&r->rounds, "speculation");
    interrupt_release();
    if (!failed && r->rounds.partial) {
        *exit_code = interrupt_exit_code();
        return status_fail("interrupted: the samples so far are in %s/speculate-samples.csv",
                           r->dir);
    }
    return failed ? failed : finish(r);
}

// The folder for the results, free for this process and without a folder in the way.
static status take_folder(speculate_run *r, int *lock)
{
    static const char *const files[] = {"speculate.json", "speculate-summary.csv", "speculate.csv",
                                        NULL};
    return results_take(r->o.out, files, r->dir, lock);
}

// Two decoders of the larger model.
static status check_memory(const speculate_run *r)
{
    return subjects_check_memory(
        &r->o, &(subjects_need){.model = r->o.model_given ? r->o.model : BENCH_MODEL, .others = 2});
}

status speculate_command(int argc, char **argv, int *exit_code)
{
    speculate_run r = {0};
    int lock = -1;
    status failed = bench_options_parse(argc, argv, "m:n:b:s:o:qj", usage, &r.o, exit_code);
    if (failed || r.o.help)
        return failed;
    failed = bench_options_enough_samples(&r.o, exit_code);
    if (!failed)
        failed = take_folder(&r, &lock);
    if (!failed)
        failed = check_memory(&r);
    if (!failed)
        failed = site_open(model_default(), r.o.quick ? TEXT / 4 : TEXT, 0, &r.sites[EMBEDDED]);
    if (!failed)
        failed = site_open(r.o.model_given ? r.o.model : BENCH_MODEL, LARGE_TEXT, MOST_ROWS,
                           &r.sites[LARGE]);
    if (!failed) {
        list_cells(&r);
        failed = measure(&r, exit_code);
    }
    rounds_close(&r.rounds);
    for (size_t i = 0; i < SITES; i++)
        site_free(&r.sites[i]);
    results_unlock(lock);
    return failed;
}
