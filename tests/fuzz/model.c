// model.safetensors, beside a good config.json: its header, its tensors, and loading it.
// Input: a header {...}, a zero byte, the data, to which the length is added; or, if it begins
// otherwise, the file as it is.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/model/model.h"
#include "common/model/safetensors.h"
#include "tests/fuzz/fuzz.h"

enum { LENGTH = 8, LARGEST = 1 << 17 };

// Besides the input: the half megabyte through which a model is read.
const fuzz_limit fuzz_allocation = {4, 512 << 10};

void fuzz_prepare(void)
{
    static const char shape[] =
        "{\"model_type\": \"gpt2\", \"activation_function\": \"gelu_new\", \"n_layer\": 1,"
        "\"n_embd\": 1, \"n_head\": 1, \"n_inner\": 1, \"n_positions\": 1, \"vocab_size\": 2,"
        "\"layer_norm_epsilon\": 1e-5}";
    fuzz_write("config.json", (const uint8_t *)shape, strlen(shape));
}

static void write_file(const uint8_t *data, size_t n)
{
    static uint8_t file[LENGTH + LARGEST];
    if (n == 0 || n > LARGEST || data[0] != '{') {
        fuzz_write("model.safetensors", data, n);
        return;
    }
    const uint8_t *end = memchr(data, 0, n);
    const uint64_t header = end ? (uint64_t)(end - data) : n;
    const size_t rest = end ? n - header - 1 : 0;
    memcpy(file, &header, LENGTH);
    memcpy(file + LENGTH, data, header);
    if (rest)
        memcpy(file + LENGTH + header, end + 1, rest);
    fuzz_write("model.safetensors", file, LENGTH + header + rest);
}

// Every tensor is found by its name and can be read to its last number, unless its dtype is
// refused.
static void read_tensors(const char *path)
{
    safetensors *file;
    float values[64];
    if (!fuzz_done(safetensors_open(path, &file))) {
        assert(!file);
        return;
    }
    const safetensor *t;
    for (size_t i = 0; (t = safetensors_at(file, i)); i++) {
        size_t count = 1;
        for (size_t d = 0; d < t->rank; d++)
            count *= t->shape[d];
        assert(safetensors_find(file, t->name) == t);
        fuzz_done(safetensors_read(file, t, count < 64 ? 0 : count - 64, count < 64 ? count : 64,
                                   values));
    }
    safetensors_close(file);
}

void fuzz_run(const uint8_t *data, size_t n)
{
    char path[1024];
    model *m;
    write_file(data, n);
    snprintf(path, sizeof path, "%s/model.safetensors", fuzz_folder());
    read_tensors(path);
    assert(fuzz_done(model_load(fuzz_folder(), &m)) == (m != NULL));
    model_free(m);
}
