// Any bytes as text for the embedded model's tokenizer: decode(encode(x)) = x.
#include <stdlib.h>

#include "common/model/model.h"
#include "tests/fuzz/fuzz.h"

// A word of the text takes up to three candidates of 8 bytes for each of its bytes. Besides: a
// number for each token.
const fuzz_limit fuzz_allocation = {24, 16 << 10};

static tokenizer *embedded;

void fuzz_prepare(void)
{
    if (!fuzz_done(tokenizer_load(model_default(), &embedded)))
        exit(1);
}

void fuzz_run(const uint8_t *data, size_t n)
{
    fuzz_round_trip(embedded, (const char *)data, n);
}
