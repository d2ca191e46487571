// Requests from a file, one a line; an answer for each on a line of standard output, in order.
#ifndef LOCKSTEP_LINES_H
#define LOCKSTEP_LINES_H

#include "kvcache/serve/service.h"

// `path`, or "-" for standard input. An empty line is none. Several requests run at a time; what
// is there is answered while more is waited for. A line that is refused is answered with an error
// that has its number, and fails nothing else.
status lines_serve(service *v, const char *path);

#endif
