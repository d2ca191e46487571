// cgroups(7): /proc/self/cgroup names the groups, /proc/self/mountinfo says where their files lie.
// A group's limit holds for the groups inside it: all of them up to the mount are read.
#include "common/base/quota.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/format.h"
#include "common/file/file.h"

enum { LINE = 2 * FILE_PATH_SIZE };

static char root[FILE_PATH_SIZE]; // before every path

// The groups of one controller: a folder, and how much of its path is the mount's.
typedef struct group {
    char folder[FILE_PATH_SIZE];
    size_t mount;
    bool unified; // version 2
} group;

// They do not change while a program runs, and are asked for around each sample.
typedef enum controller { CPU, MEMORY, CONTROLLERS } controller;
static const char *const controller_names[CONTROLLERS] = {"cpu", "memory"};
static group found[CONTROLLERS];
static bool looked;

void quota_look_below(const char *dir)
{
    snprintf(root, sizeof root, "%s", dir);
    looked = false;
}

static FILE *open_below(const char *path)
{
    char whole[2 * FILE_PATH_SIZE + 64];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    return fopen(whole, "re");
}

// Whether `name` is one of the words of a list with commas.
static bool is_listed(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
        if (strncmp(list, name, n) == 0 && (list[n] == ',' || list[n] == '\0'))
            return true;
    return false;
}

// The path of a controller's group within its hierarchy: "4:cpu,cpuacct:/a/b" of version 1, else
// "0::/a/b" of version 2. False if there is neither.
static bool find_path(const char *name, char path[FILE_PATH_SIZE], bool *unified)
{
    char line[LINE];
    bool any = false;
    FILE *f = open_below("/proc/self/cgroup");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *at = list ? strchr(list + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = '\0';
        const bool second = list[1] == '\0', own = !second && is_listed(list + 1, name);
        if (!own && (any || !second))
            continue;
        snprintf(path, FILE_PATH_SIZE, "%s", at);
        *unified = second;
        any = true;
        if (own)
            break;
    }
    if (f)
        fclose(f);
    return any;
}

// Whether a line of mountinfo, "36 35 0:30 ROOT MOUNT options - TYPE source options", is the mount
// of this controller's hierarchy.
static bool is_mount(char *line, const char *name, bool unified, char **from, char **mount)
{
    char *words[64], *rest = line;
    size_t n = 0, dash = 0;
    for (char *word; n < 64 && (word = strsep(&rest, " \n")) != NULL;)
        words[n++] = word;
    while (dash < n && strcmp(words[dash], "-") != 0)
        dash++;
    if (dash < 5 || dash + 3 >= n)
        return false;
    *from = words[3];
    *mount = words[4];
    return unified ? strcmp(words[dash + 1], "cgroup2") == 0
                   : strcmp(words[dash + 1], "cgroup") == 0 && is_listed(words[dash + 3], name);
}

// What is behind the mounted root in a group's path; nothing if the group is not below it, as in
// another namespace.
static const char *below(const char *path, const char *from)
{
    const size_t n = strcmp(from, "/") == 0 ? 0 : strlen(from);
    const bool inside = strncmp(path, from, n) == 0 && (path[n] == '/' || path[n] == '\0');
    return inside && !strstr(path, "/..") && strcmp(path + n, "/") != 0 ? path + n : "";
}

static void find_group(const char *name, group *out)
{
    char line[LINE], path[FILE_PATH_SIZE], *from, *mount;
    *out = (group){.mount = 0};
    if (!find_path(name, path, &out->unified))
        return;
    FILE *f = open_below("/proc/self/mountinfo");
    while (f && !out->mount && fgets(line, sizeof line, f)) {
        if (!is_mount(line, name, out->unified, &from, &mount))
            continue;
        const int n = snprintf(out->folder, FILE_PATH_SIZE, "%s%s", mount, below(path, from));
        out->mount = n < FILE_PATH_SIZE ? strlen(mount) : 0;
    }
    if (f)
        fclose(f);
}

static const group *group_of(controller which)
{
    for (size_t i = 0; i < CONTROLLERS && !looked; i++)
        find_group(controller_names[i], &found[i]);
    looked = true;
    return &found[which];
}

// The next group outwards; false behind the mount.
static bool go_out(group *g)
{
    char *slash = strrchr(g->folder, '/');
    if (!slash || (size_t)(slash - g->folder) < g->mount)
        return false;
    *slash = '\0';
    return true;
}

// The first line of a group's file with this key in front, or "" for one that has no keys, behind
// the key; false if there is none.
static bool read_value(const group *g, const char *file, const char *key, char value[64])
{
    char path[FILE_PATH_SIZE + 64], line[128];
    const size_t n = strlen(key);
    bool any = false;
    snprintf(path, sizeof path, "%s/%s", g->folder, file);
    FILE *f = open_below(path);
    while (f && !any && fgets(line, sizeof line, f))
        if (strncmp(line, key, n) == 0 && (n == 0 || line[n] == ' ')) {
            snprintf(value, 64, "%.63s", line + n);
            any = true;
        }
    if (f)
        fclose(f);
    return any;
}

// A number of a group's file; 0 where there is none, and for "max" and -1, which set no limit.
static double read_number(const group *g, const char *file, const char *key)
{
    char value[64];
    const double number = read_value(g, file, key, value) ? strtod(value, NULL) : 0;
    return number > 0 && number < 0x1p62 ? number : 0;
}

static double cores_of(const group *g)
{
    char value[64];
    double quota = 0, period = 0;
    if (!g->unified) {
        quota = read_number(g, "cpu.cfs_quota_us", "");
        period = read_number(g, "cpu.cfs_period_us", "");
    } else if (read_value(g, "cpu.max", "", value) &&
               sscanf(value, "%lf %lf", &quota, &period) != 2)
        return 0; // "max 100000"
    return quota > 0 && period > 0 ? quota / period : 0;
}

double quota_cores(void)
{
    group g = *group_of(CPU);
    double least = 0;
    if (g.mount == 0)
        return 0;
    do {
        const double here = cores_of(&g);
        least = here > 0 && (least == 0 || here < least) ? here : least;
    } while (go_out(&g));
    return least;
}

uint64_t quota_throttled(void)
{
    group g = *group_of(CPU);
    double sum = 0;
    if (g.mount == 0)
        return 0;
    do
        sum += read_number(&g, "cpu.stat", "nr_throttled");
    while (go_out(&g));
    return (uint64_t)sum;
}

// What a limit leaves. The cache of files counts as used, and gives way when memory is wanted.
static double left_of(const group *g, double limit)
{
    const bool v2 = g->unified;
    const double used = read_number(g, v2 ? "memory.current" : "memory.usage_in_bytes", ""),
                 files =
                     read_number(g, "memory.stat", v2 ? "inactive_file" : "total_inactive_file") +
                     read_number(g, "memory.stat", v2 ? "active_file" : "total_active_file");
    const double left = limit - used + (files < used ? files : used);
    return left > 1 ? left : 1; // 0 means unknown
}

// The least limit of all groups, and the least that one leaves; 0 where there is none.
static void find_memory(double *limit, double *left)
{
    group g = *group_of(MEMORY);
    *limit = *left = 0;
    if (g.mount == 0)
        return;
    do {
        const double here = read_number(&g, g.unified ? "memory.max" : "memory.limit_in_bytes", "");
        const double leaves = here > 0 ? left_of(&g, here) : 0;
        *limit = here > 0 && (*limit == 0 || here < *limit) ? here : *limit;
        *left = here > 0 && (*left == 0 || leaves < *left) ? leaves : *left;
    } while (go_out(&g));
}

uint64_t quota_memory(void)
{
    double limit, left;
    find_memory(&limit, &left);
    return (uint64_t)limit;
}

// Of the whole machine.
static uint64_t system_available(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = open_below("/proc/meminfo");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu", &kib) != 1)
        ;
    if (f)
        fclose(f);
    if (kib != 0)
        return (uint64_t)kib * 1024;
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

// *limited: a group's limit leaves less than the machine has.
static uint64_t find_available(bool *limited)
{
    const uint64_t whole = system_available();
    double limit, left;
    find_memory(&limit, &left);
    *limited = left > 0 && (whole == 0 || left < (double)whole);
    return *limited ? (uint64_t)left : whole;
}

uint64_t quota_memory_available(void)
{
    bool limited;
    return find_available(&limited);
}

status quota_check_memory(const char *what, size_t needed)
{
    char wanted[FORMAT_ROOM], there[FORMAT_ROOM];
    bool limited;
    const uint64_t available = find_available(&limited);
    if (available == 0 || needed <= available)
        return NULL;
    return status_fail("%s: needs %s of memory, and %s are available%s: use a smaller context or "
                       "model, or close other programs",
                       what, format_bytes((double)needed, wanted),
                       format_bytes((double)available, there),
                       limited ? " within the memory limit of this process (cgroup)" : "");
}
