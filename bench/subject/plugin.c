// Plug-ins: dlopen, and guards around each call.
#include "bench/subject/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <float.h>
#ifdef __GLIBC__
#    include <malloc.h>
#endif
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/number/numeric.h"

static const decoder_api *inner; // the plug-in's own table
static char complaint[256];
static char digest[SHA256_DIGEST_STRING_LENGTH];

void plugin_fill_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_PERTURB, PLUGIN_FILLING ^ 0xff);
#endif
}

const char *plugin_complaint(void)
{
    return complaint[0] ? complaint : NULL;
}

status plugin_checked(status s)
{
    return s || !complaint[0] ? s : status_fail("%s", complaint);
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
    plugin_call_begins(call, T);
    return saved;
}

static void leave(const char *call, const fenv_t *saved)
{
    plugin_call_ended();
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
        return status_fail("the plug-in's step(%zu token%s) failed: %s", T, T == 1 ? "" : "s", s);
    return *logits
               ? NULL
               : status_fail("the plug-in's step(%zu token%s) returned neither logits nor an error",
                             T, T == 1 ? "" : "s");
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
