// Float32 matrices in NumPy's .npy format, version 1.0 (numpy/lib/format.py, NEP 1): '<f4', row-major ("C order").
#ifndef LOCKSTEP_NPY_H
#define LOCKSTEP_NPY_H

#include <stddef.h>

#include "status.h"

typedef struct npy_writer npy_writer;

// Starts a matrix of `columns` columns. It grows beside `path` (borrowed until the writer ends) and takes that name
// only when it is whole. Refused when path names something that is not a regular file.
status npy_create(const char *path, size_t columns, npy_writer **out);

// Adds one row, (columns).
status npy_append(npy_writer *w, const float *row);

// Ends w in any case: the matrix is at its path, or the failure is returned and nothing of it is left.
status npy_close(npy_writer *w);

// Ends w and leaves nothing of its matrix. NULL is fine.
void npy_abandon(npy_writer *w);

#endif
