// What the fuzz targets share: a folder for the files that are read, and a watch over what is
// allocated.
#ifndef LOCKSTEP_TESTS_FUZZ_H
#define LOCKSTEP_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/text/tokenizer.h"

// The largest allocation that an input of n bytes may cause: times * n + besides. A number in a
// file that is believed without being checked shows here first.
typedef struct fuzz_limit {
    size_t times, besides;
} fuzz_limit;

// Each target defines these three. `prepare` runs once; `run` takes one input and aborts where it
// is not handled well.
extern const fuzz_limit fuzz_allocation;
void fuzz_prepare(void);
void fuzz_run(const uint8_t *data, size_t n);

// A folder of this process, for the files to be read.
const char *fuzz_folder(void);

// Puts n bytes into the folder's file `name`, or takes it away.
void fuzz_write(const char *name, const uint8_t *bytes, size_t n);
void fuzz_remove(const char *name);

// Aborts unless s is NULL or one line that says something. Returns whether it is NULL.
int fuzz_done(status s);

// Aborts unless the ids of these n bytes are tokens, and the tokens' bytes are these n bytes (but
// for the spaces that add_prefix_space puts between).
void fuzz_round_trip(const tokenizer *t, const char *text, size_t n);

#endif
