// Reading the files of a model, with care: each failure names the file, the reason and the cure.
#include "common/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/size.h"

enum {
    FIRST_BYTES = 1 << 16,   // of a stream, before it doubles
    LARGEST_BYTES = 1 << 26, // of a file or stream read whole: vocabularies and texts take a few MB
    JSON_GROWTH = 32, // times its text that JSON may take in memory: files of models take up to 20
    JSON_LEAST = 1 << 16, // bytes that any JSON may take
};

status file_path(const char *dir, const char *name, char path[FILE_PATH_SIZE])
{
    int length = snprintf(path, FILE_PATH_SIZE, "%s/%s", dir, name);
    if (length < 0 || length >= FILE_PATH_SIZE)
        return status_fail("%.64s...: the path is longer than %d bytes: use a shorter one", dir,
                           FILE_PATH_SIZE - 1);
    return NULL;
}

bool file_exists(const char *dir, const char *name)
{
    char path[FILE_PATH_SIZE];
    return !file_path(dir, name, path) && access(path, F_OK) == 0;
}

status file_open(const char *path, int *fd, uint64_t *bytes)
{
    struct stat about;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // not to wait for the other end of a pipe
    if (*fd < 0)
        return status_fail("%s: %s: check the path", path, strerror(errno));
    if (fstat(*fd, &about) == 0 && S_ISREG(about.st_mode)) {
        *bytes = (uint64_t)about.st_size;
        return NULL;
    }
    close(*fd);
    *fd = -1;
    return status_fail("%s: not a regular file: check the path", path);
}

status file_read_at(int fd, const char *path, uint64_t offset, void *to, size_t bytes)
{
    for (char *p = to; bytes > 0;) {
        ssize_t n = pread(fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return status_fail("%s: cannot be read: %s: check the disk, or fetch the file again",
                               path, strerror(errno));
        if (n == 0)
            return status_fail(
                "%s: ends at byte %llu while it is being read: leave it alone, or fetch it again",
                path, (unsigned long long)offset);
        p += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return NULL;
}

static status read_whole(int fd, const char *path, uint64_t size, char **bytes)
{
    if (size > LARGEST_BYTES)
        return status_fail("%s: %llu bytes are more than such a file can have (%d): fetch it again",
                           path, (unsigned long long)size, LARGEST_BYTES);
    *bytes = memory_array((size_t)size + 1, 1);
    if (!*bytes)
        return memory_failed(path);
    status s = file_read_at(fd, path, 0, *bytes, (size_t)size);
    if (s) {
        memory_free(*bytes);
        *bytes = NULL;
    }
    return s;
}

status file_check_pointer(const char *path, const char *text, size_t n)
{
    static const char lfs[] = "version https://git-lfs";
    if (n < FILE_POINTER_BYTES || memcmp(text, lfs, FILE_POINTER_BYTES) != 0)
        return NULL;
    return status_fail("%s: a Git LFS pointer in place of the file: run 'git lfs pull' there, or "
                       "fetch the file itself",
                       path);
}

static status check_text(const char *path, const char *text, size_t n)
{
    static const char *const marks[] = {"\xEF\xBB\xBF", "\xFF\xFE", "\xFE\xFF"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (n >= strlen(marks[i]) && memcmp(text, marks[i], strlen(marks[i])) == 0)
            return status_fail("%s: begins with a byte-order mark: save it as UTF-8 without one",
                               path);
    return file_check_pointer(path, text, n);
}

status file_read(const char *dir, const char *name, char **bytes, size_t *n)
{
    char path[FILE_PATH_SIZE];
    int fd;
    uint64_t size;
    *bytes = NULL;
    status s = file_path(dir, name, path);
    if (!s)
        s = file_open(path, &fd, &size);
    if (s)
        return s;
    *n = (size_t)size;
    s = read_whole(fd, path, size, bytes);
    close(fd);
    if (s || !(s = check_text(path, *bytes, *n)))
        return s;
    memory_free(*bytes);
    *bytes = NULL;
    return s;
}

// Twice the room for a stream, a zero byte besides.
static status grow(const char *name, char **bytes, size_t *capacity)
{
    if (*capacity == LARGEST_BYTES)
        return status_fail(
            "%s: has %d MiB or more, which is too long to be read at once: give a part of it", name,
            LARGEST_BYTES >> 20);
    size_t wider = *capacity ? 2 * *capacity : FIRST_BYTES;
    char *more = memory_resize(*bytes, wider + 1, 1);
    if (!more)
        return memory_failed(name);
    *bytes = more;
    *capacity = wider;
    return NULL;
}

status file_read_stream(FILE *f, const char *name, char **bytes, size_t *n)
{
    size_t capacity = 0;
    *bytes = NULL;
    *n = 0;
    status s = NULL;
    do {
        if (*n == capacity)
            s = grow(name, bytes, &capacity);
        if (!s)
            *n += fread(*bytes + *n, 1, capacity - *n, f);
    } while (!s && *n == capacity);
    if (!s && ferror(f))
        s = status_fail("%s: cannot be read: %s: check where it comes from", name, strerror(errno));
    if (s) {
        memory_free(*bytes);
        *bytes = NULL;
        return s;
    }
    (*bytes)[*n] = '\0';
    return NULL;
}

// Jansson must be kept from two things. "{},{},{}," unfolds to 75 times its length: what a text may
// take is bounded. And where a buffer for a token cannot grow, the token silently loses its end,
// quotation mark included: that allocation is kept in reserve. In either case the text ends at once
// for the parser.
static _Thread_local struct {
    const char *text;
    size_t n, at;
    size_t taken; // bytes
    void *reserve;
    size_t reserved; // bytes
    bool starved;
} json;

static void *json_allocate(size_t n)
{
    json.taken += n;
    void *p = memory_resize(NULL, n, 1); // many small ones: no need of zeros or alignment
    if (p)
        return p;
    json.starved = true;
    if (n > json.reserved)
        return NULL;
    p = json.reserve;
    json.reserve = NULL;
    json.reserved = 0;
    return p;
}

static bool json_is_too_much(void)
{
    return json.taken > JSON_LEAST + JSON_GROWTH * json.n;
}

// One byte at a time, so that none is read after the last.
static size_t json_next_byte(void *to, size_t room, void *unused)
{
    (void)room, (void)unused;
    if (json.at == json.n || json.starved || json_is_too_much())
        return 0;
    *(char *)to = json.text[json.at++];
    return 1;
}

static status json_failed(const char *path, const json_t *root, const json_error_t *error)
{
    if (json.starved)
        return memory_failed(path);
    if (json_is_too_much())
        return status_fail(
            "%s: its JSON takes more than %d times its size in memory: fetch the file again", path,
            JSON_GROWTH);
    if (root)
        return status_fail("%s: no object {...}: fetch the file again", path);
    return status_fail("%s: line %d is not valid JSON: %s: fetch the file again", path, error->line,
                       error->text);
}

status file_parse_json(const char *path, const char *text, size_t n, json_t **root)
{
    json_error_t error;
    *root = NULL;
    json.text = text;
    json.n = n;
    json.at = json.taken = 0;
    json.starved = false;
    json.reserved = 2 * n + 64; // the longest token, in a buffer that doubles
    json.reserve = memory_resize(NULL, json.reserved, 1);
    if (!json.reserve)
        return memory_failed(path);
    json_set_alloc_funcs(json_allocate, memory_free);
    *root = json_load_callback(json_next_byte, NULL, JSON_REJECT_DUPLICATES, &error);
    json_set_alloc_funcs(malloc, free); // what others build is theirs; memory_free is free
    memory_free(json.reserve);
    json.reserved = 0;
    if (json_is_object(*root) && !json.starved && !json_is_too_much())
        return NULL;
    status s = json_failed(path, *root, &error);
    json_decref(*root);
    *root = NULL;
    return s;
}

status file_read_json(const char *dir, const char *name, json_t **root)
{
    char path[FILE_PATH_SIZE], *text;
    size_t n;
    *root = NULL;
    status s = file_path(dir, name, path);
    if (!s)
        s = file_read(dir, name, &text, &n);
    if (s)
        return s;
    s = file_parse_json(path, text, n, root);
    memory_free(text);
    return s;
}
