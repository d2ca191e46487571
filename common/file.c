// Reading the files of a model, with care.
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

status file_path(const char *dir, const char *name, char path[FILE_PATH_SIZE])
{
    int length = snprintf(path, FILE_PATH_SIZE, "%s/%s", dir, name);
    if (length < 0 || length >= FILE_PATH_SIZE)
        return status_fail("%.64s...: the path is longer than %d bytes: use a shorter one", dir, FILE_PATH_SIZE - 1);
    return NULL;
}

status file_open(const char *path, const char *cure, int *fd, uint64_t *bytes)
{
    *fd = open(path,
               O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe without a writer would block; to a file it means nothing
    if (*fd < 0)
        return status_fail("%s: %s: %s", path, strerror(errno), cure);
    struct stat about;
    if (fstat(*fd, &about) == 0 && S_ISREG(about.st_mode)) {
        *bytes = (uint64_t)about.st_size;
        return NULL;
    }
    close(*fd);
    *fd = -1;
    return status_fail("%s: not a regular file: %s", path, cure);
}

status file_read(int fd, const char *path, uint64_t offset, void *to, size_t bytes)
{
    for (char *p = to; bytes > 0;) {
        ssize_t n = pread(fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return status_fail("%s: cannot read: %s: check the disk, or fetch the file again", path, strerror(errno));
        if (n == 0)
            return status_fail("%s: ends at byte %llu, in the middle of its data: fetch it again", path,
                               (unsigned long long)offset);
        p += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return NULL;
}

static void *allocate(size_t bytes)
{
    return memory_resize(NULL, bytes, 1);
}

status file_parse_json(const char *path, const char *text, size_t bytes, json_t **out)
{
    json_error_t error;
    json_set_alloc_funcs(allocate, memory_free);
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!*out && json_error_code(&error) == json_error_out_of_memory)
        return memory_failed(path);
    if (!*out)
        return status_fail("%s: not valid JSON (line %d: %s): fetch it again", path, error.line, error.text);
    if (json_is_object(*out))
        return NULL;
    json_decref(*out);
    *out = NULL;
    return status_fail("%s: holds JSON, but not an object {...}: fetch it again", path);
}
