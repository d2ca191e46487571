// Who goes into the next pass: continuous batching with chunked prefill (Yu et al. 2022, Kwon et
// al. 2023, Agrawal et al. 2023). Requests come at any time, end at any time, and wait where pages
// are short; each one's text is the one it has alone.
//
//     schedule_create(m, &options, &s);
//     schedule_add(s, &request);          // any time, also between passes
//     while (schedule_left(s) > 0)
//         schedule_pass(s);               // calls request.choose for each token
//
// In a pass each sequence that generates has one row. What is left of the pass's rows goes to
// prompts, in chunks, in the order in which they came. Where the pool has no page left for a
// sequence, the youngest gives back all of its own and waits: its rows are computed again once
// another request has ended.
#ifndef LOCKSTEP_SCHEDULE_H
#define LOCKSTEP_SCHEDULE_H

#include "kvcache/batch.h"

typedef struct schedule schedule;

typedef struct schedule_options {
    decoder_options decoder; // of each sequence: T_max, spec, pool; the namespace is a request's
    size_t rows;             // of a pass, at most
    size_t running;          // sequences that have pages, at most; not more than rows
} schedule_options;

enum { SCHEDULE_END = -1, SCHEDULE_MESSAGE = 512 };

typedef enum schedule_state {
    SCHEDULE_WAITS = 1, // for a place among those that run
    SCHEDULE_RUNS,
    SCHEDULE_DONE // the scheduler knows nothing of it any more
} schedule_state;

// One request. The scheduler borrows it, and what it points at, until its state is SCHEDULE_DONE.
// The fields up to `user` are the caller's, all zero but these before schedule_add.
typedef struct schedule_request {
    int *ids;          // (most) the prompt; generated tokens are put behind it
    size_t T;          // tokens there: those of the prompt, later all
    size_t most;       // tokens that there may be, at most T_max: with them it is done
    const char *space; // the namespace of its shared pages, or NULL
    // Given the logits (V) behind its T tokens: the id of the next, or SCHEDULE_END for none. Must
    // not call the scheduler.
    int (*choose)(void *user, const float *logits, size_t T);
    void *user;

    schedule_state state;
    size_t prompt;      // T as it came
    size_t cached;      // rows that the pool had and that it never computed itself
    size_t computed;    // rows computed the first time: in the end cached + computed is T, or T - 1
    size_t recomputed;  // rows computed again, after it had given its pages back
    size_t preemptions; // how often it has
    char failure[SCHEDULE_MESSAGE]; // why it ended early, or ""
    batch_sequence *sequence;       // the scheduler's own, as is what follows
    struct schedule_request *next;
} schedule_request;

status schedule_create(const model *m, const schedule_options *o, schedule **out);
void schedule_destroy(schedule *s); // requests that are left become SCHEDULE_DONE

// Refuses a request that could never be served, and takes note of any other, behind all that wait.
status schedule_add(schedule *s, schedule_request *r);

// The request ends as it stands; its pages are free for others. Does nothing if it is done.
void schedule_cancel(schedule *s, schedule_request *r);

// One pass. Requests that fail are done and say why; what is returned is a failure of the pass
// itself, after which it can be tried again.
status schedule_pass(schedule *s);

// Requests that wait or run.
size_t schedule_left(const schedule *s);

// What passes came to: how many there were, and the rows they computed.
typedef struct schedule_counts {
    size_t passes, rows, preemptions;
} schedule_counts;

schedule_counts schedule_count(const schedule *s);

#endif
