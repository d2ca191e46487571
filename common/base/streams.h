// Standard input, output and error, which whoever starts a program may have closed.
#ifndef LOCKSTEP_STREAMS_H
#define LOCKSTEP_STREAMS_H

#include "common/base/status.h"

// The first thing that main does: each standard stream that is closed gets a file that cannot be
// used, so that no file opened later takes its number, and messages with it.
void streams_hold(void);

// The last thing that main does: fails unless all that was printed has been written.
status streams_written(void);

#endif
