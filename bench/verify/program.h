// Programs of calls: a way whose moves carry their own texts, judged call by call, cut down to the
// shortest that still goes wrong, and printed as C.
#ifndef LOCKSTEP_BENCH_PROGRAM_H
#define LOCKSTEP_BENCH_PROGRAM_H

#include <stdio.h>

#include "bench/locate/ways.h"

// What a call showed that it should not have.
typedef enum fault {
    FAULT_NONE,
    FAULT_LOGITS,   // its logits differ from the judge's
    FAULT_ACCEPTED, // its arguments are wrong, and it was not refused
    FAULT_FAILED,   // it failed, although the judge did not
    FAULT_SHARED,   // it changed the logits that the other decoder had returned
} fault;

typedef struct outcome {
    fault fault;
    size_t move;       // the first call that goes wrong
    uint64_t compared; // numbers, of all calls so far
    uint64_t differing;
    size_t position, index; // of the first that differs: its row, and the place in it
    float expected, got;
    double apart;      // of that row (bench/locate/locate.h)
    char message[256]; // of FAULT_FAILED
} outcome;

// A program under way: its decoders, and a judge that recomputes each text from nothing.
typedef struct player {
    const model *m;
    const subject *judge;
    const way *program; // borrowed
    decoder *by[2], *judging;
    // Of each, the logits of the last row that it has returned, which are its own until its next
    // call, and the judge's (V); shown NULL: none.
    const float *shown[2];
    float *right[2];
} player;

// Begins with decoders that have never been used. player_end frees what there is, also after a
// failure.
status player_begin(const model *m, const subject *judge, const way *program, player *out);
void player_end(player *p);

// Makes call i of the program and compares all logits that it asks for. A failure is one of the
// judge, or of memory; what the subject does wrong is in *out, to which the counts are added.
status player_make(player *p, size_t i, outcome *out);

// Cuts a program that goes wrong as *out says down: calls are left out, texts are shortened, ids
// become small, as long as some call goes wrong in the same manner. Its last move is then that
// call, and *out what it shows; one that does not go wrong again is left as it is, with *repeats
// false.
status program_shrink(const model *m, const subject *judge, way *program, outcome *out,
                      bool *repeats);

// A copy of (n) ids, for a move to own; NULL: out of memory.
int *program_ids(const int *ids, size_t n);

// Frees the ids of all moves.
void program_free_ids(way *program);

// Prints it as lines of C for a test, within 80 columns.
void program_print(const way *program, const outcome *o, FILE *f);

#endif
