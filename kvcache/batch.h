// The third twin: one forward pass over rows of several sequences. The matrices are read once for
// all of them; attention goes sequence by sequence, each over keys and values of its own. Every row
// has the bits that it has alone (notes/23-batching.md).
//
//     batch *b;             batch_create(m, &options, 64, &b);
//     batch_sequence *q;    batch_open(b, NULL, &q);
//     batch_part parts[] = {{.of = q, .tokens = ids, .T = T, .wanted = 1}, ...};
//     batch_pass(b, parts, n, 64);   // until parts[i].logits is not NULL
//     batch_close(q);
//
// Who goes into a pass, and who has to wait: kvcache/schedule.h.
#ifndef LOCKSTEP_BATCH_H
#define LOCKSTEP_BATCH_H

#include "common/decoder.h"

typedef struct batch batch;
typedef struct batch_sequence batch_sequence; // what is kept of one sequence: K, V and their tokens

// A batch on m, which it borrows, for passes of at most `most` rows. Each of its sequences can hold
// o->T_max tokens, under o->kv, in pages of o->pool, or, if that is NULL, in memory of its own.
status batch_create(const model *m, const decoder_options *o, size_t most, batch **out);
void batch_destroy(batch *b); // when all its sequences are closed

// A sequence that holds nothing yet. `space` is the namespace of its shared pages, or NULL, and
// must outlive it.
status batch_open(batch *b, const char *space, batch_sequence **out);
void batch_close(batch_sequence *q);

// It holds nothing any more: its pages go back to the pool.
void batch_forget(batch_sequence *q);

// Rows that it holds, and bytes of their pages (decoder.h).
size_t batch_held(const batch_sequence *q);
size_t batch_bytes(const batch_sequence *q);

// What a pass is asked to do for one sequence, and what came of it.
typedef struct batch_part {
    batch_sequence *of;
    const int *tokens; // (T) the WHOLE sequence, as for a decoder's step
    size_t T;
    size_t wanted; // logits of the last `wanted` tokens, 1 <= wanted <= T

    size_t first;  // the pass computed rows first..first + rows - 1, the first of them after the
    size_t rows;   // common prefix, or after what the pool had of the same tokens
    bool no_page;  // the pool had no pages for T tokens: nothing was changed, and `failed` says so
    status failed; // NULL, or why this part alone came to nothing; valid until its next pass
    const float *logits; // (wanted, V) once the last row is computed, valid until the next pass;
                         // NULL: not yet
} batch_part;

// One pass over at most `most` rows, served in the order of the parts: each has as many as it still
// needs, as long as there are any left. So a long prompt is computed in chunks by being passed
// again. A sequence stands in one part at most. A failure is wrong use, or want of memory, and has
// changed nothing; what strikes one sequence only stands in its part, and the others go on.
status batch_pass(batch *b, batch_part *parts, size_t n, size_t most);

#endif
