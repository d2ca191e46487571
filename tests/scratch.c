// Temporary folders of tests. Criterion runs each test in a process of its own, so one folder at a time is enough.
#define _XOPEN_SOURCE 700 // nftw
#include "scratch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static char folder[SCRATCH_PATH - 256];

const char *scratch_folder(void)
{
    if (!*folder) {
        const char *parent = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/lockstep.XXXXXX", parent && *parent ? parent : "/tmp");
        cr_assert(mkdtemp(folder), "cannot make a folder like %s", folder);
    }
    return folder;
}

static int delete_one(const char *path, const struct stat *s, int type, struct FTW *place)
{
    (void)s, (void)type, (void)place;
    return remove(path);
}

void scratch_remove(void)
{
    if (*folder)
        nftw(folder, delete_one, 8, FTW_DEPTH | FTW_PHYS);
    *folder = '\0';
}

char *scratch_path(const char *name, char path[SCRATCH_PATH])
{
    snprintf(path, SCRATCH_PATH, "%s/%s", scratch_folder(), name);
    return path;
}

char *scratch_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    cr_assert(bytes && fread(bytes, 1, *n, f) == *n, "cannot read %s", path);
    bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

size_t scratch_count(void)
{
    DIR *d = opendir(scratch_folder());
    cr_assert(d);
    size_t files = 0;
    for (const struct dirent *e; (e = readdir(d));)
        files += e->d_name[0] != '.';
    closedir(d);
    return files;
}
