// What --save-state and --load-state do around the functions of a program.
#include "common/generate/state.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/input.h"
#include "common/file/file.h"

status state_refuse(const char *program, const char *what)
{
    return status_fail("--%s-state: %s keeps no state: use build/kvcache", what, program);
}

status state_load(const state_api *api, decoder *d, const model *m, const char *path, report *r)
{
    char digest[65];
    status s = model_digest(m, digest);
    if (s)
        return s;
    const uint64_t start = clock_ns();
    s = api->load(d, digest, path, &r->restored);
    r->restore_ns = clock_ns() - start;
    return s;
}

size_t state_file(const char *text, bool *is_hidden)
{
    size_t n;
    *is_hidden = input_ends_in(text, ",hidden", &n);
    return n;
}

// FILE of TEXT, with a zero behind it.
static status read_text(const char *text, char path[FILE_PATH_SIZE], bool *is_hidden)
{
    const size_t n = state_file(text, is_hidden);
    if (n >= FILE_PATH_SIZE)
        return status_fail("--save-state %.64s...: the path is longer than %d bytes: use a shorter "
                           "one",
                           text, FILE_PATH_SIZE - 1);
    snprintf(path, FILE_PATH_SIZE, "%.*s", (int)n, text);
    const char *slash = strrchr(path, '/'), *comma = strchr(slash ? slash : path, ',');
    return comma ? status_fail("--save-state %.64s: behind a comma stands hidden, or nothing: give "
                               "FILE or FILE,hidden",
                               text)
                 : NULL;
}

status state_check(const state_api *api, const kv_spec *spec, const char *text)
{
    char path[FILE_PATH_SIZE];
    bool is_hidden;
    status s = read_text(text, path, &is_hidden);
    return s ? s : api->check(spec, is_hidden, path);
}

status state_save(const state_api *api, decoder *d, const model *m, const char *text)
{
    char digest[65], path[FILE_PATH_SIZE];
    bool is_hidden;
    status s = read_text(text, path, &is_hidden);
    if (!s)
        s = model_digest(m, digest);
    return s ? s : api->save(d, digest, is_hidden, path);
}
