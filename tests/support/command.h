// Running a command of build/bench inside a test: what it prints, the files it leaves, Ctrl-C, and
// failing allocations.
#ifndef LOCKSTEP_TESTS_COMMAND_H
#define LOCKSTEP_TESTS_COMMAND_H

#include <stdio.h>

#include "bench/base/options.h"

// One run of a command, its standard output caught.
typedef struct command_run {
    status s;
    int exit_code;
    char out[16384];
} command_run;

// arguments: the command's name first, NULL last. Standard error goes nowhere.
command_run command_call(command *which, const char *const *arguments);
#define RUN(COMMAND, ...) command_call(COMMAND, (const char *const[]){__VA_ARGS__, NULL})

// Lets descriptor `fd` write to f. Returns what to hand to command_restore.
int command_redirect(int fd, FILE *f);
void command_restore(int fd, int before);

// Sends this process SIGINT so many milliseconds from now.
void command_interrupt_in(int ms);

// The whole of DIR/NAME as text, in a buffer of its own until the next call; its lines; and the
// fields of one line of a CSV, quoted ones with their quotes. Returns how many.
char *command_file(const char *dir, const char *name);
size_t command_lines(const char *text);
size_t command_split(const char *line, char fields[32][64]);

// Every allocation fails once: the failure is reported, and the leak checker finds nothing. Before
// each call, `prepare`, if it is not NULL, makes things as they were.
void command_assert_survives_failed_allocations(command *which, const char *const *arguments,
                                                void prepare(void));

#endif
