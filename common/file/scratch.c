// mkstemp and unlink; pread and pwrite until all is done.
#include "common/file/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"

ssize_t (*scratch_pread)(int fd, void *to, size_t bytes, off_t offset) = pread;
ssize_t (*scratch_pwrite)(int fd, const void *from, size_t bytes, off_t offset) = pwrite;

status scratch_open(const char *dir, scratch *out)
{
    const size_t size = strlen(dir) + sizeof "/lockstep-XXXXXX";
    *out = (scratch){.name = memory_array(size, 1), .fd = -1};
    if (!out->name)
        return memory_failed("the name of a file");
    snprintf(out->name, size, "%s/lockstep-XXXXXX", dir);
    out->fd = mkstemp(out->name);
    if (out->fd < 0)
        return status_fail("can make no file in %s: %s: name a directory that can be written to",
                           dir, strerror(errno));
    fcntl(out->fd, F_SETFD, FD_CLOEXEC);
    return unlink(out->name) == 0
               ? NULL
               : status_fail("%s: cannot be unlinked: %s: name another directory", out->name,
                             strerror(errno));
}

void scratch_close(scratch *f)
{
    if (f->fd >= 0)
        close(f->fd);
    memory_free(f->name);
    *f = (scratch){.fd = -1};
}

// After a call that gave n bytes: whether to go on. At the end of the file errno is 0.
static bool goes_on(ssize_t n)
{
    if (n == 0)
        errno = 0;
    return n > 0 || (n < 0 && errno == EINTR);
}

size_t scratch_read(const scratch *f, void *to, size_t n, off_t offset)
{
    size_t done = 0;
    for (ssize_t more = 1; done < n && goes_on(more); done += more > 0 ? (size_t)more : 0)
        more = scratch_pread(f->fd, (char *)to + done, n - done, offset + (off_t)done);
    return done;
}

size_t scratch_write(const scratch *f, const void *from, size_t n, off_t offset)
{
    size_t done = 0;
    for (ssize_t more = 1; done < n && goes_on(more); done += more > 0 ? (size_t)more : 0)
        more = scratch_pwrite(f->fd, (const char *)from + done, n - done, offset + (off_t)done);
    return done;
}
