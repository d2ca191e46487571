// The place file:DIR[:MIB]: a file of pages, and memory for some of them.
//
// What stays in memory? Every step walks all layers, and in each layer all heads and pages, always
// in the same order. Under such a walk "least recently used" is the worst rule there is: what was
// used longest ago is what comes next, so that with memory for all but one part each part is read
// anew. The best is to keep some parts for good and to stream the others through what memory is
// left (Belady 1966: give up what is needed latest). So each head of each layer has `own` buffers,
// which keep its first pages and the newest one, into which rows are written; and the remaining
// buffers go to other parts in turn.
//
// pread and pwrite, never mmap: a full disk or a file cut short is a failure with a message, where
// a mapping would end the program by SIGBUS.
#include "common/kv/place_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#    include <sys/vfs.h>
#endif

#include "common/base/memory.h"
#include "common/base/size.h"

enum {
    MIB = 1 << 20,
    RESIDENT = 16 * MIB, // where no MIB are given: notes/16-offload.md
    LEAST = 2,           // buffers to stream through: one in use, one for what comes next
};

size_t place_file_resident(const kv_spec *spec)
{
    return spec->resident ? spec->resident : RESIDENT;
}

bool place_file_in_memory(const kv_spec *spec)
{
#ifdef __linux__
    enum { TMPFS = 0x01021994 };
    struct statfs about;
    return statfs(spec->dir, &about) == 0 && about.f_type == TMPFS;
#else
    (void)spec;
    return false;
#endif
}

// How many of the buffers a head of a layer keeps. The others should hold one head's pages, as the
// rows of a prompt go over these several times; but a head's newest page comes first.
static size_t own_buffers(const place_file *f, size_t pages)
{
    const size_t heads = f->layers * f->G, others = size_min(pages, f->buffers / 2),
                 own = (f->buffers - (others > LEAST ? others : LEAST)) / heads;
    return own == 0 && f->buffers >= heads + LEAST ? 1 : own;
}

static status make_buffers(place_file *f, const kv_spec *spec, size_t pages)
{
    const size_t parts = size_times(size_times(f->layers, f->stock), f->G),
                 resident = place_file_resident(spec);
    f->buffers = size_min(resident / f->bytes, size_plus(parts, LEAST));
    if (f->buffers < LEAST)
        return status_fail("--kv file:%s: %zu bytes of memory hold too few keys and values: give "
                           "at least file:%s:%zu",
                           spec->dir, resident, spec->dir, (LEAST * f->bytes + MIB - 1) / MIB);
    f->own = f->buffers < parts ? own_buffers(f, pages) : f->stock;
    f->memory = memory_array(f->buffers, f->bytes);
    f->buffer = memory_array(parts, sizeof *f->buffer);
    f->written = memory_array(parts, sizeof *f->written);
    f->part = memory_array(f->buffers, sizeof *f->part);
    f->changed = memory_array(f->buffers, sizeof *f->changed);
    f->newest = memory_array(f->layers * f->G, sizeof *f->newest);
    const bool made = f->memory && f->buffer && f->written && f->part && f->changed && f->newest;
    return made ? NULL : memory_failed("keys and values");
}

status place_file_create(const kv_spec *spec, const page_shape *shape, size_t layers, size_t stock,
                         size_t pages, place_file **out)
{
    place_file *f = *out = memory_array(1, sizeof *f);
    if (!f)
        return memory_failed("keys and values");
    *f = (place_file){.file.fd = -1, .G = shape->G, .bytes = shape->head_bytes};
    f->layers = layers;
    f->stock = stock;
    status s = make_buffers(f, spec, pages);
    if (!s) {
        s = scratch_open(spec->dir, &f->file);
        s = s ? status_fail("%s in --kv file:DIR", s) : NULL;
    }
    if (!s)
        return NULL;
    place_file_destroy(f);
    *out = NULL;
    return s;
}

void place_file_destroy(place_file *f)
{
    if (!f)
        return;
    scratch_close(&f->file);
    memory_free(f->memory);
    memory_free(f->buffer);
    memory_free(f->written);
    memory_free(f->part);
    memory_free(f->changed);
    memory_free(f->newest);
    memory_free(f);
}

static off_t offset_of(const place_file *f, size_t part)
{
    return (off_t)(part * f->bytes);
}

static status read_part(const place_file *f, size_t part, page *to)
{
    const size_t done = scratch_read(&f->file, to, f->bytes, offset_of(f, part));
    if (done == f->bytes)
        return NULL;
    if (errno != 0)
        return status_fail("%s: keys and values cannot be read back: %s: check the disk, or name "
                           "another directory in --kv file:DIR",
                           f->file.name, strerror(errno));
    return status_fail("%s: ends at byte %zu, before what was written there: leave the file alone, "
                       "and check the disk",
                       f->file.name, part * f->bytes + done);
}

static status write_part(const place_file *f, size_t part, const page *from)
{
    if (scratch_write(&f->file, from, f->bytes, offset_of(f, part)) == f->bytes)
        return NULL;
    return status_fail("%s: keys and values cannot be written: %s: make room there, name another "
                       "directory, or allow more memory in --kv file:DIR:MIB",
                       f->file.name, strerror(errno ? errno : ENOSPC));
}

// The buffer for a part that is not in memory: a free one of its head's own; for a page's first
// rows the newest of these, whose page is full; else the next of the others.
static size_t choose(place_file *f, size_t part)
{
    const size_t head = part / f->G / f->stock * f->G + part % f->G, first = head * f->own;
    for (size_t b = first; b < first + f->own; b++)
        if (f->part[b] == 0)
            return f->newest[head] = b;
    if (f->own > 0 && !f->written[part])
        return f->newest[head];
    const size_t shared = f->layers * f->G * f->own;
    f->next = f->next + 1 < f->buffers && f->next >= shared ? f->next + 1 : shared;
    return f->next;
}

// Makes buffer b free. Where the file cannot take what lies there, it stays.
static status vacate(place_file *f, size_t b)
{
    if (f->part[b] == 0)
        return NULL;
    const size_t part = f->part[b] - 1;
    if (f->changed[b]) {
        status s = write_part(f, part, f->memory + b * f->bytes);
        if (s)
            return s;
        f->written[part] = true;
    }
    f->changed[b] = false;
    f->part[b] = f->buffer[part] = 0;
    return NULL;
}

static status bring(place_file *f, size_t part)
{
    const size_t b = choose(f, part);
    status s = vacate(f, b);
    if (!s && f->written[part])
        s = read_part(f, part, f->memory + b * f->bytes);
    if (s)
        return s;
    f->part[b] = part + 1;
    f->buffer[part] = b + 1;
    return NULL;
}

page *place_file_part(place_file *f, size_t slot, size_t g, bool change)
{
    const size_t part = slot * f->G + g;
    if (!f->failed && !f->buffer[part])
        f->failed = bring(f, part);
    if (f->failed)
        return NULL;
    const size_t b = f->buffer[part] - 1;
    f->changed[b] = f->changed[b] || change;
    return f->memory + b * f->bytes;
}

void place_file_drop(place_file *f, size_t slot)
{
    for (size_t part = slot * f->G; part < (slot + 1) * f->G; part++) {
        const size_t b = f->buffer[part];
        if (b > 0) {
            f->part[b - 1] = 0;
            f->changed[b - 1] = false;
        }
        f->buffer[part] = 0;
        f->written[part] = false;
    }
}

void place_file_expect(const place_file *f, size_t l, size_t n)
{
#ifdef POSIX_FADV_WILLNEED
    const size_t first = l * f->stock * f->G;
    size_t from = first, to = first + size_min(n, f->stock) * f->G;
    while (from < to && (!f->written[from] || f->buffer[from]))
        from++;
    while (to > from && (!f->written[to - 1] || f->buffer[to - 1]))
        to--;
    if (from < to)
        posix_fadvise(f->file.fd, offset_of(f, from), offset_of(f, to - from), POSIX_FADV_WILLNEED);
#else
    (void)f, (void)l, (void)n;
#endif
}

void place_file_clear(place_file *f)
{
    // Where this fails, the room stays taken until the slots are written again or the program ends.
    if (ftruncate(f->file.fd, 0) < 0)
        errno = 0;
    f->failed = NULL;
}

size_t place_file_bytes(const place_file *f, size_t slot)
{
    size_t n = 0;
    for (size_t g = 0; g < f->G; g++)
        n += f->buffer[slot * f->G + g] > 0;
    return n * f->bytes;
}
