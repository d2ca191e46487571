// Numbers into panels of any width. Keys and values have the same forms (common/number), and the
// same code narrows them.
#include "common/model/pack.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/number/form.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "numbers that share a word are written one by one, the first into its low bytes"
#endif

static size_t depth_of(const packing *p)
{
    return p->as == PACK_MATRIX ? p->rows : p->columns;
}

static size_t outputs_of(const packing *p)
{
    return p->as == PACK_MATRIX ? p->columns : p->rows;
}

static size_t blocks_of(const packing *p)
{
    return (depth_of(p) + PANEL_BLOCK - 1) / PANEL_BLOCK;
}

static const form *form_for(element of)
{
    return of == ELEMENT_F16 ? &form_f16 : of == ELEMENT_BF16 ? &form_bf16 : &form_q8;
}

static size_t whole_lines(size_t bytes)
{
    return size_plus(bytes, CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static size_t number_bytes(const packing *p)
{
    if (p->as == PACK_ROWS)
        return size_times(size_times(p->rows, padded(p->columns)), sizeof(float));
    return size_times(size_times(padded(outputs_of(p)), panels_depth(p->of, depth_of(p))),
                      sizeof(float) / panels_share(p->of));
}

static size_t scale_bytes(const packing *p)
{
    return p->of != ELEMENT_Q8
               ? 0
               : whole_lines(size_times(size_times(padded(outputs_of(p)), blocks_of(p)),
                                        sizeof *p->scales));
}

size_t pack_bytes(const packing *p)
{
    return size_plus(number_bytes(p), scale_bytes(p));
}

void pack_begin(packing *p, void *to)
{
    const size_t bytes = number_bytes(p), each = bytes / panels_for(outputs_of(p));
    p->numbers = to;
    p->scales = p->of == ELEMENT_Q8 ? (uint16_t *)((char *)to + bytes) : NULL;
    if (p->as == PACK_ROWS || panels_depth(p->of, depth_of(p)) > depth_of(p))
        memset(to, 0, bytes);
    else if (outputs_of(p) % LANES != 0) // the last panel alone
        memset((char *)to + bytes - each, 0, each);
    memset((char *)to + bytes, 0, scale_bytes(p));
}

// ---- Narrowing ----

// The scale of row k of output n.
static uint16_t *scale_at(const packing *p, size_t k, size_t n)
{
    return p->scales + (n / LANES * blocks_of(p) + k / PANEL_BLOCK) * LANES + n % LANES;
}

// Rows are (N, K): blocks lie as they are.
static size_t narrow_transposed(const packing *p, pack_part r, const float *values, int8_t *narrow)
{
    for (size_t i = 0; i < r.rows; i++)
        for (size_t k = 0, n; k < r.columns; k += n) {
            const size_t at = i * r.columns + k;
            n = size_min(PANEL_BLOCK, r.columns - k);
            const size_t fit =
                form_q8.write(values + at, n, narrow + at, scale_at(p, r.column + k, r.row + i));
            if (fit < n)
                return at + fit;
        }
    return r.rows * r.columns;
}

// Rows are (K, N): a block is a piece of a column. Sixteen columns are turned at once.
static size_t narrow_matrix(const packing *p, pack_part r, const float *values, int8_t *narrow)
{
    float turned[LANES][PANEL_BLOCK];
    int8_t q[PANEL_BLOCK];
    for (size_t k = 0, n; k < r.rows; k += n) {
        n = size_min(PANEL_BLOCK, r.rows - k);
        for (size_t c = 0; c < r.columns; c += LANES) {
            const size_t at = k * r.columns + c, lanes = size_min(LANES, r.columns - c);
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < lanes; j++)
                    turned[j][i] = values[at + i * r.columns + j];
            for (size_t j = 0; j < lanes; j++) {
                const size_t fit =
                    form_q8.write(turned[j], n, q, scale_at(p, r.row + k, r.column + c + j));
                if (fit < n)
                    return at + fit * r.columns + j;
                for (size_t i = 0; i < n; i++)
                    narrow[at + i * r.columns + j] = q[i];
            }
        }
    }
    return r.rows * r.columns;
}

// ---- Placing ----

// Copies `lanes` numbers of row k of a panel, `stride` numbers apart, from lane `lane` on. Every
// call has a constant for `share`.
static inline __attribute__((always_inline)) void place(char *panel, const size_t share, size_t k,
                                                        size_t lane, size_t lanes, const char *from,
                                                        size_t stride)
{
    const size_t width = sizeof(float) / share;
    char *to = panel + (k / share * LANES * share + k % share) * width;
    if (share == 1 && lanes == LANES && stride == 1) {
        memcpy(to, from, LANES * sizeof(float)); // of constant size: one instruction
        return;
    }
    for (size_t j = 0; j < lanes; j++)
        memcpy(to + (lane + j) * sizeof(float), from + j * stride * width, width);
}

// Row k of a (K, N) matrix is row k of every panel; row n of an (N, K) matrix is lane n % 16 of
// panel n / 16.
static inline __attribute__((always_inline)) void place_all(const packing *p, const size_t share,
                                                            pack_part r, const char *from)
{
    const size_t width = sizeof(float) / share,
                 each = panels_depth(p->of, depth_of(p)) * LANES * width;
    if (p->as == PACK_MATRIX) {
        for (size_t c = 0; c < r.columns; c += LANES)
            for (size_t i = 0; i < r.rows; i++)
                place((char *)p->numbers + (r.column + c) / LANES * each, share, r.row + i, 0,
                      size_min(LANES, r.columns - c), from + (i * r.columns + c) * width, 1);
        return;
    }
    for (size_t i = 0, lanes; i < r.rows; i += lanes) {
        const size_t n = r.row + i;
        lanes = size_min(LANES - n % LANES, r.rows - i);
        for (size_t k = 0; k < r.columns; k++)
            place((char *)p->numbers + n / LANES * each, share, r.column + k, n % LANES, lanes,
                  from + (i * r.columns + k) * width, r.columns);
    }
}

static void place_rows(const packing *p, pack_part r, const float *values)
{
    for (size_t i = 0; i < r.rows; i++)
        memcpy((float *)p->numbers + (r.row + i) * padded(p->columns) + r.column,
               values + i * r.columns, r.columns * sizeof *values);
}

size_t pack_values(const packing *p, pack_part part, const float *values, uint16_t *narrow)
{
    const size_t n = part.rows * part.columns;
    size_t fit = n;
    if (p->as == PACK_ROWS)
        place_rows(p, part, values);
    else if (p->of == ELEMENT_F32)
        place_all(p, 1, part, (const char *)values);
    else if (p->of == ELEMENT_Q8) {
        fit = p->as == PACK_MATRIX ? narrow_matrix(p, part, values, (int8_t *)narrow)
                                   : narrow_transposed(p, part, values, (int8_t *)narrow);
        place_all(p, 4, part, (const char *)narrow);
    } else {
        form_for(p->of)->write(values, n, narrow, NULL);
        place_all(p, 2, part, (const char *)narrow);
    }
    return fit;
}

void pack_round(element of, float *values, size_t n, uint16_t *narrow)
{
    form_for(of)->write(values, n, narrow, NULL);
    form_for(of)->read(narrow, NULL, n, values);
}
