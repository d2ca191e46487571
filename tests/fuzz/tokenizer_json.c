// tokenizer.json, the file as it is.
#include <assert.h>

#include "tests/fuzz/fuzz.h"

enum { WORDS = 512 }; // bytes of the input that serve as text, too: they spell the merges

// Jansson doubles an array of pointers as it grows: up to 16 bytes for the 2 of "0,". Besides: the
// tables of 256 bytes, and the candidates of WORDS bytes of text.
const fuzz_limit fuzz_allocation = {8, 16 << 10};

void fuzz_prepare(void)
{
}

void fuzz_run(const uint8_t *data, size_t n)
{
    tokenizer *t;
    fuzz_write("tokenizer.json", data, n);
    assert(fuzz_done(tokenizer_load(fuzz_folder(), &t)) == (t != NULL));
    if (t)
        fuzz_round_trip(t, (const char *)data, n < WORDS ? n : WORDS);
    tokenizer_free(t);
}
