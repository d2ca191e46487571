// A list of token ids, as --ids takes it. Input: two bytes for the size of the vocabulary, then the
// list.
#include <assert.h>

#include "common/base/input.h"
#include "common/base/memory.h"
#include "tests/fuzz/fuzz.h"

// Besides the input: one id.
const fuzz_limit fuzz_allocation = {4, sizeof(int)};

void fuzz_prepare(void)
{
}

void fuzz_run(const uint8_t *data, size_t n)
{
    if (n < 2)
        return;
    const size_t limit = 1 + (data[0] | (size_t)data[1] << 8);
    int *ids;
    size_t count;
    if (fuzz_done(input_ids((const char *)data + 2, n - 2, limit, &ids, &count))) {
        for (size_t i = 0; i < count; i++)
            assert(ids[i] >= 0 && (size_t)ids[i] < limit);
    } else
        assert(!ids);
    memory_free(ids);
}
