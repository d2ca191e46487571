// What a spec loses: the logits of a decoder that reads its cache beside those of a plain one, row
// by row over a text.
#ifndef LOCKSTEP_BENCH_LOSS_H
#define LOCKSTEP_BENCH_LOSS_H

#include "bench/base/progress.h"
#include "bench/subject/subject.h"

// A text cut into windows of model->config.T tokens, each of which begins at position 0. Token i
// is judged by how well it predicts token i + 1, the next window's first one included.
typedef struct loss_text {
    const model *m; // borrowed
    int *ids;       // (n)
    size_t n;       // two at least: n - 1 rows are judged
} loss_text;

// One row: z are the logits of the plain decoder, y the other's, (V) each, as doubles; all sums are
// in double, v ascending. With log p_v = z_v - log sum exp z, log q_v = y_v - log sum exp y:
typedef struct loss_row {
    double nll;     // -log q_next, in nats
    double kl;      // sum over v of p_v (log p_v - log q_v): Kullback and Leibler 1951, in nats
    bool top1;      // the largest logit, the first of equals, is the same one's
    double largest; // |y_v - z_v|
} loss_row;

// `room` is (2 V).
loss_row loss_of_row(const float *z, const float *y, size_t V, int next, double *room);

// Of all rows of a text.
typedef struct loss {
    size_t tokens;         // rows that were judged; 0: it was interrupted
    size_t window;         // tokens of the longest window, and
    size_t bytes;          // the bytes of keys and values held at its end
    double nll;            // mean; perplexity is its exp
    double kl_mean, kl_99; // the 99th percentile: the k-th smallest, k = n 99 / 100 rounded up
    double top1;           // share of rows
    double largest;
} loss;

// How far all measurements of loss are: rows judged of rows to judge.
typedef struct loss_meter {
    progress bar;
    size_t done, all;
} loss_meter;

// Both decoders take the text in chunks of LOSS_CHUNK rows, all logits wanted, so that each row
// reads the keys and values of the rows before it from its cache. (By the definition of a spec any
// chunk gives the same bits.)
enum { LOSS_CHUNK = 128 };
status loss_measure(const loss_text *t, const subject *plain, const subject *of, loss_meter *meter,
                    loss *out);

// The mean NLL of one pass over each window that reads no cache: naive, at once. It is what a
// harness gets that never looks at the cache it fills, and nothing in it depends on a spec. 0: it
// was interrupted.
status loss_one_pass(const loss_text *t, loss_meter *meter, double *nll);

#endif
