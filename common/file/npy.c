// Writes .npy row by row: the header has a fixed size and is written again once the number of rows
// is known. Reads .npy whole: its header is a Python dictionary of three entries, parsed here by
// hand.
#include "common/file/npy.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/file/replacement.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "'<f4' is written and read as it lies in memory");

enum {
    PREAMBLE = 10,
    HEADER = 128
}; // bytes: magic, version and length; and all up to the data, a multiple of 64 as the format asks

struct npy_writer {
    FILE *file;
    const char *path;
    replacement growing;
    size_t rows, columns;
};

static status cannot_write(const npy_writer *w)
{
    return replacement_failed(w->path, "file");
}

static status write_header(npy_writer *w)
{
    char header[HEADER + 1] = "\x93NUMPY\x01"; // then minor version 0 and the length, little-endian
    header[PREAMBLE - 2] = HEADER - PREAMBLE;
    int n = snprintf(header + PREAMBLE, HEADER - PREAMBLE,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", w->rows,
                     w->columns);
    memset(header + PREAMBLE + n, ' ', (size_t)(HEADER - PREAMBLE - n));
    header[HEADER - 1] = '\n';
    bool done = fseek(w->file, 0, SEEK_SET) == 0 && fwrite(header, HEADER, 1, w->file) == 1;
    return done ? NULL : cannot_write(w);
}

status npy_create(const char *path, size_t columns, npy_writer **out)
{
    *out = NULL;
    npy_writer *w = memory_array(1, sizeof *w);
    if (!w)
        return memory_failed("the .npy writer");
    *w = (npy_writer){.path = path, .columns = columns};
    status s = replacement_begin(path, &w->growing);
    if (!s) {
        w->file = fopen(w->growing.beside, "wb");
        s = w->file ? write_header(w) : cannot_write(w);
    }
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
    if (!s && (fflush(w->file) != 0 || fsync(fileno(w->file)) != 0))
        s = cannot_write(w);
    if (fclose(w->file) != 0 && !s)
        s = cannot_write(w);
    w->file = NULL;
    if (!s && !replacement_finish(&w->growing))
        s = cannot_write(w);
    npy_abandon(w);
    return s;
}

void npy_abandon(npy_writer *w)
{
    if (!w)
        return;
    if (w->file)
        fclose(w->file);
    replacement_abandon(&w->growing);
    memory_free(w);
}

// Reading. A header is text: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, padded
// with spaces.

#define SAVE_AGAIN "save it with np.save(path, np.ascontiguousarray(x.astype('<f4')))"

enum { RANK = 2, DESCR = 24 };

typedef struct header {
    char descr[DESCR];
    bool fortran_order;
    size_t rank, shape[RANK]; // the first sizes of `rank`
    unsigned seen;            // a bit for each key
} header;

static status open_regular(const char *path, FILE **f, size_t *bytes)
{
    struct stat about;
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode)) // a pipe might never end
        return status_fail("%s: it is not a regular file: name a .npy file", path);
    *f = fopen(path, "rb");
    if (*f && fstat(fileno(*f), &about) == 0) {
        *bytes = (size_t)about.st_size;
        return NULL;
    }
    status s = status_fail("%s: %s: name a .npy file that can be read", path, strerror(errno));
    if (*f)
        fclose(*f);
    return s;
}

static status read_exactly(FILE *f, const char *path, void *to, size_t bytes)
{
    return fread(to, 1, bytes, f) == bytes
               ? NULL
               : status_fail("%s: cannot be read to its end: check the disk, or write it again",
                             path);
}

static void skip_spaces(const char **at)
{
    *at += strspn(*at, " \t\r\n");
}

// Goes on behind spaces and `token`, if it comes next.
static bool take(const char **at, const char *token)
{
    skip_spaces(at);
    bool here = strncmp(*at, token, strlen(token)) == 0;
    *at += here ? strlen(token) : 0;
    return here;
}

// A Python string without escapes, shorter than `size`.
static bool take_string(const char **at, char *out, size_t size)
{
    const char *quote = take(at, "'") ? "'" : take(at, "\"") ? "\"" : NULL;
    size_t n = quote ? strcspn(*at, quote) : 0;
    if (!quote || (*at)[n] == '\0' || n >= size)
        return false;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n + 1;
    return true;
}

static status take_descr(const char *path, const char **at, header *h)
{
    if (take_string(at, h->descr, sizeof h->descr))
        return NULL;
    return status_fail("%s: its dtype, %.40s..., is not one of plain numbers: " SAVE_AGAIN, path,
                       *at);
}

static status take_order(const char *path, const char **at, header *h)
{
    h->fortran_order = take(at, "True");
    if (h->fortran_order || take(at, "False"))
        return NULL;
    return status_fail("%s: its fortran_order is neither True nor False: " SAVE_AGAIN, path);
}

// A size; Python 2 wrote an L behind large ones.
static bool take_size(const char **at, uint64_t *out)
{
    skip_spaces(at);
    size_t digits = strspn(*at, "0123456789");
    if (!input_whole(*at, digits, SIZE_MAX, out))
        return false;
    *at += digits + ((*at)[digits] == 'L');
    return true;
}

static status take_shape(const char *path, const char **at, header *h)
{
    bool good = take(at, "("), closed = good && take(at, ")");
    while (good && !closed) {
        uint64_t size = 0;
        good = take_size(at, &size);
        if (h->rank < RANK)
            h->shape[h->rank] = (size_t)size;
        h->rank++;
        bool comma = good && take(at, ",");
        closed = good && take(at, ")");
        good = good && (comma || closed);
    }
    return good ? NULL : status_fail("%s: its shape is not a tuple of sizes: " SAVE_AGAIN, path);
}

static const struct {
    const char *name;
    status (*take)(const char *path, const char **at, header *h);
} keys[] = {{"descr", take_descr}, {"fortran_order", take_order}, {"shape", take_shape}};
enum { KEYS = sizeof keys / sizeof *keys };

static status take_entry(const char *path, const char **at, header *h)
{
    char name[DESCR] = "";
    size_t i = 0;
    if (!take_string(at, name, sizeof name) || !take(at, ":"))
        return status_fail("%s: its header is not a dictionary as NumPy writes it: " SAVE_AGAIN,
                           path);
    while (i < KEYS && strcmp(name, keys[i].name) != 0)
        i++;
    if (i == KEYS || h->seen & 1u << i)
        return status_fail("%s: its header has the key '%s' %s: " SAVE_AGAIN, path, name,
                           i == KEYS ? "which .npy does not know" : "twice");
    h->seen |= 1u << i;
    return keys[i].take(path, at, h);
}

static status parse_header(const char *path, const char *text, header *h)
{
    const char *at = text;
    bool comma = take(&at, "{");
    if (!comma)
        return status_fail("%s: its header is not a dictionary as NumPy writes it: " SAVE_AGAIN,
                           path);
    while (!take(&at, "}")) {
        status s = comma ? take_entry(path, &at, h)
                         : status_fail("%s: its header is cut off: " SAVE_AGAIN, path);
        if (s)
            return s;
        comma = take(&at, ",");
    }
    skip_spaces(&at);
    if (*at != '\0')
        return status_fail("%s: its header goes on behind the dictionary: " SAVE_AGAIN, path);
    for (size_t i = 0; i < KEYS; i++)
        if (!(h->seen & 1u << i))
            return status_fail("%s: its header has no '%s': " SAVE_AGAIN, path, keys[i].name);
    return NULL;
}

// What the header says against what this reader takes and what the file still holds.
static status check_header(const char *path, const header *h, size_t bytes, npy_matrix *out)
{
    if (strcmp(h->descr, "<f4") != 0 && strcmp(h->descr, "<f8") != 0)
        return status_fail(
            "%s: its numbers are '%s', and only '<f4' and '<f8' are read: " SAVE_AGAIN, path,
            h->descr);
    if (h->rank < 1 || h->rank > RANK)
        return status_fail(
            "%s: it has %zu dimensions, and only 1 or 2 are read: save x.reshape(-1, x.shape[-1])",
            path, h->rank);
    out->is_double = h->descr[2] == '8';
    out->fortran_order = h->fortran_order;
    out->rows = h->rank == 1 ? 1 : h->shape[0];
    out->columns = h->shape[h->rank - 1];
    size_t wanted = size_times(size_times(out->rows, out->columns),
                               out->is_double ? sizeof(double) : sizeof(float));
    if (wanted != bytes)
        return status_fail(
            "%s: %zu bytes of numbers where (%zu, %zu) of '%s' needs %s%zu: it %s: write it again",
            path, bytes, out->rows, out->columns, h->descr, wanted == SIZE_MAX ? "more than " : "",
            wanted, bytes < wanted ? "was cut off" : "holds something else too");
    return NULL;
}

// Magic, version, and the length of the text that follows: 2 bytes in version 1, 4 from then on;
// all little-endian.
static status read_preamble(FILE *f, const char *path, size_t file_bytes, size_t *begin,
                            size_t *length)
{
    unsigned char bytes[PREAMBLE + 2] = {0};
    size_t n = fread(bytes, 1, PREAMBLE, f);
    if (n < PREAMBLE || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return status_fail("%s: it does not begin as a .npy file does%s: " SAVE_AGAIN, path,
                           memcmp(bytes, "PK", 2) == 0 ? " but as a .npz or .pt archive" : "");
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0)
        return status_fail("%s: it is .npy version %d.%d, and 1.0 to 3.0 are read: " SAVE_AGAIN,
                           path, bytes[6], bytes[7]);
    *begin = PREAMBLE;
    if (bytes[6] > 1)
        *begin += fread(bytes + PREAMBLE, 1, 2, f);
    *length = bytes[8] | (size_t)bytes[9] << 8 | (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size_plus(*begin, *length) > file_bytes)
        return status_fail(
            "%s: a header of %zu bytes does not fit a file of %zu: it was cut off: write it again",
            path, *length, file_bytes);
    return NULL;
}

static status read_header(FILE *f, const char *path, size_t length, header *h)
{
    char *text = memory_array(length + 1, 1);
    if (!text)
        return memory_failed(path);
    status s = read_exactly(f, path, text, length);
    if (!s && memchr(text, '\0', length))
        s = status_fail("%s: its header has a zero byte in it: " SAVE_AGAIN, path);
    if (!s)
        s = parse_header(path, text, h);
    memory_free(text);
    return s;
}

static status read_all(FILE *f, const char *path, size_t file_bytes, npy_matrix *out)
{
    size_t begin = 0, length = 0;
    header h = {0};
    status s = read_preamble(f, path, file_bytes, &begin, &length);
    if (!s)
        s = read_header(f, path, length, &h);
    const size_t bytes = s ? 0 : file_bytes - begin - length;
    if (!s)
        s = check_header(path, &h, bytes, out);
    if (s)
        return s;
    out->data = memory_array(bytes, 1);
    return out->data ? read_exactly(f, path, out->data, bytes) : memory_failed(path);
}

status npy_read(const char *path, npy_matrix *out)
{
    *out = (npy_matrix){0};
    FILE *f = NULL;
    size_t file_bytes = 0;
    status s = open_regular(path, &f, &file_bytes);
    if (s)
        return s;
    s = read_all(f, path, file_bytes, out);
    fclose(f);
    if (s)
        npy_free(out);
    return s;
}

void npy_row(const npy_matrix *m, size_t r, double *row)
{
    const size_t step = m->fortran_order ? m->rows : 1,
                 first = m->fortran_order ? r : r * m->columns;
    for (size_t i = 0; i < m->columns; i++)
        row[i] = m->is_double ? ((const double *)m->data)[first + i * step]
                              : ((const float *)m->data)[first + i * step];
}

void npy_free(npy_matrix *m)
{
    memory_free(m->data);
    *m = (npy_matrix){0};
}
