// A list of contexts, as --contexts takes it. Input: two bytes for the limit, then the list.
#include "bench/base/contexts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/fuzz/fuzz.h"

enum { LARGEST = 1 << 12 }; // limit

// Besides the input: a list of all contexts, however short the range.
const fuzz_limit fuzz_allocation = {4, LARGEST * sizeof(size_t)};

void fuzz_prepare(void)
{
}

void fuzz_run(const uint8_t *data, size_t n)
{
    if (n < 2)
        return;
    const size_t limit = 1 + (data[0] | (size_t)data[1] << 8) % LARGEST;
    char *text = strndup((const char *)data + 2, n - 2);
    size_t *list, count;
    if (fuzz_done(contexts_parse(text, limit, &list, &count))) {
        assert(count > 0 && list[0] >= 1 && list[count - 1] <= limit);
        for (size_t i = 1; i < count; i++)
            assert(list[i] > list[i - 1]);
    } else
        assert(!list && count == 0);
    memory_free(list);
    free(text);
}
