// How much memory a process that does a piece of work really holds, asked of the operating system.
#ifndef LOCKSTEP_BENCH_RESIDENT_H
#define LOCKSTEP_BENCH_RESIDENT_H

#include <stddef.h>

#include "common/base/status.h"

// Runs body(argument) in a child process, which inherits all that this one holds, and waits.
// *bytes: the most memory that was resident in it at once (ru_maxrss: kibibytes on Linux, bytes on
// macOS). The failure is body's, or the child's.
status resident_peak(status body(void *argument), void *argument, double *bytes);

#endif
