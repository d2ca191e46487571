// Each form's numbers and their scales, a register of lanes at a time.
#include "common/math/widen.h"

#include "common/base/size.h"
#include "common/math/lanes.h"

// What is at work at once: pieces of a panel's row, as wide as a register, of all panels.
enum { MOST_PIECES = WIDEN_MOST * LANES_PIECES };

// Scales by row, as binary32: one (of kivi: two) for each row of each panel.
typedef float row_scales[WIDEN_MOST][2 * WIDEN_DEPTH];

static void widen_halves(const uint16_t *from, size_t n, float *restrict to)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        to[i] = numeric_half(from[i]);
}

static void widen_scales(const panels *b, size_t p, size_t count, size_t k, size_t depth,
                         row_scales to)
{
    const panel_scales *s = &b->scales;
    const size_t each = b->of == ELEMENT_KIVI4 || b->of == ELEMENT_KIVI2 ? 2 : 1;
    for (size_t i = 0; i < count; i++, p++)
        widen_halves(s->at + (s->before + p * LANES) / s->block * s->stride + (b->first + k) * each,
                     depth * each, to[i]);
}

// What a form's numbers are multiplied by.
typedef enum scaling {
    NOTHING,
    OF_ROW,  // a number,
    OF_LANE, // one for each lane of PANEL_BLOCK rows,
    STEP     // or a pair, of which the second is added
} scaling;

// Panels at work, all but what is constant: what is widened is written to `to`, or multiplied.
typedef struct work {
    const panels *b;
    size_t p, k, depth; // the first panel, its first row, and how many
    const float *a;     // (height, depth)
    size_t a_stride;
    float *y; // (height, 16 count)
    size_t y_stride;
    float *to;
    size_t stride; // floats there from one panel to the next
    size_t panel;  // words from one panel to the next
    size_t scaled; // the row of by_row[.][0]
    float (*by_row)[2 * WIDEN_DEPTH];
    lanes_f32 by_lane[MOST_PIECES];
} work;

// The sums of some rows and panels.
typedef lanes_f32 sums[WIDEN_MOST_ROWS][MOST_PIECES];

// The panel, of those at work, in which piece q lies, and its first lane there.
LANES_INLINE size_t panel_of(size_t q)
{
    return q / LANES_PIECES;
}

LANES_INLINE size_t lane_of(size_t q)
{
    return q % LANES_PIECES * LANES_WIDE;
}

// Piece q of the row, number i of all, that has these words.
LANES_INLINE lanes_f32 widen_piece(const element of, const scaling by, const work *w,
                                   const uint32_t *words, unsigned left, size_t i, const size_t q)
{
    const lanes_f32 wide = lanes_widen(of, lanes_words(words, left));
    const float *scales = w->by_row[panel_of(q)]; // those of the rows from w->scaled on
    const size_t row = i - w->scaled;
    switch (by) {
    case OF_ROW:
        return wide * scales[row];
    case OF_LANE:
        return wide * w->by_lane[q];
    case STEP:
        return lanes_fma(wide, lanes_all(scales[2 * row]), lanes_all(scales[2 * row + 1]));
    default:
        return wide;
    }
}

// Piece q of row i. x: the numbers of `a` that it is multiplied with, in all lanes. Written out, as
// the pieces are below: clang 14 would keep sums in memory that a loop goes over.
LANES_INLINE void go_over_piece(const element of, const scaling by, const size_t height, work *w,
                                const uint32_t *words, unsigned left, size_t i, const size_t q,
                                const lanes_f32 x[WIDEN_MOST_ROWS], sums sum)
{
    const lanes_f32 wide =
        widen_piece(of, by, w, words + panel_of(q) * w->panel + lane_of(q), left, i, q);
    if (height == 0)
        memcpy(w->to + panel_of(q) * w->stride + i * LANES + lane_of(q), &wide, sizeof wide);
    if (height > 0)
        sum[0][q] = lanes_fma(x[0], wide, sum[0][q]);
    if (height > 1)
        sum[1][q] = lanes_fma(x[1], wide, sum[1][q]);
    if (height > 2) {
        sum[2][q] = lanes_fma(x[2], wide, sum[2][q]);
        sum[3][q] = lanes_fma(x[3], wide, sum[3][q]);
    }
}

LANES_INLINE void go_over_row(const element of, const scaling by, const size_t count,
                              const size_t height, work *w, const uint32_t *words, unsigned left,
                              size_t i, sums sum)
{
    lanes_f32 x[WIDEN_MOST_ROWS] = {0};
    if (height > 0)
        x[0] = lanes_all(w->a[i]);
    if (height > 1)
        x[1] = lanes_all(w->a[w->a_stride + i]);
    if (height > 2) {
        x[2] = lanes_all(w->a[2 * w->a_stride + i]);
        x[3] = lanes_all(w->a[3 * w->a_stride + i]);
    }
    const size_t pieces = count * LANES_PIECES;
    go_over_piece(of, by, height, w, words, left, i, 0, x, sum);
    if (pieces == 1)
        return;
    go_over_piece(of, by, height, w, words, left, i, 1, x, sum);
    if (pieces == 2)
        return;
    go_over_piece(of, by, height, w, words, left, i, 2, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 3, x, sum);
    if (pieces == 4)
        return;
    go_over_piece(of, by, height, w, words, left, i, 4, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 5, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 6, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 7, x, sum);
    if (pieces == 8)
        return;
    go_over_piece(of, by, height, w, words, left, i, 8, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 9, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 10, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 11, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 12, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 13, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 14, x, sum);
    go_over_piece(of, by, height, w, words, left, i, 15, x, sum);
}

LANES_INLINE void start(const size_t count, const size_t height, const work *w, sums sum)
{
    KERNEL_UNROLL for (size_t r = 0; r < height; r++)
        KERNEL_UNROLL for (size_t q = 0; q < count * LANES_PIECES; q++) sum[r][q] =
            lanes_load(w->y + r * w->y_stride + q * LANES_WIDE);
}

LANES_INLINE void end(const size_t count, const size_t height, const work *w, sums sum)
{
    KERNEL_UNROLL for (size_t r = 0; r < height; r++)
        KERNEL_UNROLL for (size_t q = 0; q < count * LANES_PIECES; q++)
            memcpy(w->y + r * w->y_stride + q * LANES_WIDE, &sum[r][q], sizeof sum[r][q]);
}

// The scales of the rows from i on: of as many rows as this returns.
LANES_INLINE size_t scale_rows(const scaling by, const size_t count, work *w, size_t i)
{
    const panel_scales *s = &w->b->scales;
    const size_t depth = w->depth - i;
    if (by == OF_LANE) {
        const uint16_t *scales = s->at + w->p * s->stride + (w->k + i) / PANEL_BLOCK * LANES;
        KERNEL_UNROLL for (size_t q = 0; q < count * LANES_PIECES; q++) w->by_lane[q] =
            lanes_halves(scales + panel_of(q) * s->stride + lane_of(q));
        return size_min(depth, PANEL_BLOCK);
    }
    if (by != OF_ROW && by != STEP)
        return depth;
    w->scaled = i;
    widen_scales(w->b, w->p, count, w->k + i, size_min(depth, WIDEN_DEPTH), w->by_row);
    return size_min(depth, WIDEN_DEPTH);
}

// Asks memory for what is gone over AHEAD words' rows later, in these panels or the next ones.
LANES_INLINE void fetch_ahead(const size_t count, const work *w, size_t at)
{
    enum { AHEAD = 24 };
    const size_t ahead = at + AHEAD * LANES,
                 from = (w->p + (ahead < w->panel ? 0 : count - 1)) * w->panel + ahead;
    KERNEL_UNROLL for (size_t q = 0; q < count; q++)
        lanes_fetch((uintptr_t)w->b->at + (from + q * w->panel) * sizeof(uint32_t));
}

// Every call has constants for `of`, `bits`, `by`, `count` and `height`. With a height of 0,
// what is widened is written. The rows of a word are gone over at once, where all of them are
// asked for.
LANES_INLINE void go_over(const element of, const unsigned bits, const scaling by,
                          const size_t count, const size_t height, work *w)
{
    const unsigned n = 32 / bits;
    sums sum = {0};
    w->panel = w->b->stride / n;
    start(count, height, w, sum);
    for (size_t i = 0, scaled; i < w->depth; i = scaled) {
        scaled = i + scale_rows(by, count, w, i);
        for (size_t some; i < scaled; i += some) {
            const size_t row = w->b->first + w->k + i, at = row / n * LANES;
            const uint32_t *words = (const uint32_t *)w->b->at + w->p * w->panel + at;
            some = row % n == 0 && scaled - i >= n ? n : 1;
            if (height > 0)
                fetch_ahead(count, w, at);
            if (some == 1)
                go_over_row(of, by, count, height, w, words, 32 - bits - (unsigned)(row % n) * bits,
                            i, sum);
            else
                KERNEL_UNROLL for (unsigned j = 0; j < n; j++)
                    go_over_row(of, by, count, height, w, words, 32 - bits - j * bits, i + j, sum);
        }
    }
    end(count, height, w, sum);
}

// For as many panels, and rows of `a`, as there may be: several rows of weights alone. Without an
// instruction for fma, panels are not worth going over together, and compiling that takes minutes.
LANES_INLINE void go_over_some(const element of, const unsigned bits, const scaling by,
                               size_t count, size_t height, work *w)
{
    const bool many =
        of == ELEMENT_F16 || of == ELEMENT_BF16 || (of == ELEMENT_Q8 && by == OF_LANE);
    const bool together = NUMERIC_HARDWARE_FMA && count > 1;
    if (many && height == WIDEN_ROWS && height > 1)
        together ? go_over(of, bits, by, WIDEN_PANELS, WIDEN_ROWS, w)
                 : go_over(of, bits, by, 1, WIDEN_ROWS, w);
    else if (many && height == 2)
        together ? go_over(of, bits, by, WIDEN_PANELS, 2, w) : go_over(of, bits, by, 1, 2, w);
    else if (together && height == 1 && count == WIDEN_ALONE)
        go_over(of, bits, by, WIDEN_ALONE, 1, w);
    else if (height == 1)
        together ? go_over(of, bits, by, WIDEN_PANELS, 1, w) : go_over(of, bits, by, 1, 1, w);
    else
        together ? go_over(of, bits, by, WIDEN_PANELS, 0, w) : go_over(of, bits, by, 1, 0, w);
}

static void go_over_form(size_t count, size_t height, work *w)
{
#define GO_OVER(OF, BITS, BY) go_over_some(OF, BITS, BY, count, height, w)
    const panels *b = w->b;
    const bool by_row = b->scales.by_row;
    switch (b->of) {
    case ELEMENT_F16:
        GO_OVER(ELEMENT_F16, 16, NOTHING);
        break;
    case ELEMENT_BF16:
        GO_OVER(ELEMENT_BF16, 16, NOTHING);
        break;
    case ELEMENT_FP8:
        GO_OVER(ELEMENT_FP8, 8, NOTHING);
        break;
    case ELEMENT_Q8:
        by_row ? GO_OVER(ELEMENT_Q8, 8, OF_ROW) : GO_OVER(ELEMENT_Q8, 8, OF_LANE);
        break;
    case ELEMENT_Q4:
        by_row ? GO_OVER(ELEMENT_Q4, 4, OF_ROW) : GO_OVER(ELEMENT_Q4, 4, OF_LANE);
        break;
    case ELEMENT_KIVI4:
        GO_OVER(ELEMENT_KIVI4, 4, STEP);
        break;
    case ELEMENT_KIVI2:
        GO_OVER(ELEMENT_KIVI2, 2, STEP);
        break;
    default:
        break; // the kernel reads binary32 where it lies
    }
#undef GO_OVER
}

void widen_panels(const panels *b, size_t p, size_t count, size_t k, size_t depth, float *to,
                  size_t stride)
{
    row_scales scales;
    work w = {.b = b, .p = p, .k = k, .depth = depth, .to = to, .stride = stride, .by_row = scales};
    const size_t some = NUMERIC_HARDWARE_FMA ? count : 1;
    for (const size_t end = p + count; w.p < end; w.p += some, w.to += some * stride)
        go_over_form(some, 0, &w);
}

void widen_multiply(const panels *b, size_t p, size_t count, size_t K, size_t n, const float *a,
                    size_t a_stride, float *y, size_t y_stride)
{
    row_scales scales;
    work w = {.b = b,
              .p = p,
              .depth = K,
              .a = a,
              .a_stride = a_stride,
              .y = y,
              .y_stride = y_stride,
              .by_row = scales};
    const size_t some = NUMERIC_HARDWARE_FMA ? count : 1;
    for (const size_t end = p + count; w.p < end; w.p += some, w.y += some * LANES)
        go_over_form(some, n, &w);
}
