// merges.txt, and behind a zero byte vocab.json.
#include <assert.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { WORDS = 512 }; // bytes of the input that serve as text, too: they spell the merges

// Besides the input: the tables of 256 bytes, and the candidates of WORDS bytes of text.
const fuzz_limit fuzz_allocation = {4, 16 << 10};

void fuzz_prepare(void)
{
}

void fuzz_run(const uint8_t *data, size_t n)
{
    tokenizer *t;
    const uint8_t *end = n > 0 ? memchr(data, 0, n) : NULL;
    fuzz_write("merges.txt", data, end ? (size_t)(end - data) : n);
    if (end)
        fuzz_write("vocab.json", end + 1, n - (size_t)(end - data) - 1);
    else
        fuzz_remove("vocab.json");
    assert(fuzz_done(tokenizer_load(fuzz_folder(), &t)) == (t != NULL));
    if (t)
        fuzz_round_trip(t, (const char *)data, n < WORDS ? n : WORDS);
    tokenizer_free(t);
}
