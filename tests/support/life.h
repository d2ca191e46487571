// What tests of a store live on: a model, texts, and decoders of one spec, each step of which is
// held against naive's.
#ifndef LOCKSTEP_TESTS_LIFE_H
#define LOCKSTEP_TESTS_LIFE_H

#include <stdint.h>

#include "common/decoder.h"
#include "tests/support/pool.h"

enum { LIFE_TEXTS = 4, LIFE_LONGEST = 230 };

// A model, four texts on it that part from one another at different places, naive, two cached
// decoders, and perhaps a pool that these share.
typedef struct life {
    char what[128];
    uint64_t state; // xorshift64* (Vigna 2016)
    model *m;
    decoder_options o;
    pool pool;
    decoder *naive, *cached[2];
    int texts[LIFE_TEXTS][LIFE_LONGEST];
    const int *last[2]; // the text of each one's last step
} life;

life *life_begin(const char *spec, size_t positions, bool pooled);
void life_end(life *x);

// A random number below n.
size_t life_below(life *x, size_t n);

decoder *life_make(const decoder_api *api, const life *x);

// Where a walk stands: for each cached decoder, which text it is on and how many tokens of it.
typedef struct life_walk {
    size_t text[2], T[2];
} life_walk;

// The walk's next move, by the decoder that this returns: on by a chunk, back by up to `back` rows,
// or to anywhere, on this text or an older one.
size_t life_move(life *x, life_walk *at, size_t back);

// A step of cached decoder `who`: all wanted rows are those of naive.
void life_check(life *x, size_t who, const int *ids, size_t T, size_t wanted);

// The same, and how many rows it computed.
size_t life_rows_of_step(life *x, size_t who, const int *ids, size_t T, size_t wanted);

// What the decoder holds after T tokens is what row T sees. Under heavy that is what naive shows of
// row T, so nothing is checked where the text ends there.
void life_check_held(life *x, size_t who, size_t T);

#endif
