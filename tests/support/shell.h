// Lines of shell in a folder of the test's own.
#ifndef LOCKSTEP_TESTS_SHELL_H
#define LOCKSTEP_TESTS_SHELL_H

#include "tests/support/support.h"

// For .init and .fini of a suite: makes support_folder for each test, and removes it. The test runs
// where it was.
void shell_make_folder(void);
void shell_remove_folder(void);

// Runs a line, in which $D is the folder and $N a name there that is not UTF-8; what it writes goes
// to the folder's files out and err. Returns the exit status; to be ended by a signal fails the
// test.
int shell_run(const char *line);

// Fails the test unless the folder's file `name` holds `part`.
void shell_expect_in(const char *name, const char *part);

#endif
