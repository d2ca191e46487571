// Hugging Face's safetensors: the header checked in full before anything is believed, the data read
// in pieces.
#include "common/model/safetensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/file/file.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "safetensors are little-endian, and are read here without swapping bytes"
#endif

enum {
    LENGTH_BYTES = 8,         // the header's length, before the header
    HEADER_BYTES = 100000000, // the format's own limit
    HEADER_READ = 1 << 22,    // ours: 40,000 tensors, at 40 times that in memory
    PIECE = 1 << 15,          // 16-bit numbers widened at a time
};

#define AGAIN "fetch the file again"

struct safetensors_type {
    const char *name;
    size_t bytes;                                             // of one element
    void (*widen)(const uint16_t *from, size_t n, float *to); // 16-bit numbers to float
    element kept;
};

struct safetensors {
    char path[FILE_PATH_SIZE];
    int fd;
    json_t *header; // owns the names
    safetensor *tensors;
    size_t count;
    uint16_t piece[PIECE];
};

// IEEE-754 binary16: 1 sign, 5 exponent, 10 fraction bits. Infinities and NaN keep sign and
// payload.
static void widen_f16(const uint16_t *from, size_t n, float *to)
{
    const uint32_t rebias = (127 - 15) << 23; // from binary16's exponent bias to binary32's
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = from[i] & 0x7FFFu, sign = (uint32_t)(from[i] & 0x8000u) << 16;
        uint32_t bits = (magnitude << 13) + rebias + (magnitude >= 0x7C00u ? rebias : 0);
        float subnormal = (float)(int32_t)magnitude * 0x1p-24f, value;
        memcpy(&value, &bits, sizeof value);
        value = magnitude < 0x0400u ? subnormal : value;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

// bfloat16: the upper half of a binary32.
static void widen_bf16(const uint16_t *from, size_t n, float *to)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static const safetensors_type DTYPES[] = {
    // The ones that can be read,
    {"F32", 4, NULL, ELEMENT_F32},
    {"F16", 2, widen_f16, ELEMENT_F16},
    {"BF16", 2, widen_bf16, ELEMENT_BF16},
    // and those of buffers nobody reads.
    {"BOOL", 1, NULL, ELEMENT_F32},
    {"U8", 1, NULL, ELEMENT_F32},
    {"I8", 1, NULL, ELEMENT_F32},
    {"F8_E5M2", 1, NULL, ELEMENT_F32},
    {"F8_E4M3", 1, NULL, ELEMENT_F32},
    {"F8_E8M0", 1, NULL, ELEMENT_F32},
    {"U16", 2, NULL, ELEMENT_F32},
    {"I16", 2, NULL, ELEMENT_F32},
    {"U32", 4, NULL, ELEMENT_F32},
    {"I32", 4, NULL, ELEMENT_F32},
    {"U64", 8, NULL, ELEMENT_F32},
    {"I64", 8, NULL, ELEMENT_F32},
    {"F64", 8, NULL, ELEMENT_F32},
    {"C64", 8, NULL, ELEMENT_F32},
};

static const safetensors_type *find_dtype(const char *name)
{
    for (size_t i = 0; name && i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (strcmp(name, DTYPES[i].name) == 0)
            return &DTYPES[i];
    return NULL;
}

// json[i] as a size; false if it is none.
static bool read_size(const json_t *array, size_t i, size_t *out)
{
    const json_t *value = json_array_get(array, i);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

static status read_shape(const char *path, const json_t *shape, safetensor *t)
{
    t->rank = json_array_size(shape);
    bool good = json_is_array(shape) && t->rank <= SAFETENSORS_RANK;
    for (size_t i = 0; good && i < t->rank; i++)
        good = read_size(shape, i, &t->shape[i]);
    if (!good)
        return status_fail("%s: tensor %.128s: its shape is not an array of up to %d sizes: " AGAIN,
                           path, t->name, SAFETENSORS_RANK);
    return NULL;
}

// One entry of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}.
static status read_entry(const char *path, const json_t *entry, uint64_t data, safetensor *t)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin, end;
    t->type = find_dtype(json_string_value(json_object_get(entry, "dtype")));
    if (!t->type)
        return status_fail(
            "%s: tensor %.128s: its dtype is missing or unknown: save it as F32, F16 or BF16", path,
            t->name);
    status s = read_shape(path, json_object_get(entry, "shape"), t);
    if (s)
        return s;
    if (json_array_size(offsets) != 2 || !read_size(offsets, 0, &begin) ||
        !read_size(offsets, 1, &end) || begin > end)
        return status_fail("%s: tensor %.128s: its data_offsets are not [begin, end]: " AGAIN, path,
                           t->name);
    size_t bytes = t->type->bytes;
    for (size_t i = 0; i < t->rank; i++)
        bytes = size_times(bytes, t->shape[i]);
    if (bytes != end - begin)
        return status_fail(
            "%s: tensor %.128s: %zu bytes of data, but its shape and dtype ask for %zu: " AGAIN,
            path, t->name, end - begin, bytes);
    t->offset = data + begin;
    t->bytes = bytes;
    return NULL;
}

static int by_offset(const void *a, const void *b)
{
    const safetensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const safetensor *)a)->name, ((const safetensor *)b)->name);
}

// The data must be covered exactly: then no byte is read twice, none is smuggled in, and a cut file
// shows.
static status check_cover(const safetensors *file, uint64_t data, uint64_t file_bytes)
{
    uint64_t covered = data;
    for (size_t i = 0; i < file->count; i++) {
        const safetensor *t = &file->tensors[i];
        if (t->offset != covered)
            return status_fail("%s: tensor %.128s: its data %s: " AGAIN, file->path, t->name,
                               t->offset < covered ? "overlaps another tensor's" : "follows a gap");
        covered += t->bytes;
    }
    if (covered != file_bytes)
        return status_fail("%s: %llu bytes long where its header promises %llu: %s: " AGAIN,
                           file->path, (unsigned long long)file_bytes, (unsigned long long)covered,
                           file_bytes < covered ? "it was cut off" : "something was appended");
    return NULL;
}

static status read_entries(safetensors *file, uint64_t data, uint64_t file_bytes)
{
    const char *name;
    json_t *entry;
    file->tensors = memory_array(json_object_size(file->header), sizeof *file->tensors);
    if (!file->tensors)
        return memory_failed(file->path);
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        safetensor *t = &file->tensors[file->count++];
        t->name = name;
        status s = read_entry(file->path, entry, data, t);
        if (s)
            return s;
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, by_offset);
    status s = check_cover(file, data, file_bytes);
    qsort(file->tensors, file->count, sizeof *file->tensors, by_name);
    return s;
}

static status parse_header(safetensors *file, uint64_t bytes)
{
    char *text = memory_array((size_t)bytes, 1);
    if (!text)
        return memory_failed(file->path);
    status s = file_read_at(file->fd, file->path, LENGTH_BYTES, text, (size_t)bytes);
    if (!s && text[0] != '{')
        s = status_fail(
            "%s: its header does not begin with {, so it is not a safetensors file: " AGAIN,
            file->path);
    if (!s)
        s = file_parse_json(file->path, text, (size_t)bytes, &file->header);
    memory_free(text);
    return s;
}

static status check_beginning(const safetensors *file, uint64_t file_bytes)
{
    char text[FILE_POINTER_BYTES];
    const size_t n = file_bytes < sizeof text ? (size_t)file_bytes : sizeof text;
    status s = file_read_at(file->fd, file->path, 0, text, n);
    return s ? s : file_check_pointer(file->path, text, n);
}

static status read_header(safetensors *file)
{
    uint64_t file_bytes, header_bytes;
    status s = file_open(file->path, &file->fd, &file_bytes);
    if (s)
        return s;
    if (file_bytes < LENGTH_BYTES)
        return status_fail("%s: only %llu bytes long, so not a safetensors file: " AGAIN,
                           file->path, (unsigned long long)file_bytes);
    s = check_beginning(file, file_bytes);
    if (!s)
        s = file_read_at(file->fd, file->path, 0, &header_bytes, LENGTH_BYTES);
    if (s)
        return s;
    if (header_bytes < 2 || header_bytes > file_bytes - LENGTH_BYTES)
        return status_fail("%s: a header of %llu bytes does not fit a file of %llu: it is cut off, "
                           "or not a safetensors file: " AGAIN,
                           file->path, (unsigned long long)header_bytes,
                           (unsigned long long)file_bytes);
    if (header_bytes > HEADER_BYTES)
        return status_fail("%s: a header of %llu bytes is longer than %d, the most that the format "
                           "allows: " AGAIN,
                           file->path, (unsigned long long)header_bytes, HEADER_BYTES);
    if (header_bytes > HEADER_READ)
        return status_fail("%s: a header of %llu bytes, where a GPT-2's has some 100 for each "
                           "tensor, and at most %d are read: save the model anew",
                           file->path, (unsigned long long)header_bytes, HEADER_READ);
    s = parse_header(file, header_bytes);
    return s ? s : read_entries(file, LENGTH_BYTES + header_bytes, file_bytes);
}

status safetensors_open(const char *path, safetensors **out)
{
    *out = NULL;
    safetensors *file = memory_array(1, sizeof *file);
    if (!file)
        return memory_failed(path);
    file->fd = -1;
    snprintf(file->path, sizeof file->path, "%s", path); // file_path has made it fit
    status s = read_header(file);
    if (s)
        safetensors_close(file);
    else
        *out = file;
    return s;
}

void safetensors_close(safetensors *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    memory_free(file->tensors);
    json_decref(file->header);
    memory_free(file);
}

const safetensor *safetensors_at(const safetensors *file, size_t i)
{
    return i < file->count ? &file->tensors[i] : NULL;
}

const safetensor *safetensors_find(const safetensors *file, const char *name)
{
    const safetensor key = {.name = name};
    return bsearch(&key, file->tensors, file->count, sizeof key, by_name);
}

element safetensors_element(const safetensor *t)
{
    return t->type->kept;
}

status safetensors_read(safetensors *file, const safetensor *t, size_t first, size_t count,
                        float *values)
{
    if (t->type == &DTYPES[0])
        return file_read_at(file->fd, file->path, t->offset + first * sizeof *values, values,
                            count * sizeof *values);
    if (!t->type->widen)
        return status_fail("%s: tensor %.128s: its numbers are %s: save it as F32, F16 or BF16",
                           file->path, t->name, t->type->name);
    for (size_t done = 0; done < count;) {
        size_t n = size_min(PIECE, count - done);
        status s =
            file_read_at(file->fd, file->path, t->offset + (first + done) * 2, file->piece, n * 2);
        if (s)
            return s;
        t->type->widen(file->piece, n, values + done);
        done += n;
    }
    return NULL;
}
