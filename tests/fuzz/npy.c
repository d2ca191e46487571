// A .npy file, as `bench compare` reads it: the file as it is.
#include "common/file/npy.h"

#include <assert.h>
#include <stdio.h>

#include "common/base/memory.h"
#include "tests/fuzz/fuzz.h"

// A row of float32 is widened: twice its bytes.
const fuzz_limit fuzz_allocation = {2, 1};

void fuzz_prepare(void)
{
}

static void read_rows(const npy_matrix *m)
{
    double *row = memory_array(m->columns, sizeof *row);
    assert(row);
    npy_row(m, 0, row);
    npy_row(m, m->rows - 1, row);
    memory_free(row);
}

void fuzz_run(const uint8_t *data, size_t n)
{
    char path[1024];
    npy_matrix m;
    fuzz_write("a.npy", data, n);
    snprintf(path, sizeof path, "%s/a.npy", fuzz_folder());
    if (fuzz_done(npy_read(path, &m))) {
        assert(m.rows == 0 || m.columns <= n / m.rows / (m.is_double ? 8 : 4));
        if (m.rows > 0) // without any, the file bounds no row's length; `bench compare` refuses it
            read_rows(&m);
    } else
        assert(!m.data);
    npy_free(&m);
}
