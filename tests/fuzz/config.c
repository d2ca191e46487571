// config.json, the file as it is.
#include "common/model/config.h"

#include <assert.h>

#include "tests/fuzz/fuzz.h"

// Jansson doubles an array of pointers as it grows: up to 16 bytes for the 2 of "0,". Besides: its
// first few objects.
const fuzz_limit fuzz_allocation = {8, 16 << 10};

void fuzz_prepare(void)
{
}

static int in_range(size_t n)
{
    return n >= 1 && n <= CONFIG_LARGEST;
}

void fuzz_run(const uint8_t *data, size_t n)
{
    config c;
    fuzz_write("config.json", data, n);
    if (!fuzz_done(config_read(fuzz_folder(), &c)))
        return;
    assert(in_range(c.L) && in_range(c.C) && in_range(c.H) && in_range(c.V) && in_range(c.T));
    assert(c.F >= 1 && c.F <= 4 * (size_t)CONFIG_LARGEST);
    assert(in_range(config_kv_heads(&c)) && c.H % config_kv_heads(&c) == 0);
    assert(c.C % c.H == 0 && c.eps > 0 && c.eps < 1);
}
