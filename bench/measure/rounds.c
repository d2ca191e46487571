// Rounds in seeded random order, within a budget, on disk sample by sample.
#include "bench/measure/rounds.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/base/interrupt.h"
#include "bench/base/machine.h"
#include "bench/base/options.h"
#include "bench/base/progress.h"
#include "bench/base/results.h"
#include "common/base/clock.h"
#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/random.h"

enum { MOST_SAMPLES = 100, PROBE_SHARE = 32 };

static double elapsed_s(const rounds *r)
{
    return r->spent_s + (r->begin_ns ? (double)(clock_ns() - r->begin_ns) * 1e-9 : 0);
}

// Rounds still to come, as things look now: what was asked for, or what the budget allows.
static size_t rounds_left(const rounds *r)
{
    size_t total = r->job.samples;
    if (total == 0) {
        double left_s = r->job.budget_s - elapsed_s(r);
        double affordable =
            (double)r->whole + (r->round_s > 0 && left_s > 0 ? left_s / r->round_s : 0);
        total = affordable < STATS_MIN_SAMPLES ? STATS_MIN_SAMPLES
                : affordable > MOST_SAMPLES    ? MOST_SAMPLES
                                               : (size_t)affordable;
    }
    return total > r->whole ? total - r->whole : 0;
}

static void plan(rounds *r)
{
    r->planned_s = elapsed_s(r) + (double)rounds_left(r) * r->round_s;
}

// The order of a round follows from the seed and the round's number: one that was stopped can go
// on.
static void shuffle(rounds *r)
{
    uint64_t random = random_splitmix64(r->job.seed ^ random_splitmix64(r->whole));
    for (size_t i = 0; i < r->job.cells; i++)
        r->order[i] = i;
    for (size_t i = r->job.cells; i > 1; i--) { // Fisher and Yates
        random = random_splitmix64(random);
        size_t j = random % i, other = r->order[j];
        r->order[j] = r->order[i - 1];
        r->order[i - 1] = other;
    }
}

static status reserve(rounds *r, size_t samples)
{
    size_t *cell = memory_resize(r->cell, samples, sizeof *cell);
    r->cell = cell ? cell : r->cell;
    double *values = memory_resize(r->values, samples * r->job.values, sizeof *values);
    r->values = values ? values : r->values;
    bool *throttled = memory_resize(r->throttled, samples, sizeof *throttled);
    r->throttled = throttled ? throttled : r->throttled;
    double *sorted = memory_resize(r->sorted, samples, sizeof *sorted);
    r->sorted = sorted ? sorted : r->sorted;
    return cell && values && throttled && sorted ? NULL : memory_failed("the samples");
}

// The rows of sample i, which is the n-th of its cell.
static void print_rows(FILE *f, const rounds *r, size_t i, size_t n)
{
    for (size_t k = 0; k < r->job.values; k++)
        fprintf(f, "%s,%zu,%zu,%.0f,%d\n", r->labels[r->cell[i] * r->job.values + k], n, i,
                r->values[i * r->job.values + k], r->throttled[i]);
}

// Counts one sample more, whose cell and values are in place.
static void count(rounds *r)
{
    r->samples[r->cell[r->taken++]]++;
}

static status take_sample(rounds *r, size_t cell)
{
    r->cell[r->taken] = cell;
    const uint64_t before = quota_throttled();
    status failed = r->job.take(r->job.user, cell, r->values + r->taken * r->job.values);
    if (failed)
        return failed;
    r->throttled[r->taken] = quota_throttled() != before;
    print_rows(r->csv, r, r->taken, r->samples[cell]);
    if (fflush(r->csv) != 0 || ferror(r->csv))
        return status_fail("cannot write %s: %s; make room, or name another directory with --out",
                           r->path, strerror(errno));
    count(r);
    return NULL;
}

// What this round has not taken yet.
static status take_round(rounds *r, progress *bar)
{
    status failed = reserve(r, r->taken + r->job.cells);
    size_t before = r->taken;
    uint64_t begin = clock_ns();
    shuffle(r);
    for (size_t i = 0; i < r->job.cells && !failed; i++) {
        if (r->samples[r->order[i]] > r->whole)
            continue;
        if (interrupt_asked())
            return NULL;
        failed = take_sample(r, r->order[i]);
        progress_update(bar, elapsed_s(r) / r->planned_s);
    }
    if (failed)
        return failed;
    r->whole++;
    if (r->taken == before + r->job.cells)
        r->round_s = (double)(clock_ns() - begin) * 1e-9;
    return NULL;
}

// The cell with the most work, or the one with the least of those that have at least `least`.
static size_t find_cell(const rounds *r, double least)
{
    const rounds_job *j = &r->job;
    size_t found = 0;
    for (size_t i = 1; i < j->cells; i++) {
        double best = j->work(j->user, found), work = j->work(j->user, i);
        if (least > 0 ? work >= least && (best < least || work < best) : work > best)
            found = i;
    }
    return found;
}

// One sample that does not count: it warms caches, pages and clocks, and shows how long a round
// will take.
static status warm_up(rounds *r, size_t cell)
{
    double all = 0;
    for (size_t i = 0; i < r->job.cells; i++)
        all += r->job.work(r->job.user, i);
    uint64_t begin = clock_ns();
    status failed = reserve(r, r->taken + 1);
    if (!failed)
        failed = r->job.take(r->job.user, cell, r->values + r->taken * r->job.values);
    r->round_s = (double)(clock_ns() - begin) * 1e-9 * all / r->job.work(r->job.user, cell);
    plan(r);
    return failed;
}

static void announce(const rounds *r, const char *what)
{
    const rounds_job *j = &r->job;
    fprintf(stderr, "%s, about %.0f s", what, r->planned_s - r->spent_s);
    if (j->samples == 0 && r->planned_s > 1.1 * j->budget_s)
        fprintf(stderr, " and not %.0f: fewer than %d samples give no interval", j->budget_s,
                STATS_MIN_SAMPLES);
    fputc('\n', stderr);
}

// Estimates from a short sample what all will take, warms up with the longest, then takes rounds.
static status measure(rounds *r, const char *what)
{
    size_t longest = find_cell(r, 0),
           probe = find_cell(r, r->job.work(r->job.user, longest) / PROBE_SHARE);
    status failed =
        warm_up(r, probe); // pays for memory that nobody has touched: no measure of what follows
    if (!failed)
        failed = warm_up(r, probe);
    if (failed)
        return failed;
    announce(r, what);
    machine_warn_if_busy();
    progress bar = progress_begin(r->job.name);
    if (!interrupt_asked())
        failed = warm_up(r, longest);
    for (; !failed && !interrupt_asked() && rounds_left(r) > 0; plan(r))
        failed = take_round(r, &bar);
    progress_end(&bar);
    return failed;
}

status rounds_run(rounds *r, const char *what)
{
    status failed = NULL;
    if (rounds_left(r) == 0) {
        fprintf(stderr, "%s: %zu rounds stand in %s; remove it to measure again\n", what, r->whole,
                r->path);
        return NULL;
    }
    const disturbance before = disturbance_so_far();
    r->begin_ns = clock_ns();
    if (!interrupt_asked())
        failed = measure(r, what);
    const disturbance own = disturbance_since(before);
    r->spent_s = elapsed_s(r);
    r->begin_ns = 0;
    r->disturbance.switches += own.switches;
    r->disturbance.steal_s += own.steal_s;
    r->partial = interrupt_asked();
    return failed;
}

size_t rounds_samples(const rounds *r, size_t cell)
{
    return r->samples[cell];
}

void rounds_values(const rounds *r, size_t cell, size_t value, double *out)
{
    for (size_t i = 0; i < r->taken; i++)
        if (r->cell[i] == cell)
            *out++ = r->values[i * r->job.values + value];
}

estimate rounds_estimate(const rounds *r, size_t cell, size_t value)
{
    rounds_values(r, cell, value, r->sorted);
    return stats_median(r->sorted, r->samples[cell]);
}

static size_t outliers_of(const rounds *r, size_t cell, size_t value)
{
    const size_t n = r->samples[cell];
    size_t found = 0;
    if (n == 0)
        return 0;
    double median = rounds_estimate(r, cell, value).median, mad = stats_mad(r->sorted, n, median);
    for (size_t i = 0; i < n; i++)
        found += stats_outlier(r->sorted[i], median, mad);
    return found;
}

static size_t outliers(const rounds *r)
{
    size_t found = 0;
    for (size_t i = 0; i < r->job.cells * r->job.values; i++)
        found += outliers_of(r, i / r->job.values, i % r->job.values);
    return found;
}

// Every sample in the order taken, as the mean of its values' ratios to their medians: first half
// against second. A median of 0 (bytes may be none) has no ratios.
static status find_drift(const rounds *r, drift *out)
{
    double *pace = memory_array(r->taken, sizeof *pace);
    if (!pace)
        return memory_failed("the drift");
    for (size_t i = 0; i < r->job.cells * r->job.values; i++) {
        const size_t cell = i / r->job.values, value = i % r->job.values;
        double median = r->samples[cell] ? rounds_estimate(r, cell, value).median : 0;
        for (size_t k = 0; k < r->taken; k++)
            if (r->cell[k] == cell)
                pace[k] += (median > 0 ? r->values[k * r->job.values + value] / median : 1) /
                           (double)r->job.values;
    }
    *out = r->taken >= 2 ? stats_drift(pace, r->taken) : (drift){0};
    memory_free(pace);
    return NULL;
}

// Samples that a CPU quota has stopped: of one cell, or of all for job.cells.
static size_t throttled(const rounds *r, size_t cell)
{
    size_t n = 0;
    for (size_t i = 0; i < r->taken; i++)
        n += r->throttled[i] && (cell == r->job.cells || r->cell[i] == cell);
    return n;
}

status rounds_describe(const rounds *r, json_t *about)
{
    drift found;
    status failed = find_drift(r, &found);
    if (failed)
        return failed;
    json_t *steal = isnan(r->disturbance.steal_s) ? json_null() : json_real(r->disturbance.steal_s);
    json_t *more = json_pack(
        "{s:I, s:I, s:f, s:b, s:I, s:I, s:f, s:b, s:f, s:o, s:I}", "rounds", (json_int_t)r->whole,
        "requests", (json_int_t)r->taken, "seconds", elapsed_s(r), "partial", r->partial, "values",
        (json_int_t)(r->taken * r->job.values), "outliers", (json_int_t)outliers(r), "drift",
        found.change, "drift_clear", found.clear, "involuntary_switches", r->disturbance.switches,
        "steal_s", steal, "throttled", (json_int_t)throttled(r, r->job.cells));
    failed = more && json_object_update(about, more) == 0
                 ? NULL
                 : memory_failed("the description of a measurement");
    json_decref(more);
    return failed;
}

void rounds_resume(rounds *r, const json_t *about)
{
    r->spent_s = json_number_value(json_object_get(about, "seconds"));
    r->disturbance.switches = json_number_value(json_object_get(about, "involuntary_switches"));
    r->disturbance.steal_s = json_number_value(json_object_get(about, "steal_s"));
}

status rounds_print_noise(const rounds *r)
{
    drift found;
    status failed = find_drift(r, &found);
    if (failed)
        return failed;
    const size_t stopped = throttled(r, r->job.cells);
    if (stopped > 0)
        printf("\nWARNING: %zu of %zu samples were taken while the CPU quota throttled the "
               "program: they took longer than\nthis machine does, and ratios of them are bent. "
               "Measure again without a quota (cpu.max).\n",
               stopped, r->taken);
    printf(
        "\nNoise: %zu of %zu values are outliers (kept); second half %.1f %% %s than the first%s",
        outliers(r), r->taken * r->job.values, 100 * fabs(found.change),
        found.change < 0 ? "faster" : "slower",
        found.clear ? ", beyond chance: the machine changed its pace" : "");
    printf("; %.0f involuntary context switches in %.0f s", r->disturbance.switches, elapsed_s(r));
    if (r->disturbance.steal_s > 0)
        printf("; the host took %.1f s", r->disturbance.steal_s);
    printf(".\n");
    return NULL;
}

static void print_bound(FILE *f, double bound)
{
    if (isnan(bound)) // too few samples: left empty
        fputc(',', f);
    else
        fprintf(f, ",%.0f", bound);
}

status rounds_print_summary(FILE *f, const void *what)
{
    const rounds *r = what;
    const char *unit = r->job.unit;
    fprintf(f, "model,decoder,metric,%s,median_%s,ci_lo_%s,ci_hi_%s,samples,throttled\n", r->job.x,
            unit, unit, unit);
    for (size_t k = 0; k < r->job.values; k++)
        for (size_t cell = 0; cell < r->job.cells; cell++) {
            if (r->samples[cell] == 0)
                continue;
            estimate e = rounds_estimate(r, cell, k);
            fprintf(f, "%s,%.0f", r->labels[cell * r->job.values + k], e.median);
            print_bound(f, e.lo);
            print_bound(f, e.hi);
            fprintf(f, ",%zu,%zu\n", r->samples[cell], throttled(r, cell));
        }
    return NULL;
}

static status print_samples(FILE *f, const void *what)
{
    const rounds *r = what;
    fprintf(f, "model,decoder,metric,%s,sample,order,%s,throttled\n", r->job.x, r->job.unit);
    size_t *n = memory_array(r->job.cells, sizeof *n); // of each cell so far
    if (!n)
        return memory_failed("the samples");
    for (size_t i = 0; i < r->taken; i++)
        print_rows(f, r, i, n[r->cell[i]]++);
    memory_free(n);
    return NULL;
}

// Whether `text` begins with the row that has this label and these numbers; then *value
// and *throttled are what it says, and *text stands behind it.
static bool take_row(const char **text, const char *label, size_t sample, size_t order,
                     double *value, bool *throttled)
{
    char expected[sizeof(*(rounds *)0).labels[0] + 64];
    int n = snprintf(expected, sizeof expected, "%s,%zu,%zu,", label, sample, order);
    if (strncmp(*text, expected, (size_t)n) != 0)
        return false;
    const char *digits = *text + n, *end = strchr(digits, '\n');
    uint64_t whole;
    if (!end || end - digits < 3 || end[-2] != ',' || (end[-1] != '0' && end[-1] != '1') ||
        !input_whole(digits, (size_t)(end - digits) - 2, UINT64_MAX, &whole))
        return false;
    *value = (double)whole;
    *throttled = end[-1] == '1';
    *text = end + 1;
    return true;
}

// The next sample, all of its rows; false if `text` does not go on with one.
static bool take_over(rounds *r, const char **text)
{
    double *values = r->values + r->taken * r->job.values;
    for (size_t cell = 0; cell < r->job.cells; cell++) {
        const char *next = *text;
        size_t k = 0;
        while (k < r->job.values &&
               take_row(&next, r->labels[cell * r->job.values + k], r->samples[cell], r->taken,
                        &values[k], &r->throttled[r->taken]))
            k++;
        if (k < r->job.values)
            continue;
        *text = next;
        r->cell[r->taken] = cell;
        count(r);
        return true;
    }
    return false;
}

static size_t fewest(const rounds *r)
{
    size_t n = r->samples[0];
    for (size_t i = 1; i < r->job.cells; i++)
        n = r->samples[i] < n ? r->samples[i] : n;
    return n;
}

static status read_samples(rounds *r, const char *dir, const char *file)
{
    char *text;
    size_t n;
    status failed = file_read(dir, file, &text, &n);
    if (failed)
        return failed;
    const char *next = strchr(text, '\n');
    next = next ? next + 1 : text + n;
    do
        failed = reserve(r, r->taken + 1);
    while (!failed && take_over(r, &next));
    if (!failed && *next)
        fprintf(stderr, "note: %s: what follows sample %zu is not whole, and is taken again\n",
                r->path, r->taken);
    memory_free(text);
    r->whole = fewest(r);
    return failed;
}

static status print_labels(rounds *r)
{
    for (size_t i = 0; i < r->job.cells * r->job.values; i++) {
        rounds_label l = r->job.label(r->job.user, i / r->job.values, i % r->job.values);
        FILE *f = fmemopen(r->labels[i], sizeof r->labels[i], "w");
        if (!f)
            return memory_failed("the names of samples");
        results_csv_text(f, l.model);
        fputc(',', f);
        results_csv_text(f, l.decoder);
        fprintf(f, ",%s,%zu", l.metric, l.x);
        if (fclose(f) != 0 || r->labels[i][sizeof r->labels[i] - 1] != '\0')
            return status_fail("%s: the name is too long for the samples' table; use a shorter one",
                               l.model);
    }
    return NULL;
}

static status open_file(rounds *r, const char *dir, const char *file, bool resume)
{
    status failed = file_path(dir, file, r->path);
    if (!failed && resume && file_exists(dir, file))
        failed = read_samples(r, dir, file);
    if (!failed)
        failed = results_write(dir, file, print_samples, r);
    if (failed)
        return failed;
    r->csv = fopen(r->path, "a");
    return r->csv ? NULL
                  : status_fail("cannot write %s: %s; name another directory with --out", r->path,
                                strerror(errno));
}

status rounds_open(const rounds_job *job, const char *dir, const char *file, bool resume,
                   rounds *out)
{
    *out = (rounds){.job = *job};
    out->order = memory_array(job->cells, sizeof *out->order);
    out->samples = memory_array(job->cells, sizeof *out->samples);
    out->labels = memory_array(job->cells * job->values, sizeof *out->labels);
    if (!out->order || !out->samples || !out->labels)
        return memory_failed("the samples");
    status failed = print_labels(out);
    return failed ? failed : open_file(out, dir, file, resume);
}

void rounds_close(rounds *r)
{
    if (r->csv)
        fclose(r->csv);
    memory_free(r->cell);
    memory_free(r->values);
    memory_free(r->throttled);
    memory_free(r->order);
    memory_free(r->samples);
    memory_free(r->labels);
    memory_free(r->sorted);
    *r = (rounds){0};
}

status rounds_measure(const rounds_job *job, const char *dir, const char *name, const char *what,
                      rounds *out, int *exit_code)
{
    char samples[64], summary[64];
    snprintf(samples, sizeof samples, "%s-samples.csv", name);
    snprintf(summary, sizeof summary, "%s-summary.csv", name);
    status s = rounds_open(job, dir, samples, false, out);
    if (!s)
        s = rounds_run(out, what);
    if (!s)
        s = results_write(dir, summary, rounds_print_summary, out);
    if (!s && out->partial)
        *exit_code = interrupt_exit_code();
    return s;
}
