// model.safetensors.index.json and two shards, beside a good config.json. Input: the index, a zero
// byte, the header of the first shard, a zero byte, that of the second. Their data is zeros.
#include <assert.h>
#include <string.h>

#include "common/model/model.h"
#include "tests/fuzz/fuzz.h"

// Of the 21 floats that this model has, which shard holds how many bytes.
enum { LENGTH = 8, FIRST = 40, SECOND = 44, LARGEST = 1 << 14 };

// Besides the input: the half megabyte through which a model is read, and a path for each shard.
const fuzz_limit fuzz_allocation = {600, 512 << 10};

void fuzz_prepare(void)
{
    static const char shape[] =
        "{\"n_layer\": 1, \"n_embd\": 1, \"n_head\": 1, \"n_inner\": 1, \"n_positions\": 1}";
    fuzz_write("config.json", (const uint8_t *)shape, strlen(shape));
}

// Takes what stands before the next zero byte off the front.
static size_t take_part(const uint8_t **data, size_t *n)
{
    const uint8_t *end = *n ? memchr(*data, 0, *n) : NULL;
    const size_t length = end ? (size_t)(end - *data) : *n;
    *data += end ? length + 1 : length;
    *n -= end ? length + 1 : length;
    return length;
}

static void write_shard(const char *name, const uint8_t *header, size_t n, size_t bytes)
{
    static uint8_t file[LENGTH + LARGEST + SECOND];
    const uint64_t length = n < LARGEST ? n : LARGEST;
    memcpy(file, &length, LENGTH);
    memcpy(file + LENGTH, header, length);
    memset(file + LENGTH + length, 0, bytes);
    fuzz_write(name, file, LENGTH + length + bytes);
}

void fuzz_run(const uint8_t *data, size_t n)
{
    char hex[65];
    model *m;
    const uint8_t *at = data;
    fuzz_write("model.safetensors.index.json", at, take_part(&data, &n));
    at = data;
    write_shard("a.safetensors", at, take_part(&data, &n), FIRST);
    at = data;
    write_shard("b.safetensors", at, take_part(&data, &n), SECOND);
    assert(fuzz_done(model_load(fuzz_folder(), &m)) == (m != NULL));
    if (m)
        assert(fuzz_done(model_digest(m, hex)) && strlen(hex) == 64);
    model_free(m);
}
