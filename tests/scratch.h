// A folder of its own for a test that writes files.
#ifndef LOCKSTEP_TESTS_SCRATCH_H
#define LOCKSTEP_TESTS_SCRATCH_H

#include <stddef.h>

enum { SCRATCH_PATH = 512 };

// The current test's folder, made at the first call; scratch_remove deletes it with all that is in it.
const char *scratch_folder(void);
void scratch_remove(void);

// The path of `name` in it, in `path`.
char *scratch_path(const char *name, char path[SCRATCH_PATH]);

// The bytes of a file and a zero behind them, to be freed; NULL if it cannot be read.
char *scratch_read(const char *path, size_t *n);

// How many files lie in the folder.
size_t scratch_count(void);

#endif
