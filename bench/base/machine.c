// What a measurement depends on, asked of Linux (/proc, /sys), of macOS (sysctl) and of the
// compiler.
#include "bench/base/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#ifdef __APPLE__
#    include <sys/sysctl.h>
#endif

#include "bench/base/results.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/version.h"
#include "common/text/utf8.h"

typedef struct processor {
    char name[256];                          // "" if unknown
    long long l1d_bytes, l2_bytes, l3_bytes; // 0 if unknown
} processor;

#ifdef __APPLE__
static long long sysctl_number(const char *name)
{
    int64_t value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

static void ask_processor(processor *p)
{
    size_t size = sizeof p->name - 1;
    sysctlbyname("machdep.cpu.brand_string", p->name, &size, NULL, 0);
    p->l1d_bytes = sysctl_number("hw.l1dcachesize");
    p->l2_bytes = sysctl_number("hw.l2cachesize");
    p->l3_bytes = sysctl_number("hw.l3cachesize");
}
#else
// The first line of a file, without its end; "" if it cannot be read.
static void read_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "r");
    if (!f || !fgets(line, size, f))
        *line = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (f)
        fclose(f);
}

// cpu0's cache INDEX as Linux lists it. False if there are no more.
static bool ask_cache(int index, processor *p)
{
    char path[128], level[8] = "", type[32] = "", size[32] = "";
    const char *names[] = {"level", "type", "size"};
    char *values[] = {level, type, size};
    const int room[] = {sizeof level, sizeof type, sizeof size};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index,
                 names[i]);
        read_line(path, values[i], room[i]);
    }
    long long bytes = strtoll(size, NULL, 10) * 1024; // always in K
    if (*level == '1' && strcmp(type, "Data") == 0)
        p->l1d_bytes = bytes;
    if (*level == '2')
        p->l2_bytes = bytes;
    if (*level == '3')
        p->l3_bytes = bytes;
    return *level != '\0';
}

static void ask_processor(processor *p)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "model name : %255[^\n]", p->name) != 1)
        ;
    if (f)
        fclose(f);
    for (int index = 0; ask_cache(index, p); index++)
        ;
}
#endif

// The chosen word of "always [madvise] never"; "" where the system has no such file.
static void ask_huge_pages(char *mode, int size)
{
    *mode = '\0';
#ifdef __linux__
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", mode, size);
    char *open = strchr(mode, '['), *close = strchr(mode, ']');
    if (open && close) {
        *close = '\0';
        memmove(mode, open + 1, strlen(open + 1) + 1);
    }
#else
    (void)size;
#endif
}

static json_t *number(long long value)
{
    return value > 0 ? json_integer(value) : json_null();
}

size_t machine_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (size_t)cores : 1;
}

void machine_warn_if_busy(void)
{
    double load;
    if (getloadavg(&load, 1) == 1 && load > (double)machine_cores() / 2)
        fprintf(stderr,
                "note: the load is %.1f on %zu cores: other programs will disturb the times\n",
                load, machine_cores());
    const double quota = quota_cores();
    if (quota > 0 && quota < (double)machine_cores())
        fprintf(stderr,
                "note: a CPU quota of %.2g cores is set (cpu.max): samples that it stops take "
                "longer than this machine does\n",
                quota);
}

void machine_caches(size_t bytes[MACHINE_CACHES])
{
    processor p = {0};
    ask_processor(&p);
    bytes[0] = (size_t)p.l1d_bytes;
    bytes[1] = (size_t)p.l2_bytes;
    bytes[2] = (size_t)p.l3_bytes;
}

static json_t *machine(void)
{
    processor p = {0};
    ask_processor(&p);
    const double quota = quota_cores();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cpu", utf8_text(p.name), "cores",
                     number((long long)machine_cores()), "cpu_quota_cores",
                     quota > 0 ? json_real(quota) : json_null(), "l1d_bytes", number(p.l1d_bytes),
                     "l2_bytes", number(p.l2_bytes), "l3_bytes", number(p.l3_bytes),
                     "memory_available_bytes", number((long long)quota_memory_available()),
                     "memory_limit_bytes", number((long long)quota_memory()));
}

static json_t *operating_system(void)
{
    struct utsname u;
    char name[sizeof u.sysname + sizeof u.release + sizeof u.machine + 2] = "", mode[64];
    double load;
    if (uname(&u) == 0)
        snprintf(name, sizeof name, "%s %s %s", u.sysname, u.release, u.machine);
    ask_huge_pages(mode, sizeof mode);
    json_t *load_1min = getloadavg(&load, 1) == 1 ? json_real(load) : json_null();
    return json_pack("{s:o, s:o, s:o, s:o}", "name", utf8_text(name), "page_bytes",
                     number(sysconf(_SC_PAGESIZE)), "huge_pages", utf8_text(mode), "load_1min",
                     load_1min);
}

static json_t *build(const char *sha256)
{
#ifdef __clang__
    const char *compiler = __VERSION__; // names itself
#else
    const char *compiler = "gcc " __VERSION__;
#endif
    return json_pack("{s:s, s:o, s:s, s:s}", "version", LOCKSTEP_VERSION, "compiler",
                     utf8_text(compiler), "flags", BUILD_FLAGS, "sha256", sha256);
}

static json_t *description(const model *m, const char *digest)
{
    const config *c = &m->config;
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
                     utf8_text(model_label(m)), "sha256", digest, "layers", (json_int_t)c->L,
                     "channels", (json_int_t)c->C, "heads", (json_int_t)c->H, "kv_heads",
                     (json_int_t)config_kv_heads(c), "inner", (json_int_t)c->F, "vocabulary",
                     (json_int_t)c->V, "context", (json_int_t)c->T);
}

status machine_context(const model *m, json_t **out)
{
    char program[65], digest[65];
    status s = results_build(program);
    if (!s)
        s = model_digest(m, digest);
    if (s)
        return s;
    *out = json_pack("{s:o, s:o, s:o, s:o}", "machine", machine(), "system", operating_system(),
                     "build", build(program), "model", description(m, digest));
    return *out ? NULL : memory_failed("the description of this machine");
}
