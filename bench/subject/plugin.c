// Plug-ins: dlopen, guards around each call, and the child that takes the blow.
#include "bench/subject/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <float.h>
#ifdef __GLIBC__
#    include <malloc.h>
#endif
#include <sha2.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/math/numeric.h"

// What parent and child both see.
typedef struct blackbox {
    _Atomic uint64_t since_ns; // when the call at hand began; 0: none
    char doing[128];           // which call
    char message[1024];        // the body's failure
    int exit_code;
    bool finished;      // the body returned
    bool wrote_weights; // what ended the child
} blackbox;

static const decoder_api *inner; // the plug-in's own table
static blackbox *box;            // NULL outside a child
static char complaint[256];
static char digest[SHA256_DIGEST_STRING_LENGTH];

void plugin_fill_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_PERTURB, PLUGIN_FILLING ^ 0xff);
#endif
}

static const char *guarded_from, *guarded_to; // the weights, while they are protected

// Notes whether the fault was a write to the weights; then the signal does what it usually does.
static void note_fault(int signal_number, siginfo_t *info, void *context)
{
    const char *at = info->si_addr;
    (void)context;
    box->wrote_weights = at >= guarded_from && at < guarded_to;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void plugin_guard_weights(const model *m, bool guarded)
{
    const struct sigaction noting = {.sa_sigaction = note_fault, .sa_flags = SA_SIGINFO};
    if (!box || mprotect(m->block, m->block_bytes, PROT_READ | (guarded ? 0 : PROT_WRITE)) != 0)
        return;
    guarded_from = (const char *)m->block;
    guarded_to = guarded_from + m->block_bytes;
    if (guarded)
        sigaction(SIGSEGV, &noting, NULL);
    else
        signal(SIGSEGV, SIG_DFL);
}

const char *plugin_complaint(void)
{
    return complaint[0] ? complaint : NULL;
}

const char *plugin_digest(void)
{
    return digest[0] ? digest : NULL;
}

// Whether arithmetic is what the contract needs: rounding to nearest, subnormals kept.
static const char *wrong_mode(void)
{
    if (fegetround() != FE_TONEAREST)
        return "another rounding mode";
    return numeric_keeps_subnormals() ? NULL : "flush-to-zero";
}

static fenv_t enter(const char *call, size_t T)
{
    fenv_t saved;
    fegetenv(&saved);
    if (box) {
        snprintf(box->doing, sizeof box->doing, T ? "%s(%zu tokens)" : "%s", call, T);
        box->since_ns = clock_ns();
    }
    return saved;
}

static void leave(const char *call, const fenv_t *saved)
{
    if (box)
        box->since_ns = 0;
    const char *mode = wrong_mode();
    if (mode && !complaint[0])
        snprintf(complaint, sizeof complaint,
                 "%s switched on %s: build the plug-in without -Ofast and -ffast-math", call, mode);
    fesetenv(saved);
}

static status guarded_create(const model *m, const decoder_options *o, decoder **out)
{
    fenv_t saved = enter("create", 0);
    *out = NULL;
    status s = inner->create(m, o, out);
    leave("create", &saved);
    return !s && !*out ? status_fail("the plug-in's create returned neither a decoder nor an error")
                       : s;
}

static status guarded_step(decoder *d, const int *tokens, size_t T, size_t wanted,
                           const float **logits)
{
    fenv_t saved = enter("step", T);
    *logits = NULL;
    status s = inner->step(d, tokens, T, wanted, logits);
    leave("step", &saved);
    if (s)
        return status_fail("the plug-in's step(%zu tokens) failed: %s", T, s);
    return *logits ? NULL
                   : status_fail(
                         "the plug-in's step(%zu tokens) returned neither logits nor an error", T);
}

static void guarded_reset(decoder *d)
{
    fenv_t saved = enter("reset", 0);
    inner->reset(d);
    leave("reset", &saved);
}

static void guarded_destroy(decoder *d)
{
    fenv_t saved = enter("destroy", 0);
    inner->destroy(d);
    leave("destroy", &saved);
}

static void guarded_observe(decoder *d, observer *fn, void *user)
{
    fenv_t saved = enter("observe", 0);
    inner->observe(d, fn, user);
    leave("observe", &saved);
}

static bool guarded_holds(const decoder *d, size_t l, size_t head, size_t t)
{
    fenv_t saved = enter("holds", 0);
    bool held = inner->holds(d, l, head, t);
    leave("holds", &saved);
    return held;
}

static size_t guarded_bytes(const decoder *d)
{
    fenv_t saved = enter("bytes", 0);
    size_t n = inner->bytes(d);
    leave("bytes", &saved);
    return n;
}

static status guarded_read_kv(const decoder *d, size_t l, size_t head, size_t t, float *k, float *v)
{
    fenv_t saved = enter("read_kv", 0);
    status s = inner->read_kv(d, l, head, t, k, v);
    leave("read_kv", &saved);
    return s;
}

static status check_table(const char *file)
{
    if (!inner)
        return status_fail("%s: no symbol lockstep_decoder: define `const decoder_api "
                           "lockstep_decoder` and build with make mine",
                           file);
    if (inner->version == 1)
        return status_fail(
            "%s: made for version 1 of the decoder interface, this is %d. Change these lines, then "
            "build it again with make mine: create(m, const decoder_options *o, out) with o->T_max "
            "for T_max; step(d, tokens, T, size_t wanted, logits) with logits of the last `wanted` "
            "rows, (wanted, V); length becomes bool holds(d, layer, head, t); behind read_kv "
            "stands "
            "size_t bytes(d), or NULL",
            file, DECODER_API_VERSION);
    if (inner->version != DECODER_API_VERSION)
        return status_fail(
            "%s: made for version %u of the decoder interface, this is %d: build it again with "
            "make mine",
            file, inner->version, DECODER_API_VERSION);
    if (!inner->create || !inner->step || !inner->reset || !inner->destroy || !inner->name)
        return status_fail(
            "%s: name, create, step, reset and destroy must all be there: fill lockstep_decoder",
            file);
    return NULL;
}

status plugin_open(const char *file, const decoder_api **api)
{
    static decoder_api guarded;
    static char opened[1024];
    char path[sizeof opened]; // with a slash, or dlopen looks in the system's directories
    snprintf(path, sizeof path, "%s%s", strchr(file, '/') ? "" : "./", file);
    *api = &guarded;
    if (opened[0])
        return strcmp(opened, path) == 0
                   ? NULL
                   : status_fail("%s and %s: one plug-in at a time: run the command once for each",
                                 opened, path);
    fenv_t saved = enter("opening the plug-in", 0);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    leave("opening the plug-in", &saved);
    if (!library)
        return status_fail("%s: build it with make mine", dlerror());
    inner = dlsym(library, "lockstep_decoder");
    status s = check_table(file);
    if (s)
        return s;
    if (!SHA256File(path, digest))
        return status_fail("%s: %s: build it again with make mine", file, strerror(errno));
    guarded = (decoder_api){inner->version,
                            inner->name,
                            guarded_create,
                            guarded_step,
                            guarded_reset,
                            guarded_destroy,
                            inner->observe ? guarded_observe : NULL,
                            inner->holds ? guarded_holds : NULL,
                            inner->read_kv ? guarded_read_kv : NULL,
                            inner->bytes ? guarded_bytes : NULL};
    memcpy(opened, path, sizeof opened);
    return NULL;
}

static void run_child(plugin_body *body, void *argument)
{
    int exit_code = 0;
    status s = body(argument, &exit_code);
    if (s)
        snprintf(box->message, sizeof box->message, "%s", s);
    box->exit_code = exit_code;
    box->finished = true;
    fflush(stdout);
    _exit(0);
}

// Waits for the child; kills it when a call takes too long. Returns what waitpid says of it.
static int await(pid_t child, double timeout_s, bool *hung)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    int result = 0;
    while (waitpid(child, &result, WNOHANG) != child) {
        uint64_t since = box->since_ns, now = clock_ns();
        if (since && now > since && (double)(now - since) > timeout_s * 1e9 && !*hung) {
            *hung = true;
            kill(child, SIGKILL);
        }
        nanosleep(&pause, NULL);
    }
    return result;
}

status plugin_contain(plugin_body *body, void *argument, double timeout_s, int *exit_code)
{
    box = mmap(NULL, sizeof *box, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (box == MAP_FAILED)
        return status_fail("no memory to share with the plug-in's process: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return status_fail("cannot start the plug-in's process: %s", strerror(errno));
    if (child == 0)
        run_child(body, argument);
    signal(SIGINT, SIG_IGN); // the child has it too, and decides
    bool hung = false;
    int result = await(child, timeout_s, &hung);
    *exit_code = box->exit_code;
    if (hung)
        return status_fail("the plug-in hangs: %s has not returned for %g s", box->doing,
                           timeout_s);
    if (WIFSIGNALED(result) && box->wrote_weights)
        return status_fail("the plug-in wrote to the model's weights during %s: they are others' "
                           "too, work on a copy",
                           box->doing);
    if (WIFSIGNALED(result))
        return status_fail("the plug-in crashed: %s during %s", strsignal(WTERMSIG(result)),
                           box->since_ns ? box->doing : "the comparison");
    if (!box->finished)
        return status_fail("the plug-in ended its process during %s: return a status instead",
                           box->doing);
    return box->message[0] ? status_fail("%s", box->message) : NULL;
}
