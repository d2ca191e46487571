// Text generation from the command line: all of a program but the decoder it is given.
#ifndef LOCKSTEP_GENERATE_H
#define LOCKSTEP_GENERATE_H

#include "common/decoder.h"

// Does what the arguments ask (see options.h) with a decoder of `api`: text, ids or JSON to
// standard output, the rest to standard error. Returns the exit status: 0 done, 1 failed, 2 usage
// error, 128 + n ended by signal n. Ignores SIGPIPE from then on.
int generate_main(const decoder_api *api, int argc, char **argv);

#endif
