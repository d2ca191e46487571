// build/bench snapshot: what restoring a state takes beside computing it.
#ifndef LOCKSTEP_BENCH_SNAPSHOT_H
#define LOCKSTEP_BENCH_SNAPSHOT_H

#include "bench/base/options.h"

// Asks the system to drop a file from its cache. It need not obey, and in memory (tmpfs) it does
// not.
void bench_drop_from_cache(const char *path);

status snapshot_command(int argc, char **argv, int *exit_code);

#endif
