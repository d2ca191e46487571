// The two ways in which requests come: a file with one a line, and HTTP.
#ifndef LOCKSTEP_SERVE_H
#define LOCKSTEP_SERVE_H

#include "common/generate/options.h"

// What --requests and --serve do.
status serve(const options *o);

#endif
