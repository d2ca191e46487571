// The weights of a directory, one file or several, with one list of all tensors by name.
#include "common/model/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/file/file.h"

enum { SHARDS_MOST = 256 };

static const char WHOLE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";

typedef struct shard {
    const char *name; // in the index, or WHOLE
    char path[FILE_PATH_SIZE];
    safetensors *file;
} shard;

struct checkpoint {
    char path[FILE_PATH_SIZE];
    json_t *index; // owns the shards' names; NULL for one file
    shard *shards;
    size_t shard_count;
    checkpoint_tensor *tensors; // by name
    size_t count;
};

// ---- Which files ----

// Weights in formats that are not read, by what their names end in; part of a model is none.
static bool is_other_format(const char *name)
{
    static const char *const ENDS[] = {
        ".bin",  ".bin.index.json", ".h5",     ".msgpack",
        ".gguf", ".ggml",           ".pt",     ".pth",
        ".ckpt", ".onnx",           ".tflite", "adapter_model.safetensors"};
    size_t before;
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++)
        if (strcmp(name, ENDS[i]) == 0 || input_ends_in(name, ENDS[i], &before))
            return true;
    return false;
}

// Where nothing else is there, that is said: of the first by name.
static status check_formats(const char *dir)
{
    char first[256] = "";
    DIR *all = file_exists(dir, WHOLE) || file_exists(dir, INDEX) ? NULL : opendir(dir);
    for (const struct dirent *e; all && (e = readdir(all));)
        if (is_other_format(e->d_name) && (!*first || strcmp(e->d_name, first) < 0))
            snprintf(first, sizeof first, "%s", e->d_name);
    if (all)
        closedir(all);
    if (!*first)
        return NULL;
    return status_fail("%s: of weights only %s is there, and model.safetensors is read: load the "
                       "model with transformers, and save it with save_pretrained(DIR, "
                       "safe_serialization=True)",
                       dir, first);
}

// A shard's name is that of a file beside the index, and leads nowhere else.
static bool is_plain_name(const char *name)
{
    size_t before;
    return name && input_ends_in(name, ".safetensors", &before) && *name != '.' &&
           !strchr(name, '/');
}

static int by_shard_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The names of the shards, each once, in order, to a new array that borrows them.
static status shard_names(const char *path, const json_t *map, const char ***out, size_t *count)
{
    const char *tensor;
    json_t *name;
    size_t n = 0;
    const char **names = *out = memory_array(json_object_size(map) + 1, sizeof *names);
    if (!names)
        return memory_failed(path);
    json_object_foreach((json_t *)map, tensor, name)
    {
        if (!is_plain_name(json_string_value(name)))
            return status_fail("%s: tensor %.128s is not in a file NAME.safetensors beside it: "
                               "fetch the file again",
                               path, tensor);
        names[n++] = json_string_value(name);
    }
    qsort(names, n, sizeof *names, by_shard_name);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (*count == 0 || strcmp(names[*count - 1], names[i]) != 0)
            names[(*count)++] = names[i];
    if (*count == 0 || *count > SHARDS_MOST)
        return status_fail("%s: its \"weight_map\" names %zu files, not 1 to %d: fetch the file "
                           "again",
                           path, *count, SHARDS_MOST);
    return NULL;
}

// The shards of a directory's index, which owns their names.
static status read_index(const char *dir, json_t **index, const char ***names, size_t *count)
{
    char path[FILE_PATH_SIZE];
    *names = NULL;
    status s = file_path(dir, INDEX, path);
    if (!s)
        s = file_read_json(dir, INDEX, index);
    return s ? s : shard_names(path, json_object_get(*index, "weight_map"), names, count);
}

// ---- The tensors ----

static const char *without_prefixes(const char *name)
{
    static const char *const PREFIXES[] = {"transformer.", "_orig_mod.", "module."};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES; i++) {
        const size_t n = strlen(PREFIXES[i]);
        if (strncmp(name, PREFIXES[i], n) == 0)
            return without_prefixes(name + n);
    }
    return name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const checkpoint_tensor *)a)->name, ((const checkpoint_tensor *)b)->name);
}

static size_t count_tensors(const checkpoint *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->shard_count; i++)
        for (size_t k = 0; safetensors_at(c->shards[i].file, k); k++)
            count++;
    return count;
}

static status list_tensors(checkpoint *c)
{
    c->tensors = memory_array(count_tensors(c) + 1, sizeof *c->tensors);
    if (!c->tensors)
        return memory_failed(c->path);
    for (size_t i = 0; i < c->shard_count; i++) {
        const shard *from = &c->shards[i];
        const safetensor *t;
        for (size_t k = 0; (t = safetensors_at(from->file, k)); k++)
            c->tensors[c->count++] =
                (checkpoint_tensor){without_prefixes(t->name), t, from->file, from->path, false};
    }
    qsort(c->tensors, c->count, sizeof *c->tensors, by_name);
    for (size_t i = 1; i < c->count; i++)
        if (by_name(&c->tensors[i - 1], &c->tensors[i]) == 0)
            return status_fail(
                "%s: tensors %.128s and %.128s are one, but for prefixes: remove one", c->path,
                c->tensors[i - 1].is->name, c->tensors[i].is->name);
    return NULL;
}

// Each tensor of the shards is where the index says, and each that it names is there.
static status check_map(const checkpoint *c)
{
    const json_t *map = json_object_get(c->index, "weight_map");
    const char *tensor;
    json_t *name;
    for (size_t i = 0; i < c->shard_count; i++) {
        const safetensor *t;
        for (size_t k = 0; (t = safetensors_at(c->shards[i].file, k)); k++) {
            const char *said = json_string_value(json_object_get(map, t->name));
            if (!said || strcmp(said, c->shards[i].name) != 0)
                return status_fail("%s: tensor %.128s is %s %s: fetch the files that belong "
                                   "together",
                                   c->shards[i].path, t->name,
                                   said ? "elsewhere by" : "not named in", INDEX);
        }
    }
    json_object_foreach((json_t *)map, tensor, name)
    {
        for (size_t i = 0; i < c->shard_count; i++)
            if (strcmp(c->shards[i].name, json_string_value(name)) == 0 &&
                !safetensors_find(c->shards[i].file, tensor))
                return status_fail("%s: tensor %.128s, which %s promises, is missing: fetch the "
                                   "files that belong together",
                                   c->shards[i].path, tensor, INDEX);
    }
    return NULL;
}

// ---- Opening ----

static status open_files(checkpoint *c, const char *dir, const char *const *names, size_t count)
{
    c->shards = memory_array(count, sizeof *c->shards);
    if (!c->shards)
        return memory_failed(c->path);
    status s = NULL;
    for (; !s && c->shard_count < count; c->shard_count++) {
        shard *to = &c->shards[c->shard_count];
        to->name = names[c->shard_count];
        s = file_path(dir, to->name, to->path);
        if (!s)
            s = safetensors_open(to->path, &to->file);
    }
    return s;
}

static status open_all(checkpoint *c, const char *dir)
{
    const char *const whole = WHOLE, **names = NULL;
    size_t count = 0;
    status s = check_formats(dir);
    const bool one = file_exists(dir, WHOLE) || !file_exists(dir, INDEX);
    if (!s)
        s = file_path(dir, one ? WHOLE : INDEX, c->path);
    if (!s && !one)
        s = read_index(dir, &c->index, &names, &count);
    if (!s)
        s = open_files(c, dir, one ? &whole : names, one ? 1 : count);
    memory_free(names);
    if (!s && !one)
        s = check_map(c);
    return s ? s : list_tensors(c);
}

status checkpoint_open(const char *dir, checkpoint **out)
{
    *out = NULL;
    checkpoint *c = memory_array(1, sizeof *c);
    if (!c)
        return memory_failed(dir);
    status s = open_all(c, dir);
    if (s)
        checkpoint_close(c);
    else
        *out = c;
    return s;
}

void checkpoint_close(checkpoint *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->shard_count; i++)
        safetensors_close(c->shards[i].file);
    memory_free(c->shards);
    memory_free(c->tensors);
    json_decref(c->index);
    memory_free(c);
}

const char *checkpoint_path(const checkpoint *c)
{
    return c->path;
}

checkpoint_tensor *checkpoint_at(const checkpoint *c, size_t i)
{
    return i < c->count ? &c->tensors[i] : NULL;
}

checkpoint_tensor *checkpoint_find(const checkpoint *c, const char *name)
{
    const checkpoint_tensor key = {.name = name};
    return bsearch(&key, c->tensors, c->count, sizeof key, by_name);
}

// ---- The digest ----

static status digest_file(const char *dir, const char *name, char hex[65])
{
    char path[FILE_PATH_SIZE];
    status s = file_path(dir, name, path);
    if (!s && !SHA256File(path, hex))
        s = status_fail("%s: %s: put the file back, or name another model", path, strerror(errno));
    return s;
}

static status digest_shards(const char *dir, const char *const *names, size_t count, char hex[65])
{
    SHA2_CTX all;
    SHA256Init(&all);
    for (size_t i = 0; i < count; i++) {
        status s = digest_file(dir, names[i], hex);
        if (s)
            return s;
        SHA256Update(&all, (const uint8_t *)hex, 64);
        SHA256Update(&all, (const uint8_t *)"  ", 2);
        SHA256Update(&all, (const uint8_t *)names[i], strlen(names[i]));
        SHA256Update(&all, (const uint8_t *)"\n", 1);
    }
    SHA256End(&all, hex);
    return NULL;
}

status checkpoint_digest(const char *dir, char hex[65])
{
    if (file_exists(dir, WHOLE) || !file_exists(dir, INDEX))
        return digest_file(dir, WHOLE, hex);
    json_t *index = NULL;
    const char **names;
    size_t count = 0;
    status s = read_index(dir, &index, &names, &count);
    if (!s)
        s = digest_shards(dir, names, count, hex);
    memory_free(names);
    json_decref(index);
    return s;
}
