// The name of a synthetic model; a small one is made, too. Input: what stands behind "synthetic:".
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/model/model.h"
#include "tests/fuzz/fuzz.h"

enum { SMALL = 1 << 18 }; // bytes of weights

// Besides the input: the half megabyte through which a model is made.
const fuzz_limit fuzz_allocation = {4, 512 << 10};

void fuzz_prepare(void)
{
}

void fuzz_run(const uint8_t *data, size_t n)
{
    char name[1024], hex[65];
    config c, peeked;
    uint64_t seed;
    size_t bytes;
    model *m;
    snprintf(name, sizeof name, "synthetic:%.*s", (int)(n < 900 ? n : 900), (const char *)data);
    assert(config_is_synthetic(name));
    if (!fuzz_done(config_parse_synthetic(name, &c, &seed)) || model_packed_bytes(&c, true) > SMALL)
        return;
    assert(fuzz_done(model_load(name, &m)));
    assert(fuzz_done(model_peek(name, MODEL_AS_STORED, &peeked, &bytes)));
    assert(m->config.L == c.L && m->config.V == c.V && peeked.L == c.L && peeked.V == c.V);
    assert(m->block_bytes == bytes && bytes <= model_packed_bytes(&c, true));
    assert(fuzz_done(model_digest(m, hex)) && strlen(hex) == 64);
    model_free(m);
}
