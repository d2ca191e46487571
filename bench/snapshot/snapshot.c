// A prompt whose rows come out of a file: keys and values, or each layer's input, with the file in
// the system's cache and dropped from it; beside them the same prompt computed. Timed are the rows
// alone, without the model's digest and without the step that follows, whose rows are counted.
#include "bench/snapshot/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/base/contexts.h"
#include "bench/base/interrupt.h"
#include "bench/base/results.h"
#include "bench/measure/rounds.h"
#include "bench/subject/subject.h"
#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "kvcache/snapshot/snapshot.h"

static const char usage[] =
    "build/bench snapshot [options]: what restoring a state takes beside computing it\n\n"
    "  -m, --model DIR|synthetic:...  (default: " BENCH_MODEL ")\n"
    "  -c, --contexts LIST            tokens saved (default: 128,512,1000)\n"
    "  -n, --samples N                of each cell (default: as many as fit --budget, at least 6)\n"
    "  -b, --budget SECONDS           (default 30)\n"
    "  -s, --seed S                   of the order of the samples\n"
    "  -o, --out DIR                  snapshot-samples.csv, snapshot-summary.csv, and the states\n"
    "                                 while it runs (default: build/results)\n";

enum { DEFAULT_BUDGET_S = 30 };

typedef enum way { COMPUTED, KV, HIDDEN, KV_DROPPED, HIDDEN_DROPPED, WAYS } way;
static const char *const way_names[] = {"computed", "kv", "hidden", "kv, from disk",
                                        "hidden, from disk"};

// Cell i is length i / WAYS in way i % WAYS.
typedef struct bench_snapshot {
    model *m;
    char digest[65];
    size_t *length, lengths;
    decoder *d;
    int *ids; // (T)
    char dir[FILE_PATH_SIZE];
    int lock; // of dir
    rounds rounds;
} bench_snapshot;

static bool is_hidden(size_t cell)
{
    return cell % WAYS == HIDDEN || cell % WAYS == HIDDEN_DROPPED;
}

static status state_path(const bench_snapshot *s, size_t cell, char path[FILE_PATH_SIZE])
{
    char name[64];
    snprintf(name, sizeof name, "snapshot-%zu-%s.state", s->length[cell / WAYS],
             is_hidden(cell) ? "hidden" : "kv");
    return file_path(s->dir, name, path);
}

void bench_drop_from_cache(const char *path)
{
#ifdef POSIX_FADV_DONTNEED
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
#else
    (void)path;
#endif
}

// The step behind the rows: it computes the last token's alone, for its logits.
static status check_reuse(bench_snapshot *s, size_t T)
{
    const size_t before = snapshot.computed(s->d);
    const float *logits;
    status failed = kvcache_decoder.step(s->d, s->ids, T, 1, &logits);
    const size_t rows_computed = snapshot.computed(s->d) - before;
    if (!failed && rows_computed != 1)
        failed = status_fail("%zu rows of %zu were computed again, not 1: this is a bug",
                             rows_computed, T);
    return failed;
}

static status take(void *user, size_t cell, double *ns)
{
    bench_snapshot *s = user;
    const size_t T = s->length[cell / WAYS];
    char path[FILE_PATH_SIZE];
    const float *logits;
    size_t tokens;
    status failed = state_path(s, cell, path);
    if (failed)
        return failed;
    if (cell % WAYS >= KV_DROPPED)
        bench_drop_from_cache(path);
    kvcache_decoder.reset(s->d);
    const uint64_t begin = clock_ns();
    failed = cell % WAYS == COMPUTED ? kvcache_decoder.step(s->d, s->ids, T, 1, &logits)
                                     : snapshot_load(s->d, s->digest, path, &tokens);
    *ns = (double)(clock_ns() - begin);
    return failed ? failed : check_reuse(s, T);
}

static double work(const void *user, size_t cell)
{
    static const double shares[WAYS] = {1, 0.05, 0.25, 0.1, 0.3};
    return (double)((const bench_snapshot *)user)->length[cell / WAYS] * shares[cell % WAYS];
}

static rounds_label label(const void *user, size_t cell, size_t value)
{
    const bench_snapshot *s = user;
    (void)value;
    return (rounds_label){model_label(s->m), way_names[cell % WAYS], "rows",
                          s->length[cell / WAYS]};
}

static uint64_t bytes_of(const bench_snapshot *s, size_t cell)
{
    char path[FILE_PATH_SIZE];
    struct stat about;
    if (cell % WAYS == COMPUTED || state_path(s, cell, path) || stat(path, &about) != 0)
        return 0;
    return (uint64_t)about.st_size;
}

static void print_table(const bench_snapshot *s)
{
    char time[FORMAT_ROOM], size[FORMAT_ROOM];
    printf("\n  %6s  %-17s  %9s  %9s  %11s\n", "tokens", "rows", "file", "time", "of computed");
    for (size_t i = 0; i < s->lengths * WAYS && rounds_samples(&s->rounds, i) > 0; i++) {
        const double ns = rounds_estimate(&s->rounds, i, 0).median,
                     cold = rounds_estimate(&s->rounds, i / WAYS * WAYS, 0).median;
        const uint64_t bytes = bytes_of(s, i);
        printf("  %6zu  %-17s  %9s  %9s  %9.1f %%\n", s->length[i / WAYS], way_names[i % WAYS],
               bytes ? format_bytes((double)bytes, size) : "", format_ns(ns, time),
               100 * ns / cold);
    }
}

// The states of all lengths, in both kinds.
static status save_all(bench_snapshot *s)
{
    status failed = NULL;
    for (size_t i = 0; !failed && i < s->lengths * WAYS; i++) {
        char path[FILE_PATH_SIZE];
        const float *logits;
        if (i % WAYS != KV && i % WAYS != HIDDEN)
            continue;
        failed = kvcache_decoder.step(s->d, s->ids, s->length[i / WAYS], 1, &logits);
        if (!failed)
            failed = state_path(s, i, path);
        if (!failed)
            failed = snapshot_save(s->d, s->digest, is_hidden(i), path);
    }
    return failed;
}

static void remove_all(const bench_snapshot *s)
{
    char path[FILE_PATH_SIZE];
    for (size_t i = 0; i < s->lengths * WAYS; i++)
        if (!state_path(s, i, path))
            unlink(path);
}

static status measure(bench_snapshot *s, const bench_options *o, int *exit_code)
{
    const rounds_job job = {.name = "snapshot",
                            .x = "context",
                            .unit = "ns",
                            .cells = s->lengths * WAYS,
                            .values = 1,
                            .take = take,
                            .work = work,
                            .label = label,
                            .user = s,
                            .samples = o->samples,
                            .budget_s = o->budget > 0 ? o->budget : DEFAULT_BUDGET_S,
                            .seed = o->seed};
    status failed = rounds_measure(&job, s->dir, "snapshot", "snapshots", &s->rounds, exit_code);
    if (!failed)
        print_table(s);
    return failed ? failed : rounds_print_noise(&s->rounds);
}

static status read_lengths(bench_snapshot *s, const bench_options *o, int *exit_code)
{
    const size_t T = s->m->config.T;
    char usual[64];
    snprintf(usual, sizeof usual, "%zu,%zu,%zu", size_min(T, 128), size_min(T, 512),
             size_min(T, 1000));
    return bench_options_contexts(o->contexts ? o->contexts : usual, T, &s->length, &s->lengths,
                                  exit_code);
}

static status open_all(bench_snapshot *s, const bench_options *o, int *exit_code)
{
    static const char *const files[] = {"snapshot-summary.csv", NULL};
    const char *name = o->model_given ? o->model : BENCH_MODEL;
    status failed = results_take(o->out, files, s->dir, &s->lock);
    if (!failed) // a decoder, and a second one while it saves hidden states
        failed = subjects_check_memory(o, &(subjects_need){.model = name, .others = 2});
    if (!failed)
        failed = model_load(name, &s->m);
    if (!failed)
        failed = model_digest(s->m, s->digest);
    if (!failed)
        failed = read_lengths(s, o, exit_code);
    if (failed)
        return failed;
    const decoder_options kept = {.T_max = s->m->config.T};
    failed = kvcache_decoder.create(s->m, &kept, &s->d);
    s->ids = memory_array(kept.T_max, sizeof *s->ids);
    for (size_t t = 0; s->ids && t < kept.T_max; t++)
        s->ids[t] = fixed_token(t, s->m->config.V);
    return failed || s->ids ? failed : memory_failed("a prompt");
}

status snapshot_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    bench_snapshot s = {.lock = -1};
    status failed = bench_options_parse(argc, argv, "m:c:n:b:s:o:", usage, &o, exit_code);
    if (failed || o.help)
        return failed;
    failed = bench_options_enough_samples(&o, exit_code);
    if (!failed)
        failed = open_all(&s, &o, exit_code);
    interrupt_catch();
    if (!failed)
        failed = save_all(&s);
    if (!failed)
        failed = measure(&s, &o, exit_code);
    interrupt_release();
    rounds_close(&s.rounds);
    remove_all(&s);
    if (s.d)
        kvcache_decoder.destroy(s.d);
    memory_free(s.ids);
    memory_free(s.length);
    model_free(s.m);
    results_unlock(s.lock);
    return failed;
}
