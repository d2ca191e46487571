// build/bench curves and race: every experiment on tiny models, stopped and resumed, and what
// stands in its files.
#define _XOPEN_SOURCE 700 // posix_openpt
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/curves/curves.h"
#include "bench/curves/resident.h"
#include "bench/measure/race.h"
#include "common/base/memory.h"
#include "common/base/sanitized.h"
#include "common/decoder.h"
#include "common/kv/kv.h"
#include "common/math/kernel.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=2,C=32,H=2,T=64,V=64"

TestSuite(curves, .timeout = 120);

// DIR/NAME-FILE as text.
static char *experiment_file(const char *dir, const char *name, const char *file)
{
    char whole[64];
    snprintf(whole, sizeof whole, "%s-%s", name, file);
    return command_file(dir, whole);
}

static const char *next_line(const char *text)
{
    return strchr(text, '\n') + 1;
}

// Every experiment, places for it on a small model, and the columns of its own.
static const struct {
    const char *name, *places, *x, *unit, *concludes;
    size_t count, metrics, fits; // a fit needs four places within its own range
} cases[] = {
    {"attention", "16,24,32,63", "context", "ns", "Noise", 4, 1, 2},
    {"context", "16,24,32,63", "context", "ns", "Noise", 4, 3, 0},
    {"longcontext", "16,24,32,63", "context", "ns", "Noise", 4, 3, 6},
    {"layers", "1-4", "layers", "ns", "Noise", 4, 2, 4},
    {"generate", "1-4,32", "tokens", "ns", "The cache of kvcache has", 5, 1, 0},
    {"memory", "16,32,48,64", "context", "bytes", "synthetic:1558M", 4, 2, 0},
    {"throughput", "16,24,32,48", "context", "ns", "Tokens per second", 4, 1, 2},
    {"crossover", "16,24,32,63", "context", "ns", "Attention overtakes", 4, 2, 4},
};
enum { CASES = sizeof cases / sizeof *cases };

static void check_summary(const char *dir, size_t c)
{
    char f[32][64], header[128];
    const char *row = experiment_file(dir, cases[c].name, "summary.csv");
    snprintf(header, sizeof header,
             "model,decoder,metric,%s,median_%s,ci_lo_%s,ci_hi_%s,samples,throttled\n", cases[c].x,
             cases[c].unit, cases[c].unit, cases[c].unit);
    cr_assert_eq(strncmp(row, header, strlen(header)), 0, "%s: %.100s", cases[c].name, row);
    cr_assert_eq(command_lines(row), 1 + 2 * cases[c].count * cases[c].metrics, "%s",
                 cases[c].name);
    for (row = next_line(row); *row; row = next_line(row)) {
        cr_assert_eq(command_split(row, f), 9, "%.100s", row);
        double median = strtod(f[4], NULL), lo = strtod(f[5], NULL), hi = strtod(f[6], NULL);
        cr_assert(0 <= lo && lo <= median && median <= hi, "%.100s", row);
        cr_assert_str_eq(f[7], "6");
    }
}

static void check_fits(const char *dir, size_t c)
{
    char f[32][64];
    const char *row = experiment_file(dir, cases[c].name, "fits.csv");
    cr_assert_eq(command_lines(row), 1 + cases[c].fits, "%s: %s", cases[c].name, row);
    for (row = next_line(row); *row; row = next_line(row)) {
        cr_assert_eq(command_split(row, f), 22, "%.200s", row);
        double slope = strtod(f[6], NULL), lo = strtod(f[7], NULL), hi = strtod(f[8], NULL);
        cr_assert(lo <= slope && slope <= hi, "%.200s", row);
    }
}

Test(curves, every_experiment_leaves_its_files)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    cr_assert_eq((size_t)CASES, (size_t)EXPERIMENTS, "an experiment is not tested");
    for (size_t c = 0; c < CASES; c++) {
        command_run r = RUN(curves_command, "curves", cases[c].name, "-m", TINY, "-c",
                            cases[c].places, "-n", "6", "-o", dir);
        cr_assert(!r.s && r.exit_code == 0, "%s: %d: %s", cases[c].name, r.exit_code, r.s);
        cr_assert(strstr(r.out, cases[c].concludes), "%s prints no '%s':\n%s", cases[c].name,
                  cases[c].concludes, r.out);
        check_summary(dir, c);
        check_fits(dir, c);
        const char *counts = experiment_file(dir, cases[c].name, "counts.csv");
        cr_assert_eq(command_lines(counts), 1 + 2 * cases[c].count * cases[c].metrics, "%s",
                     cases[c].name);
        json_t *context = json_loads(experiment_file(dir, cases[c].name, "context.json"), 0, NULL);
        int whole, partial;
        cr_assert_eq(json_unpack(context, "{s:{s:i, s:b}}", "experiment", "rounds", &whole,
                                 "partial", &partial),
                     0);
        cr_assert(whole == 6 && !partial, "%s: %d rounds", cases[c].name, whole);
        json_decref(context);
    }
    support_remove_dir(dir);
}

// The columns of all samples but their values.
static void order_of(const char *dir, char *text)
{
    char f[32][64];
    const char *row = next_line(experiment_file(dir, "context", "samples.csv"));
    for (*text = '\0'; *row; row = next_line(row)) {
        cr_assert_eq(command_split(row, f), 8, "%.100s", row);
        text += sprintf(text, "%s %s %s %s %s\n", f[1], f[2], f[3], f[4], f[5]);
    }
}

#define CONTEXT(DIR, SAMPLES, SEED)                                                                \
    RUN(curves_command, "curves", "context", "-m", TINY, "-n", SAMPLES, "-s", SEED, "-o", DIR)

Test(curves, a_stopped_run_goes_on_where_it_stopped)
{
    static char whole[1 << 18], resumed[1 << 18], before[1 << 18];
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    CONTEXT(dir, "200", "7");
    order_of(dir, whole);
    support_remove_dir(dir);

    support_make_dir(dir);
    command_interrupt_in(150);
    command_run r = CONTEXT(dir, "200", "7");
    cr_assert(!r.s && r.exit_code == 128 + SIGINT && strstr(r.out, "PARTIAL"), "%d: %s",
              r.exit_code, r.s);
    snprintf(before, sizeof before, "%s", experiment_file(dir, "context", "samples.csv"));
    before[strlen(before) - 7] = '\0'; // as a crash in the middle of a write leaves it
    support_write(dir, "context-samples.csv", before, strlen(before));
    *strrchr(before, '\n') = '\0';
    r = CONTEXT(dir, "200", "7");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    order_of(dir, resumed);
    cr_assert_str_eq(resumed, whole, "the samples stand in another order than without a stop");
    const char *now = experiment_file(dir, "context", "samples.csv");
    for (int i = 0; i < 3; i++) // the last sample was not whole: it may have been taken again
        if (strrchr(before, '\n'))
            *strrchr(before, '\n') = '\0';
    cr_assert_eq(strncmp(now, before, strlen(before)), 0, "samples that were there have changed");
    support_remove_dir(dir);
}

// The first sample of naive takes longer than the user waits: nothing is said of the cache.
Test(curves, a_run_stopped_too_early_does_not_judge_the_cache)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_interrupt_in(50);
    const command_run r =
        RUN(curves_command, "curves", "generate", "-m", "synthetic:L=2,C=64,H=2,T=512,V=64", "-c",
            "500", "-n", "6", "-o", dir);
    cr_assert(!r.s && r.exit_code == 128 + SIGINT, "%d: %s", r.exit_code, r.s);
    cr_assert(strstr(r.out, "pays for itself is not shown: too few samples"), "%s", r.out);
    cr_assert_null(strstr(r.out, "has not paid"), "%s", r.out);
    support_remove_dir(dir);
}

Test(curves, a_finished_run_is_not_measured_again)
{
    char dir[SUPPORT_PATH];
    static char before[1 << 16];
    support_make_dir(dir);
    CONTEXT(dir, "6", "0");
    snprintf(before, sizeof before, "%s", experiment_file(dir, "context", "samples.csv"));
    command_run r = CONTEXT(dir, "6", "0");
    cr_assert(!r.s && strstr(r.out, "medians of 6 rounds"), "%s", r.out);
    cr_assert_str_eq(experiment_file(dir, "context", "samples.csv"), before);
    r = CONTEXT(dir, "8", "0");
    cr_assert(!r.s && strstr(r.out, "medians of 8 rounds"), "%s", r.out);
    cr_assert_eq(strncmp(experiment_file(dir, "context", "samples.csv"), before, strlen(before)),
                 0);
    support_remove_dir(dir);
}

Test(curves, samples_of_something_else_are_not_gone_on_with)
{
    char dir[SUPPORT_PATH];
    static char before[1 << 16];
    support_make_dir(dir);
    CONTEXT(dir, "6", "0");
    snprintf(before, sizeof before, "%s", experiment_file(dir, "context", "samples.csv"));
    CONTEXT(dir, "6", "1"); // another seed
    cr_assert_str_neq(experiment_file(dir, "context", "samples.csv"), before);
    json_t *context = json_loads(experiment_file(dir, "context", "context.json"), 0, NULL);
    json_object_set_new(json_object_get(context, "build"), "sha256", json_string("another"));
    cr_assert_null(results_write_json(dir, "context-context.json", context));
    json_decref(context);
    snprintf(before, sizeof before, "%s", experiment_file(dir, "context", "samples.csv"));
    CONTEXT(dir, "6", "1");
    cr_assert_str_neq(experiment_file(dir, "context", "samples.csv"), before);
    support_remove_dir(dir);
}

Test(curves, refused)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    command_run usage[] = {RUN(curves_command, "curves", "nonsense"),
                           RUN(curves_command, "curves", "-n", "5"),
                           RUN(curves_command, "curves", "-x"), RUN(race_command, "race", "--json"),
                           RUN(race_command, "race", "a", "b")};
    for (size_t i = 0; i < sizeof usage / sizeof *usage; i++)
        cr_assert(usage[i].s && usage[i].exit_code == EXIT_USAGE, "case %zu: %d: %s", i,
                  usage[i].exit_code, usage[i].s);
    support_assert_refused(
        RUN(curves_command, "curves", "context", "-m", TINY, "-c", "64", "-o", dir).s, "64|63");
    support_assert_refused(
        RUN(curves_command, "curves", "context", "-m", "synthetic:L=1,C=32,H=2,T=1,V=64", "-o", dir)
            .s,
        "T=1|another model");
    support_assert_refused(
        RUN(curves_command, "curves", "generate", "-m", "/nonexistent", "-o", dir).s,
        "/nonexistent");
    support_assert_refused(RUN(race_command, "race", "-m", TINY, "text").s, "--ids");
    support_assert_refused(RUN(race_command, "race", "-m", TINY, "--ids", "64").s, "64");
    support_assert_refused(RUN(race_command, "race", "").s, "0 tokens");
    support_remove_dir(dir);
}

// The fitted range lies in one level of memory, as its bytes say.
Test(curves, the_range_of_a_slope_lies_in_one_cache)
{
    size_t caches[MACHINE_CACHES];
    machine_caches(caches);
    for (size_t e = 0; e < EXPERIMENTS; e++) {
        if (!experiments[e].bytes || !experiments[e].model || caches[MACHINE_CACHES - 1] == 0)
            continue;
        lab l = {.what = &experiments[e]};
        const char *name = *experiments[e].model ? experiments[e].model : "synthetic:124M";
        model m = {0};
        uint64_t seed;
        cr_assert_null(config_parse_synthetic(name, &m.config, &seed));
        l.models[0] = &m;
        for (size_t t = 16; t < m.config.T; t *= 2)
            l.x[l.xs++] = t;
        lab_settle_range(&l);
        cr_assert(l.first < l.last && l.last < l.xs && l.level, "%s", experiments[e].name);
        for (size_t level = 0; level < MACHINE_CACHES; level++) {
            double lo = experiments[e].bytes(&l, l.first), hi = experiments[e].bytes(&l, l.last);
            cr_assert(hi <= (double)caches[level] / 2 || lo > 2 * (double)caches[level],
                      "%s: %g to %g bytes are near %zu", experiments[e].name, lo, hi,
                      caches[level]);
        }
    }
}

static status fill_some(void *argument)
{
    size_t bytes = *(size_t *)argument;
    char *block = memory_block(bytes);
    if (!block)
        return memory_failed("a block");
    memset(block, 1, bytes);
    return NULL;
}

static status fail(void *argument)
{
    return status_fail("no %s", (const char *)argument);
}

static status crash(void *argument)
{
    (void)argument;
    signal(SIGABRT, SIG_DFL);
    abort();
}

Test(curves, resident_memory_of_a_process)
{
    size_t none = 0, some = (size_t)64 << 20;
    double idle, filled;
    cr_assert_null(resident_peak(fill_some, &none, &idle));
    cr_assert_null(resident_peak(fill_some, &some, &filled));
    cr_assert(filled - idle > 0.9 * (double)some && filled - idle < 1.3 * (double)some, "%g, %g",
              idle, filled);
    support_assert_refused(resident_peak(fail, "luck", &idle), "no luck");
    support_assert_refused(resident_peak(crash, NULL, &idle), "process");
}

// Rows of 8192 tokens of 16 layers go into a store in chunks, as a decoder would hand them over.
enum { LONG = 8192, CHUNK = 512 };

typedef struct filling {
    const char *spec; // NULL: no store, only the rows and scores at hand
    size_t *bytes;    // what the store says it holds
} filling;

static status fill_store(void *argument)
{
    const filling *f = argument;
    static int tokens[LONG];
    const config c = {.T = LONG, .C = 64, .L = 16, .H = 1, .F = 16, .V = 16};
    decoder_options o = {.T_max = LONG};
    activations a;
    kv *s;
    status failed = activations_create(&c, LONG, &a);
    for (size_t i = 0; !failed && i < BAND_ROWS; i++)
        memset(row(&a.scores, i), 0, LONG * sizeof(float));
    for (size_t i = 0; !failed && i < CHUNK * 3 * c.C; i++)
        row(&a.qkv, i / (3 * c.C))[i % (3 * c.C)] = (float)(i % 97) / 97 - 0.5f;
    if (failed || !f->spec)
        return failed;
    failed = kv_parse(f->spec, &o.kv);
    failed = failed ? failed : kv_create(&c, c.L, &o, &s);
    for (size_t t = 0, first; !failed && t < LONG; t += CHUNK) {
        failed = kv_begin(s, tokens, t + CHUNK, t, t, &first);
        for (size_t l = 0; !failed && l < c.L; l++) // only a window drops rows, once they attended
            failed = o.kv.keep == KV_ALL ? kv_store(s, l, t, &a.k, &a.v, CHUNK)
                                         : kv_attend(s, l, t, &a, CHUNK, &(tap){0});
        if (!failed)
            kv_commit(s, tokens, t + CHUNK);
    }
    if (failed)
        return failed;
    *f->bytes = kv_bytes(s);
    kv_destroy(s);
    activations_free(&a);
    return NULL;
}

// Bytes that a store holds after 8192 tokens, and how much of a process's memory that is. This
// process fills none itself: what it has freed would be there for its children.
static double resident_of(const char *spec, size_t *bytes)
{
    double idle, filled;
    const filling none = {.spec = NULL};
    const filling f = {spec, mmap(NULL, sizeof *f.bytes, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
    cr_assert(f.bytes != MAP_FAILED);
    cr_assert_null(resident_peak(fill_store, (void *)&none, &idle));
    cr_assert_null(resident_peak(fill_store, (void *)&f, &filled));
    *bytes = *f.bytes;
    munmap(f.bytes, sizeof *f.bytes);
    return filled - idle;
}

// No copy in full width stands beside a narrow form, and what a window drops is given back: beyond
// the rows and scores at hand the process holds what the store says, of 64 MiB that 8192 rows of
// binary32 take. A system that gives out 2 MiB at once rounds up, each array for itself.
Test(curves, a_store_takes_the_memory_that_it_says)
{
    static const struct {
        const char *spec;
        double share; // of what plain takes
    } forms[] = {{"all", 1},
                 {"f16", 0.5},
                 {"bf16", 0.5},
                 {"fp8", 0.25},
                 {"q8", 34 / 128.0},
                 {"q4", 18 / 128.0},
                 {"kivi4", 0.16},
                 {"kivi2", 0.1},
                 {"window:64+4", 0.03},
                 {"window:64+4,q8", 0.01},
                 {"heavy:64+64", 0.03}};
    if (SANITIZED)
        cr_skip_test("AddressSanitizer takes memory of its own");
    const double plain = 16.0 * LONG * 2 * 64 * sizeof(float), rounding = 6 << 20;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t bytes;
        const double resident = resident_of(forms[i].spec, &bytes);
        cr_assert_leq((double)bytes, forms[i].share * plain, "%s: %zu bytes", forms[i].spec, bytes);
        cr_assert(resident < (double)bytes + rounding && resident > 0.8 * (double)bytes,
                  "%s: %zu bytes, of which %g are resident", forms[i].spec, bytes, resident);
    }
}

Test(curves, requests_are_timed_in_order_and_decoders_agree)
{
    enum { T = 20, N = 12 };
    model *m;
    workload w;
    int first[N];
    cr_assert_null(model_load(TINY, &m));
    subjects of;
    cr_assert_null(subjects_open(&(bench_options){0}, NULL, &of));
    cr_assert_null(workload_create(m, &of, &w));
    for (size_t d = 0; d < of.n; d++) {
        double at_ns[N];
        cr_assert_null(workload_request(&w, d, T, N, at_ns, NULL));
        for (size_t n = 1; n < N; n++)
            cr_assert_gt(at_ns[n], at_ns[n - 1]);
        for (size_t n = 0; n < N && d > 0; n++)
            cr_assert_eq(w.tokens[T + n], first[n], "%s: token %zu", of.at[d].name, n);
        memcpy(first, w.tokens + T, sizeof first);
    }
    workload_free(&w);
    subjects_free(&of);
    model_free(m);
}

static char folder[SUPPORT_PATH];

static void empty_folder(void)
{
    support_remove_dir(folder);
    support_make_dir(folder);
}

Test(curves, every_allocation_may_fail)
{
    support_make_dir(folder);
    const char *generate[] = {"curves", "generate", "-m", TINY,   "-n", "6",
                              "-c",     "1-5",      "-o", folder, NULL};
    const char *both[] = {"race", "-m", TINY, "--ids", "1,2,3", "-n", "3", NULL};
    command_assert_survives_failed_allocations(curves_command, generate, empty_folder);
    command_assert_survives_failed_allocations(race_command, both, NULL);
    support_remove_dir(folder);
}

// Going on with what is there: a description may lack what could not be had, but the result is the
// same or a failure.
Test(curves, every_allocation_may_fail_when_going_on)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    const char *arguments[] = {"curves", "generate", "-m", TINY, "-n", "6",
                               "-c",     "1-5",      "-o", dir,  NULL};
    static command_run first;
    command_call(curves_command, arguments);
    memory_fail_at(0);
    first = command_call(curves_command, arguments);
    size_t allocations = memory_fail_at(0);
    for (size_t n = 1; n <= allocations; n++) {
        memory_fail_at(n);
        command_run r = command_call(curves_command, arguments);
        if (!r.s)
            cr_assert_str_eq(r.out, first.out, "allocation %zu of %zu failed", n, allocations);
    }
    memory_fail_at(0);
    support_remove_dir(dir);
}

Test(curves, a_race_ends_with_equal_texts)
{
    command_run r = RUN(race_command, "race", "-n", "30", "To be");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    cr_assert(strstr(r.out, "the same 30 tokens from both"), "%s", r.out);
    cr_assert_not(strchr(r.out, '\033'), "escape sequences without a terminal: %s", r.out);
    r = RUN(race_command, "race", "-m", TINY, "--ids", "1,2,3", "-n", "1000");
    cr_assert(!r.s && strstr(r.out, "the same 62 tokens from both"), "%s",
              r.out); // the context is full
    r = RUN(race_command, "race", "-n", "0");
    cr_assert(!r.s && strstr(r.out, "the same 0 tokens"), "%s", r.out);
}

Test(curves, ctrl_c_ends_a_race)
{
    command_interrupt_in(300);
    command_run r = RUN(race_command, "race", "-n", "1000", "-t", "0");
    cr_assert(!r.s && r.exit_code == 128 + SIGINT, "%d: %s", r.exit_code, r.s);
    cr_assert(strstr(r.out, "interrupted: the same"), "%s", r.out);
}

// What a race writes to a terminal.
static void race_on_terminal(char *text, size_t size)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), exit_code = 0;
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    FILE *terminal = fdopen(open(ptsname(master), O_RDWR | O_NOCTTY), "r+");
    int before = command_redirect(STDOUT_FILENO, terminal);
    char *argv[] = {"race", "-m", TINY, "--ids", "1,2,3", "-n", "2", NULL};
    status failed = race_command(7, argv, &exit_code);
    command_restore(STDOUT_FILENO, before);
    cr_assert_null(failed, "%s", failed);
    ssize_t n = read(master, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    fclose(terminal);
    close(master);
}

Test(curves, a_race_on_a_terminal)
{
    static char text[1 << 14];
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    race_on_terminal(text, sizeof text);
    cr_assert(strstr(text, "\033[K") && strstr(text, "\033[33m"), "%s", text);
    setenv("NO_COLOR", "1", 1);
    race_on_terminal(text, sizeof text);
    cr_assert(strstr(text, "\033[K") && !strstr(text, "\033[33m"), "%s", text);
    setenv("TERM", "dumb", 1);
    race_on_terminal(text, sizeof text);
    cr_assert_not(strchr(text, '\033'), "%s", text);
}
