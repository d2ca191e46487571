// Writes a snapshot beside its place, and reads it strictly: what a header may say follows from the
// model, the spec and the rows, so it is compared with what would be written.
#include "kvcache/snapshot/snapshot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/file/file.h"
#include "common/file/replacement.h"

enum {
    HASH_AT = SNAPSHOT_LENGTH + sizeof SNAPSHOT_BEGINNING - 1, // in the file
    MOST_BYTES = 1 << 30,                                      // of one system call
};

struct snapshot_file {
    char *path;
    replacement growing; // while it is written
    int fd;
    XXH3_state_t *hash; // of all that was appended or read, the header's own hash as zeros
    char said[SNAPSHOT_HASH + 1];
    uint64_t at; // where the next byte lies
};

// ---- the hash ----

static void hash_text(const snapshot_file *f, char hash[SNAPSHOT_HASH + 1])
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(f->hash));
    for (size_t i = 0; i < SNAPSHOT_HASH / 2; i++)
        snprintf(hash + 2 * i, 3, "%02x", bytes.digest[i]);
}

// Takes the header in, with zeros in the place of its hash.
static void hash_header(snapshot_file *f, snapshot_text *header)
{
    memset(header->at + HASH_AT, '0', SNAPSHOT_HASH);
    XXH3_128bits_update(f->hash, header->at, header->n);
    f->at = header->n;
}

static status make_file(const char *path, snapshot_file **out)
{
    snapshot_file *f = memory_array(1, sizeof *f);
    *out = f;
    if (!f)
        return memory_failed("a snapshot");
    f->fd = -1;
    f->path = memory_array(strlen(path) + 1, 1);
    f->hash = XXH3_createState();
    if (!f->path || !f->hash)
        return memory_failed("a snapshot");
    memcpy(f->path, path, strlen(path));
    XXH3_128bits_reset(f->hash);
    return NULL;
}

void snapshot_close(snapshot_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    replacement_abandon(&f->growing);
    XXH3_freeState(f->hash);
    memory_free(f->path);
    memory_free(f);
}

// ---- writing ----

static status cannot_write(const snapshot_file *f)
{
    return replacement_failed(f->path, "file");
}

static status write_all(const snapshot_file *f, const void *from, size_t bytes)
{
    for (const char *p = from; bytes > 0;) {
        const ssize_t n = write(f->fd, p, size_min(bytes, MOST_BYTES));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cannot_write(f);
        p += n;
        bytes -= (size_t)n;
    }
    return NULL;
}

static status open_beside(snapshot_file *f)
{
    status failed = replacement_begin(f->path, &f->growing);
    if (failed)
        return failed;
    f->fd = open(f->growing.beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return f->fd >= 0 ? NULL : cannot_write(f);
}

static status refuse_scales(const char *path, const snapshot_about *about)
{
    char name[KV_NAME];
    if (snapshot_dtype(about))
        return NULL;
    return status_fail("--save-state %s: keys and values under --kv %s come with scales: save "
                       "%s,hidden in their place",
                       path, kv_name(&about->spec, name), path);
}

// A file with nothing in it yet, beside its place; to be closed in any case.
static status begin(const char *path, const snapshot_about *about, snapshot_file **out)
{
    *out = NULL;
    status failed = refuse_scales(path, about);
    if (!failed)
        failed = make_file(path, out);
    return failed ? failed : open_beside(*out);
}

status snapshot_check(const char *path, const snapshot_about *about)
{
    snapshot_file *f;
    status failed = begin(path, about, &f);
    snapshot_close(f);
    return failed;
}

status snapshot_create(const char *path, const snapshot_about *about, snapshot_file **out)
{
    snapshot_text header = {0};
    size_t data;
    char zeros[SNAPSHOT_HASH + 1] = "";
    snapshot_file *f;
    *out = NULL;
    memset(zeros, '0', SNAPSHOT_HASH);
    status failed = begin(path, about, &f);
    if (!failed)
        failed = snapshot_make_header(about, zeros, &header, &data);
    if (!failed) {
        hash_header(f, &header);
        failed = write_all(f, header.at, header.n);
    }
    memory_free(header.at);
    if (failed)
        snapshot_close(f);
    else
        *out = f;
    return failed;
}

status snapshot_append(snapshot_file *f, const void *from, size_t bytes)
{
    XXH3_128bits_update(f->hash, from, bytes);
    return write_all(f, from, bytes);
}

status snapshot_finish(snapshot_file *f)
{
    char hash[SNAPSHOT_HASH + 1];
    hash_text(f, hash);
    bool done = pwrite(f->fd, hash, SNAPSHOT_HASH, HASH_AT) == SNAPSHOT_HASH && fsync(f->fd) == 0;
    status failed = done ? NULL : cannot_write(f);
    if (close(f->fd) != 0 && !failed)
        failed = cannot_write(f);
    f->fd = -1;
    if (!failed && !replacement_finish(&f->growing))
        failed = cannot_write(f);
    snapshot_close(f);
    return failed;
}

// ---- reading ----

static status open_file(snapshot_file *f, uint64_t *bytes)
{
    struct stat about;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // not to wait at a pipe
    if (f->fd < 0)
        return status_fail("%s: %s: name a file that --save-state has written", f->path,
                           strerror(errno));
    if (fstat(f->fd, &about) != 0 || !S_ISREG(about.st_mode))
        return snapshot_damaged(f->path, "it is not a regular file");
    *bytes = (uint64_t)about.st_size;
    return NULL;
}

// The file's own header, to be freed.
static status read_header(snapshot_file *f, const config *c, uint64_t bytes, snapshot_text *t)
{
    uint64_t length = 0;
    status failed =
        bytes < SNAPSHOT_LENGTH ? NULL : file_read_at(f->fd, f->path, 0, &length, SNAPSHOT_LENGTH);
    if (failed)
        return failed;
    if (length < HASH_AT + SNAPSHOT_HASH || length > bytes - SNAPSHOT_LENGTH ||
        length > snapshot_header_room(c))
        return snapshot_damaged(
            f->path, "it does not begin as a snapshot of such a model does, or it was cut");
    t->n = SNAPSHOT_LENGTH + (size_t)length;
    t->at = memory_array(t->n, 1);
    if (!t->at)
        return memory_failed(f->path);
    failed = file_read_at(f->fd, f->path, 0, t->at, t->n);
    memcpy(f->said, t->at + HASH_AT, SNAPSHOT_HASH);
    return failed;
}

// The header and the length of the file are what was written for these rows.
static status check_header(const snapshot_file *f, const snapshot_text *t, const snapshot_about *a,
                           uint64_t bytes)
{
    snapshot_text written;
    size_t data = 0;
    status failed = snapshot_make_header(a, f->said, &written, &data);
    if (!failed && (written.n != t->n || memcmp(written.at, t->at, t->n) != 0))
        failed = snapshot_damaged(f->path, "its header is not what its rows ask for");
    if (!failed && bytes != t->n + data)
        failed = snapshot_damaged(f->path, bytes < t->n + data ? "it was cut off"
                                                               : "something was appended");
    memory_free(written.at);
    return failed;
}

status snapshot_open(const char *path, size_t T_max, snapshot_about *about, snapshot_file **out)
{
    snapshot_text header = {0};
    uint64_t bytes = 0;
    snapshot_file *f;
    *out = NULL;
    status failed = make_file(path, &f);
    if (!failed)
        failed = open_file(f, &bytes);
    if (!failed)
        failed = read_header(f, &about->m->config, bytes, &header);
    if (!failed)
        failed = snapshot_read_header(f->path, &header, T_max, about);
    if (!failed)
        failed = check_header(f, &header, about, bytes);
    if (!failed)
        hash_header(f, &header);
    memory_free(header.at);
    if (failed)
        snapshot_close(f);
    else
        *out = f;
    return failed;
}

status snapshot_read(snapshot_file *f, void *to, size_t bytes)
{
    status failed = file_read_at(f->fd, f->path, f->at, to, bytes);
    if (failed)
        return failed;
    XXH3_128bits_update(f->hash, to, bytes);
    f->at += bytes;
    return NULL;
}

status snapshot_verify(const snapshot_file *f)
{
    char hash[SNAPSHOT_HASH + 1];
    hash_text(f, hash);
    return strcmp(hash, f->said) == 0
               ? NULL
               : snapshot_damaged(f->path, "its bytes are not those that were saved");
}
