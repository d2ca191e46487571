// The frame of every fuzz target, between libFuzzer (https://llvm.org/docs/LibFuzzer.html) and
// fuzz_run.
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/text/check.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SLOW = 5 }; // seconds that no input of some kilobytes should take

static char folder[512];

static void give_up(int signal_number)
{
    static const char text[] = "FUZZ: an input takes too long\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    signal(SIGPROF, give_up);
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/lockstep-fuzz-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(folder))
        abort();
    fuzz_prepare();
    return 0;
}

// Counts the time of this process alone: what other programs take is not its fault.
static void allow_seconds(int seconds)
{
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = seconds}, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    memory_largest();
    allow_seconds(SLOW);
    fuzz_run(data, n);
    allow_seconds(0);
    const size_t largest = memory_largest();
    if (largest <= fuzz_allocation.times * n + fuzz_allocation.besides)
        return 0;
    fprintf(stderr, "FUZZ: an input of %zu bytes makes an allocation of %zu\n", n, largest);
    abort();
}

const char *fuzz_folder(void)
{
    return folder;
}

static const char *path_of(const char *name)
{
    static char path[sizeof folder + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

void fuzz_write(const char *name, const uint8_t *bytes, size_t n)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || close(fd) != 0) {
        perror(path_of(name));
        exit(1);
    }
}

void fuzz_remove(const char *name)
{
    unlink(path_of(name));
}

int fuzz_done(status s)
{
    assert(!s || (strlen(s) > 10 && !strchr(s, '\n')));
    return s == NULL;
}

void fuzz_round_trip(const tokenizer *t, const char *text, size_t n)
{
    assert(!check_round_trip(t, "the input", text, n));
}
