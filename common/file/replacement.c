// The name of this process is in that of the file that grows, so that two of them do not meet.
#include "common/file/replacement.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/file/file.h"

static void forget(replacement *r)
{
    memory_free(r->place);
    memory_free(r->beside);
    *r = (replacement){0};
}

static status name_both(const char *place, replacement *out)
{
    const size_t length = strlen(place), room = length + 32;
    out->place = memory_array(length + 1, 1);
    out->beside = memory_array(room, 1);
    if (!out->place || !out->beside) {
        forget(out);
        return memory_failed("the name of a file");
    }
    memcpy(out->place, place, length);
    snprintf(out->beside, room, "%s.%ld.part", place, (long)getpid());
    return NULL;
}

status replacement_begin(const char *path, replacement *out)
{
    struct stat there;
    *out = (replacement){0};
    if (stat(path, &there) == 0 &&
        !S_ISREG(there.st_mode)) // a rename would put a file in a device's or directory's place
        return status_fail("cannot write %s: it is not a regular file: name a file", path);
    char *real = realpath(path, NULL);
    if (!real && lstat(path, &there) == 0)
        return status_fail("cannot write %s: it is a symbolic link that leads nowhere (%s): remove "
                           "it, or name another file",
                           path, strerror(errno));
    status s = name_both(real ? real : path, out);
    free(real);
    return s;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// The directory of a path, with its last slash, in `text`; the rest of the path.
static const char *cut_name(const char *path, char text[FILE_PATH_SIZE])
{
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(text, FILE_PATH_SIZE, "%.*s", (int)(slash + 1 - path), path);
    else
        snprintf(text, FILE_PATH_SIZE, ".");
    return slash ? slash + 1 : path;
}

bool replacement_is_same(const char *a, const char *b)
{
    char of_a[FILE_PATH_SIZE], of_b[FILE_PATH_SIZE];
    if (is_same_file(a, b))
        return true;
    const char *name_a = cut_name(a, of_a), *name_b = cut_name(b, of_b);
    return strcmp(name_a, name_b) == 0 && is_same_file(of_a, of_b);
}

// The new name has to reach the disk, too. Cuts the place down to its directory.
static void sync_directory(char *place)
{
    char *slash = strrchr(place, '/');
    if (slash)
        slash[1] = '\0';
    const int fd = open(slash ? place : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

bool replacement_finish(replacement *r)
{
    if (rename(r->beside, r->place) != 0)
        return false;
    sync_directory(r->place);
    forget(r);
    return true;
}

status replacement_failed(const char *path, const char *what)
{
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return status_fail("cannot write %s: %s: %sname another %s", path, strerror(errno),
                       full ? "free some space there, or " : "", what);
}

void replacement_abandon(replacement *r)
{
    if (r->beside)
        unlink(r->beside);
    forget(r);
}
