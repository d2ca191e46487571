// Ctrl-C, SIGTERM, SIGHUP: the first one asks for an end in good order, a second one kills, as
// usual.
#ifndef LOCKSTEP_BENCH_INTERRUPT_H
#define LOCKSTEP_BENCH_INTERRUPT_H

#include <stdbool.h>

// From here on to interrupt_release, each of them is taken note of once. Not to be nested.
void interrupt_catch(void);
void interrupt_release(void);

// Whether one came since interrupt_catch; and what the program then exits with, 128 and its number,
// as a shell has it.
bool interrupt_asked(void);
int interrupt_exit_code(void);

#endif
