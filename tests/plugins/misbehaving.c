// The cached decoder with one vice, which the environment variable VICE names, from step number
// FROM on; or, compiled with -DTABLE_..., with a table that is wrong.
#include <fenv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/decoder.h"
#include "kvcache/kvcache.h"

static long steps;

static bool has_vice(const char *name)
{
    const char *vice = getenv("VICE"), *from = getenv("FROM");
    return vice && strcmp(vice, name) == 0 && (!from || steps >= atol(from));
}

static const decoder *latest; // made or used, of all there are: what none of them should know

static float *weights, *last_position; // a row of wpe that no text of the tests reaches
static size_t weight_bytes;

static status create(const model *m, const decoder_options *o, decoder **out)
{
    status s = has_vice("creates nothing") ? NULL : kvcache_decoder.create(m, o, out);
    latest = *out;
    weights = m->block;
    weight_bytes = m->block_bytes;
    last_position = (float *)m->wpe + (m->config.T - 1) * padded(m->config.C);
    return s;
}

// A process of a session of its own, whose number goes to the file that PID names.
static void start_daemon(void)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() == 0) {
        FILE *f = fopen(getenv("PID"), "w");
        fprintf(f, "%ld\n", (long)getpid());
        fclose(f);
        for (;;)
            pause();
    }
    _exit(0);
}

static status step(decoder *d, const int *tokens, size_t T, size_t wanted, const float **logits)
{
    status s = kvcache_decoder.step(d, tokens, T, wanted, logits);
    steps++;
    if (has_vice("talks") || has_vice("talks and crashes"))
        printf("step of %zu tokens\n", T), fputs("by standard error\n", stderr);
    if (has_vice("talks and crashes") && T == 3)
        raise(SIGSEGV);
    if (has_vice("crashes") && T == 3)
        raise(SIGSEGV);
    for (volatile bool hang = has_vice("hangs") && T == 2; hang;)
        ;
    if (has_vice("starts a daemon") && T == 2 && steps < 20)
        start_daemon();
    while (has_vice("leaves its group and hangs") && T == 2)
        setpgid(0, getpgid(getppid()));
    if (has_vice("exits"))
        exit(0);
    if (has_vice("fails") && T == 4)
        return status_fail("four is a number\nthat I do not like");
    if (has_vice("returns nothing"))
        *logits = NULL;
    if (has_vice("rounds upward"))
        fesetround(FE_UPWARD);
    if (has_vice("writes weights") && T == 3)
        weights[1] += 1;
    if (has_vice("is slow"))
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
    if (has_vice("unlocks weights") && mprotect(weights, weight_bytes, PROT_READ | PROT_WRITE) == 0)
        last_position[0] += 1;
    if (has_vice("counts wrong") && T == 5)
        ((float *)*logits)[7] += 1;
    if (has_vice("shares state") && T > 1 && d != latest)
        ((float *)*logits)[3] += 1;
    latest = d;
    return s;
}

static void reset(decoder *d)
{
    kvcache_decoder.reset(d);
}

static void destroy(decoder *d)
{
    kvcache_decoder.destroy(d);
}

#ifdef TABLE_another_version
enum { VERSION = DECODER_API_VERSION + 1 };
#elif defined TABLE_first_version
enum { VERSION = 1 };
#else
enum { VERSION = DECODER_API_VERSION };
#endif
#ifdef TABLE_without_reset
enum { HAS_RESET = 0 };
#else
enum { HAS_RESET = 1 };
#endif
#ifdef TABLE_under_another_name
#    define lockstep_decoder another_name
#endif

#ifdef TABLE_called_naive
#    define NAME "naive"
#else
#    define NAME "misbehaving"
#endif

// Nothing behind destroy: logits only.
const decoder_api lockstep_decoder = {VERSION, NAME, create, step, HAS_RESET ? reset : NULL,
                                      destroy, NULL, NULL,   NULL, NULL};
