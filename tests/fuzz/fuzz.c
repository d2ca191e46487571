// The frame of every fuzz target, between libFuzzer (https://llvm.org/docs/LibFuzzer.html) and fuzz_run.
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <fcntl.h>
#include <sanitizer/allocator_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/memory.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SLOW = 2 }; // seconds

static char folder[512];
static size_t input, most = SIZE_MAX; // bytes of the input at hand, and of what may be allocated for it at once

static void watch_malloc(const volatile void *p, size_t n)
{
    (void)p;
    if (n <= most)
        return;
    most = SIZE_MAX; // not to be asked again while this is told
    fprintf(stderr, "FUZZ: an input of %zu bytes makes an allocation of %zu\n", input, n);
    abort();
}

static void watch_free(const volatile void *p)
{
    (void)p;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/lockstep-fuzz-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(folder) || !__sanitizer_install_malloc_and_free_hooks(watch_malloc, watch_free))
        abort();
    fuzz_prepare();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const clock_t begin = clock(); // of this process alone: other programs may slow it down without being a finding
    input = n;
    most = fuzz_allocation.times * n + fuzz_allocation.besides;
    fuzz_run(data, n);
    most = SIZE_MAX;
    if (clock() - begin < SLOW * CLOCKS_PER_SEC)
        return 0;
    fprintf(stderr, "FUZZ: an input of %zu bytes takes %d seconds or more\n", n, SLOW);
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
    int *ids;
    size_t count, length, at = 0;
    assert(!tokenizer_encode(t, text, n, &ids, &count));
    for (size_t i = 0; i < count; i++) {
        const char *bytes = tokenizer_decode(t, ids[i], &length);
        assert(bytes && length <= n - at && memcmp(bytes, text + at, length) == 0);
        at += length;
    }
    assert(at == n);
    memory_free(ids);
}
