// The file is read at once, and gone through line by line.
#include "bench/base/jsonl.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/file/file.h"

static status take_line(const char *name, const char *text, size_t n, jsonl_take *take, void *user)
{
    json_t *object;
    status failed = file_parse_json(name, text, n, &object);
    if (failed)
        return failed;
    failed = take(user, object);
    json_decref(object);
    return failed ? status_fail("%s: %s", name, failed) : NULL;
}

status jsonl_read(const char *path, jsonl_take *take, void *user)
{
    char dir[FILE_PATH_SIZE], name[FILE_PATH_SIZE + 32], *text;
    size_t n, line = 0;
    const char *slash = strrchr(path, '/');
    const int before = slash ? (int)(slash - path) : 1;
    snprintf(dir, sizeof dir, "%.*s", before, slash ? path : ".");
    status failed = file_read(dir, slash ? slash + 1 : path, &text, &n);
    if (failed)
        return failed;
    for (const char *at = text, *end = text + n; !failed && at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((stop ? stop : end) - at);
        snprintf(name, sizeof name, "%s, line %zu", path, ++line);
        failed = take_line(name, at, length, take, user);
        at += length + 1;
    }
    if (!failed && line == 0)
        failed = status_fail("%s holds no request: one JSON object a line is wanted", path);
    memory_free(text);
    return failed;
}
