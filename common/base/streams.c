// Closed descriptors are held by /dev/null, opened the wrong way round.
#include "common/base/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void streams_hold(void)
{
    signal(SIGXFSZ, SIG_IGN); // a file that grows too long is one that cannot be written
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return;
}

status streams_written(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return NULL;
    return status_fail("standard output: cannot be written: %s: make room, or write elsewhere",
                       strerror(errno ? errno : EIO));
}
