// Writes .npy row by row: the header has a fixed size and is written again once the number of rows is known.
#include "npy.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "'<f4' is written as it lies in memory");

enum {
    PREAMBLE = 10,
    HEADER = 128
}; // bytes: magic, version and length; and all up to the data, a multiple of 64 as the format asks

struct npy_writer {
    FILE *file;
    const char *path;
    char *beside; // where the file grows
    size_t rows, columns;
};

static status cannot_write(const npy_writer *w)
{
    return status_fail("cannot write %s: %s: free some space there, or name another file", w->path, strerror(errno));
}

static status write_header(npy_writer *w)
{
    char header[HEADER + 1] = "\x93NUMPY\x01"; // then minor version 0 and the length, little-endian
    header[PREAMBLE - 2] = HEADER - PREAMBLE;
    int n = snprintf(header + PREAMBLE, HEADER - PREAMBLE,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", w->rows, w->columns);
    memset(header + PREAMBLE + n, ' ', (size_t)(HEADER - PREAMBLE - n));
    header[HEADER - 1] = '\n';
    bool done = fseek(w->file, 0, SEEK_SET) == 0 && fwrite(header, HEADER, 1, w->file) == 1;
    return done ? NULL : cannot_write(w);
}

static void release(npy_writer *w)
{
    memory_free(w->beside);
    memory_free(w);
}

status npy_create(const char *path, size_t columns, npy_writer **out)
{
    *out = NULL;
    struct stat there;
    if (stat(path, &there) == 0 &&
        !S_ISREG(there.st_mode)) // a rename would put a file in a device's or directory's place
        return status_fail("cannot write %s: it is not a regular file: name a file", path);
    size_t length = strlen(path) + 32;
    npy_writer *w = memory_array(1, sizeof *w);
    char *beside = memory_array(length, 1);
    if (!w || !beside) {
        memory_free(beside);
        memory_free(w);
        return memory_failed("the .npy writer");
    }
    snprintf(beside, length, "%s.%ld.part", path, (long)getpid());
    *w = (npy_writer){.file = fopen(beside, "wb"), .path = path, .beside = beside, .columns = columns};
    status s = w->file ? write_header(w) : status_fail("cannot write %s: %s: name another file", path, strerror(errno));
    if (s)
        npy_abandon(w);
    else
        *out = w;
    return s;
}

status npy_append(npy_writer *w, const float *row)
{
    if (fwrite(row, sizeof *row, w->columns, w->file) != w->columns)
        return cannot_write(w);
    w->rows++;
    return NULL;
}

status npy_close(npy_writer *w)
{
    status s = write_header(w);
    if (fclose(w->file) != 0 && !s)
        s = cannot_write(w);
    w->file = NULL;
    if (!s && rename(w->beside, w->path) != 0)
        s = cannot_write(w);
    if (s)
        npy_abandon(w);
    else
        release(w);
    return s;
}

void npy_abandon(npy_writer *w)
{
    if (!w)
        return;
    if (w->file)
        fclose(w->file);
    unlink(w->beside);
    release(w);
}
