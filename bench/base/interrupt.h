// Ctrl-C: the first one asks for an end in good order, a second one kills, as usual.
#ifndef LOCKSTEP_BENCH_INTERRUPT_H
#define LOCKSTEP_BENCH_INTERRUPT_H

#include <stdbool.h>

// From here on to interrupt_release, SIGINT is taken note of once. Not to be nested.
void interrupt_catch(void);
void interrupt_release(void);

// Whether Ctrl-C was pressed since interrupt_catch.
bool interrupt_asked(void);

#endif
