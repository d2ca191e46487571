// Matrices in NumPy's .npy format (numpy/lib/format.py, NEP 1): written as version 1.0, '<f4',
// row-major ("C order"); read in versions 1 to 3, '<f4' or '<f8', C or Fortran order.
#ifndef LOCKSTEP_NPY_H
#define LOCKSTEP_NPY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

typedef struct npy_writer npy_writer;

// Starts a matrix of `columns` columns. It grows beside `path` (borrowed until the writer ends) and
// takes that name only when it is whole. Refused when path names something that is not a regular
// file.
status npy_create(const char *path, size_t columns, npy_writer **out);

// Adds one row, (columns).
status npy_append(npy_writer *w, const float *row);

// Ends w in any case: the matrix is at its path, or the failure is returned and nothing of it is
// left.
status npy_close(npy_writer *w);

// Ends w and leaves nothing of its matrix. NULL is fine.
void npy_abandon(npy_writer *w);

// A matrix that was read. A vector is a matrix of one row.
typedef struct npy_matrix {
    size_t rows, columns;
    bool is_double;     // float64, else float32
    bool fortran_order; // the first index runs fastest
    void *data;         // rows * columns of them, as they lie in the file
} npy_matrix;

// Reads a whole .npy file of rank 1 or 2; free it with npy_free. Whatever else the file holds is
// refused with its name, what was found and the cure. No more is allocated than the file is long.
status npy_read(const char *path, npy_matrix *out);

// Row r, (columns), widened.
void npy_row(const npy_matrix *m, size_t r, double *row);

void npy_free(npy_matrix *m);

#endif
