// Figures that say when they were bent: CPU quotas, memory limits, folders of results, wide slopes.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/cost/profile.h"
#include "bench/curves/curves.h"
#include "bench/curves/fit.h"
#include "bench/measure/measure.h"
#include "bench/measure/race.h"
#include "bench/measure/rounds.h"
#include "bench/verify/verify.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/generate/generate.h"
#include "common/model/safetensors.h"
#include "kvcache/kvcache.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=1,C=32,H=2,T=64,V=64"

static void leave(void)
{
    quota_look_below("");
    support_leave_folder();
}

TestSuite(figures, .init = support_enter_folder, .fini = leave, .timeout = 120);

static void make(const char *path)
{
    cr_assert(mkdir(path, 0777) == 0, "%s", path);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    support_write(dir, name, text, strlen(text));
}

// A system in the folder of this test: 8 GiB available, and the process in group /a/b.
static void make_system(const char *cgroup, const char *mountinfo)
{
    static const char *const folders[] = {"proc", "proc/self", "cg", "cg/a", "cg/a/b"};
    for (size_t i = 0; i < 5; i++)
        make(folders[i]);
    write_text("proc", "meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8388608 kB\n");
    write_text("proc/self", "cgroup", cgroup);
    write_text("proc/self", "mountinfo", mountinfo);
    quota_look_below(support_folder);
}

static void make_second(void)
{
    make_system("0::/a/b\n", "22 1 0:20 / / rw - ext4 /dev/sda rw\n"
                             "31 22 0:28 / /cg rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
}

static void make_first(void)
{
    make_system("4:memory:/docker/a/b\n3:cpu,cpuacct:/docker/a/b\n0::/\n",
                "32 31 0:29 /docker /cg rw - cgroup cgroup rw,cpuacct,cpu\n"
                "35 31 0:32 /docker /cg rw - cgroup cgroup rw,memory\n");
}

static void remove_system(void)
{
    static const char *const folders[] = {"proc/self", "proc", "cg/a/b", "cg/a", "cg"};
    for (size_t i = 0; i < 5; i++)
        support_remove_dir(folders[i]);
}

Test(figures, a_quota_is_the_least_of_all_groups)
{
    make_second();
    cr_assert_eq(quota_cores(), 0);
    write_text("cg/a/b", "cpu.max", "max 100000\n");
    cr_assert_eq(quota_cores(), 0);
    write_text("cg/a", "cpu.max", "30000 100000\n");
    write_text("cg", "cpu.max", "150000 100000\n");
    cr_assert_float_eq(quota_cores(), 0.3, 1e-12);
    write_text("cg/a/b", "cpu.stat", "usage_usec 7\nnr_periods 9\nnr_throttled 4\n");
    write_text("cg/a", "cpu.stat", "nr_throttled 38\nthrottled_usec 1\n");
    cr_assert_eq(quota_throttled(), 42);
    remove_system();
}

Test(figures, a_quota_of_version_1_is_read)
{
    make_first();
    write_text("cg/a/b", "cpu.cfs_quota_us", "-1\n");
    write_text("cg/a/b", "cpu.cfs_period_us", "100000\n");
    cr_assert_eq(quota_cores(), 0);
    write_text("cg/a", "cpu.cfs_quota_us", "50000\n");
    write_text("cg/a", "cpu.cfs_period_us", "100000\n");
    cr_assert_float_eq(quota_cores(), 0.5, 1e-12);
    write_text("cg/a", "cpu.stat", "nr_periods 5\nnr_throttled 3\nthrottled_time 9\n");
    cr_assert_eq(quota_throttled(), 3);
    write_text("cg/a", "memory.limit_in_bytes", "1000000\n");
    write_text("cg/a", "memory.usage_in_bytes", "700000\n");
    write_text("cg/a", "memory.stat", "inactive_file 1\ntotal_inactive_file 200000\n");
    write_text("cg/a/b", "memory.limit_in_bytes", "9223372036854771712\n");
    cr_assert_eq(quota_memory(), 1000000);
    cr_assert_eq(quota_memory_available(), 500000);
    remove_system();
}

Test(figures, a_memory_limit_is_read)
{
    make_second();
    cr_assert_eq(quota_memory(), 0);
    cr_assert_eq(quota_memory_available(), (uint64_t)8 << 30);
    write_text("cg/a/b", "memory.max", "max\n");
    write_text("cg/a", "memory.max", "1073741824\n");
    write_text("cg/a", "memory.current", "1000000000\n");
    write_text("cg/a", "memory.stat", "anon 1\ninactive_file 500000\nactive_file 500000\n");
    cr_assert_eq(quota_memory(), (uint64_t)1 << 30);
    cr_assert_eq(quota_memory_available(), 1073741824u - 1000000000 + 1000000);
    support_assert_refused(
        quota_check_memory("it", (size_t)1 << 30),
        "it: needs 1.00 GiB|71.3 MiB are available|memory limit|smaller context");
    cr_assert_null(quota_check_memory("it", (size_t)70 << 20));
    remove_system();
}

Test(figures, hostile_files_of_groups_are_no_failure)
{
    make_system("no colon\n0::/../../x\n:\n9:\n", "- - -\n\n31 22 0:28 / /cg rw - cgroup2\n"
                                                  "1 2 3 / /cg rw - cgroup2 c rw\n");
    write_text("cg", "cpu.max", "much of it\n");
    write_text("cg", "memory.max", "-7\n");
    write_text("cg", "cpu.stat", "nr_throttled\nnr_throttled nan\n");
    cr_assert_eq(quota_cores(), 0);
    cr_assert_eq(quota_memory(), 0);
    cr_assert_eq(quota_throttled(), 0);
    remove_system();
}

// Takes samples of two cells; while one of the second is taken, the quota stops the program.
enum { CELLS = 2, SAMPLES = 6 };
static unsigned stops;

static status take(void *user, size_t cell, double *values)
{
    char text[64];
    (void)user;
    stops += cell == 1;
    snprintf(text, sizeof text, "nr_periods 99\nnr_throttled %u\n", stops);
    write_text("cg/a/b", "cpu.stat", text);
    *values = 100;
    return NULL;
}

static double effort(const void *user, size_t cell)
{
    (void)user, (void)cell;
    return 1;
}

static rounds_label label(const void *user, size_t cell, size_t value)
{
    (void)user, (void)value;
    return (rounds_label){"m", cell == 0 ? "naive" : "kvcache", "step", 16};
}

static const rounds_job job = {.name = "test",
                               .x = "context",
                               .unit = "ns",
                               .cells = CELLS,
                               .values = 1,
                               .take = take,
                               .work = effort,
                               .label = label,
                               .samples = SAMPLES};

static void check_flags(const rounds *r)
{
    const char *row = strchr(command_file(support_folder, "samples.csv"), '\n') + 1;
    size_t n = 0;
    for (char f[32][64]; *row; row = strchr(row, '\n') + 1, n++) {
        cr_assert_eq(command_split(row, f), 8, "%.80s", row);
        cr_assert_eq(f[7][0], strcmp(f[1], "kvcache") == 0 ? '1' : '0', "%.80s", row);
    }
    cr_assert_eq(n, CELLS * SAMPLES);
    json_t *about = json_object();
    cr_assert_null(rounds_describe(r, about));
    cr_assert_eq(json_integer_value(json_object_get(about, "throttled")), SAMPLES);
    json_decref(about);
    cr_assert_null(results_write(support_folder, "summary.csv", rounds_print_summary, r));
    const char *summary = command_file(support_folder, "summary.csv");
    cr_assert_not_null(strstr(summary, "m,naive,step,16,100,100,100,6,0\n"), "%s", summary);
    cr_assert_not_null(strstr(summary, "m,kvcache,step,16,100,100,100,6,6\n"), "%s", summary);
}

Test(figures, samples_under_a_cpu_quota_are_flagged)
{
    rounds r;
    make_second();
    cr_assert_null(rounds_open(&job, support_folder, "samples.csv", false, &r));
    cr_assert_null(rounds_run(&r, "test"));
    check_flags(&r);
    rounds_close(&r);
    cr_assert_null(rounds_open(&job, support_folder, "samples.csv", true, &r)); // reads them again
    cr_assert_eq(r.taken, CELLS * SAMPLES);
    check_flags(&r);
    rounds_close(&r);
    remove_system();
}

static status print_noise(int argc, char **argv, int *exit_code)
{
    rounds r;
    (void)argc, (void)argv, (void)exit_code;
    status s = rounds_open(&job, support_folder, "samples.csv", false, &r);
    if (!s)
        s = rounds_run(&r, "test");
    if (!s)
        s = rounds_print_noise(&r);
    rounds_close(&r);
    return s;
}

Test(figures, the_table_warns_of_a_cpu_quota)
{
    make_second();
    command_run r = RUN(print_noise, "it");
    cr_assert_null(r.s);
    cr_assert_not_null(strstr(r.out, "WARNING: 6 of 12 samples were taken while the CPU quota "
                                     "throttled the program"),
                       "%s", r.out);
    remove_system();
}

Test(figures, the_context_tells_quota_and_limit)
{
    double quota, limit;
    make_second();
    write_text("cg/a", "cpu.max", "30000 100000\n");
    write_text("cg/a", "memory.max", "3000000000\n");
    cr_assert_null(RUN(sweep_command, "sweep", "-m", TINY, "-n", "6", "-o", "out").s);
    json_t *context = json_loads(command_file("out", "context.json"), 0, NULL);
    cr_assert_eq(json_unpack(context, "{s:{s:F, s:F}}", "machine", "cpu_quota_cores", &quota,
                             "memory_limit_bytes", &limit),
                 0);
    cr_assert(fabs(quota - 0.3) < 1e-12 && limit == 3e9);
    json_decref(context);
    support_remove_dir("out");
    remove_system();
}

// 100 MiB are there, and 24 GiB of keys, values and activations are asked for.
#define LARGE "synthetic:L=8,C=256,H=2,T=1000000,V=64"

Test(figures, memory_is_checked_before_anything_is_allocated)
{
    command *const commands[] = {sweep_command,   verify_command, race_command,
                                 profile_command, curves_command, roofline_command};
    const char *argv[][8] = {{"sweep", "-m", LARGE, "-o", "out", NULL},
                             {"verify", "-m", LARGE, NULL},
                             {"race", "-m", LARGE, "--ids", "1", NULL},
                             {"profile", "-m", LARGE, "-c", "900000", NULL},
                             {"curves", "generate", "-m", LARGE, "-o", "out", NULL},
                             {"roofline", "-m", LARGE, "-c", "900000", "-o", "out", NULL}};
    make_second();
    write_text("cg/a", "memory.max", "104857600\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        int argc = 0, exit_code = 0;
        char *words[8] = {0};
        for (; argv[i][argc]; argc++)
            words[argc] = (char *)argv[i][argc];
        memory_largest();
        status s = commands[i](argc, words, &exit_code);
        support_assert_refused(s, LARGE "|GiB of memory|are available|smaller context or model");
        cr_assert_lt(memory_largest(), (size_t)64 << 20, "%s allocated first", argv[i][0]);
    }
    support_remove_dir("out");
    remove_system();
}

Test(figures, memory_of_a_generation_is_checked)
{
    const generate_program program = {.decoder = &kvcache_decoder};
    make_second();
    write_text("cg/a", "memory.max", "104857600\n");
    char *argv[] = {"kvcache", "-m", LARGE, "--ids", "1", "-n", "900000", NULL};
    memory_largest();
    cr_assert_eq(generate_main(&program, 7, argv), 1);
    cr_assert_lt(memory_largest(), (size_t)64 << 20);
    char *fits[] = {"kvcache", "-m", TINY, "--ids", "1", "-n", "2", NULL};
    cr_assert_eq(generate_main(&program, 7, fits), 0);
    remove_system();
}

Test(figures, a_header_of_100_MB_costs_nothing)
{
    const uint64_t bytes = 100000000;
    safetensors *file;
    FILE *f = fopen("model.safetensors", "wb");
    cr_assert(f && fwrite(&bytes, sizeof bytes, 1, f) == 1 && fputc('{', f) == '{');
    cr_assert(fflush(f) == 0 && ftruncate(fileno(f), (off_t)bytes + 8) == 0 && fclose(f) == 0);
    memory_largest();
    support_assert_refused(safetensors_open("model.safetensors", &file),
                           "model.safetensors|header of 100000000 bytes|save the model anew");
    cr_assert_lt(memory_largest(), (size_t)1 << 20);
}

Test(figures, a_folder_of_results_is_one_process_s)
{
    int lock, status_of, ready[2];
    char byte, message[64];
    cr_assert_eq(pipe(ready), 0);
    const pid_t other = fork();
    if (other == 0) {
        alarm(30); // outlives no test that fails before it is killed
        _exit(results_lock(support_folder, &lock) || write(ready[1], "x", 1) != 1 || pause());
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    command_run r = RUN(sweep_command, "sweep", "-m", TINY, "-n", "6", "-o", support_folder);
    snprintf(message, sizeof message, "process %ld measures into this folder|--out", (long)other);
    support_assert_refused(r.s, message);
    kill(other, SIGKILL);
    cr_assert_eq(waitpid(other, &status_of, 0), other);
    r = RUN(sweep_command, "sweep", "-m", TINY, "-n", "6", "-o", support_folder);
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_null(results_lock(support_folder, &lock)); // it was given back
    results_unlock(lock);
}

Test(figures, a_slope_with_a_wide_interval_is_marked)
{
    cr_assert(!fit_is_wide((fit_interval){1, 0.951, 1.049}));
    cr_assert(fit_is_wide((fit_interval){1, 0.9, 1.01}));
    cr_assert(fit_is_wide((fit_interval){1, NAN, NAN}));
}
