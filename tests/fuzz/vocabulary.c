// vocab.json beside a good merges.txt: the file as it is.
#include <assert.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { WORDS = 512 }; // bytes of the input that serve as text, too: they spell the tokens

// Jansson's tables, and the tables of as many tokens as the file has: 16 bytes for the 8 of "a":1.
const fuzz_limit fuzz_allocation = {8, 16 << 10};

void fuzz_prepare(void)
{
    static const char merges[] = "#version: 0.2\nh e\nl l\nhe ll\nhell o\n1 2\n";
    fuzz_write("merges.txt", (const uint8_t *)merges, strlen(merges));
}

void fuzz_run(const uint8_t *data, size_t n)
{
    tokenizer *t;
    fuzz_write("vocab.json", data, n);
    assert(fuzz_done(tokenizer_load(fuzz_folder(), &t)) == (t != NULL));
    if (t)
        fuzz_round_trip(t, (const char *)data, n < WORDS ? n : WORDS);
    tokenizer_free(t);
}
