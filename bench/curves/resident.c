// A child process, a page to leave its message on, and what wait4 says of its memory.
#include "bench/curves/resident.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE = 1024 };

#ifdef __APPLE__
enum { MAXRSS_UNIT = 1 };
#else
enum { MAXRSS_UNIT = 1024 };
#endif

// The child ends without flushing or freeing what it shares with its parent.
static void run_child(status body(void *argument), void *argument, char *message)
{
    signal(SIGINT, SIG_IGN); // the parent decides
    status failed = body(argument);
    if (failed)
        snprintf(message, MESSAGE, "%s", failed);
    _exit(0);
}

static status await(pid_t child, const char *message, double *bytes)
{
    int result;
    struct rusage used;
    while (wait4(child, &result, 0, &used) < 0)
        if (errno != EINTR)
            return status_fail("lost the process whose memory was to be measured: %s",
                               strerror(errno));
    if (!WIFEXITED(result))
        return status_fail(
            "the process whose memory was to be measured was ended: %s; close other programs",
            strsignal(WTERMSIG(result)));
    *bytes = (double)used.ru_maxrss * MAXRSS_UNIT;
    return *message ? status_fail("%s", message) : NULL;
}

status resident_peak(status body(void *argument), void *argument, double *bytes)
{
    char *message = mmap(NULL, MESSAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (message == MAP_FAILED)
        return status_fail("no memory to share with another process: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0)
        run_child(body, argument, message);
    status failed = child > 0
                        ? await(child, message, bytes)
                        : status_fail("cannot start another process: %s; close other programs",
                                      strerror(errno));
    munmap(message, MESSAGE);
    return failed;
}
