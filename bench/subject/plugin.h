// Somebody else's decoder, from a shared object: opened with care and run in a child process, so
// that a crash or a hang is a finding.
#ifndef LOCKSTEP_BENCH_PLUGIN_H
#define LOCKSTEP_BENCH_PLUGIN_H

#include "common/decoder.h"

// From here on, memory that this process allocates is full of this byte until it is written, where
// the C library can do so (glibc): as floats, 3.4e38. Fresh pages happen to hold zeros, with which
// many a mistake goes unseen.
enum { PLUGIN_FILLING = 0x7f };
void plugin_fill_memory(void);

// Opens FILE.so, which exports `const decoder_api lockstep_decoder` (common/decoder.h), and checks
// its version. The table returned has the same functions, each guarded: the floating-point
// environment is saved before and restored after every call, opening included, since a library
// built with -Ofast turns subnormals off for the whole process.
status plugin_open(const char *file, const decoder_api **api);

// In a plug-in's process, and nowhere else: the weights of m cannot be written while they are
// guarded; a write is the failure that plugin_contain returns. To be undone before m is freed.
void plugin_guard_weights(const model *m, bool guarded);

// Whether the weights are others than when they were guarded: a plug-in can unlock them.
bool plugin_weights_changed(const model *m);

// The SHA-256 of the file that was opened, in hexadecimal; NULL: none was.
const char *plugin_digest(void);

// What the plug-in did to the floating-point environment and when; NULL: nothing.
const char *plugin_complaint(void);

// s, or that complaint as a failure: what such a plug-in computes is not worth a figure.
status plugin_checked(status s);

// Around each call of the plug-in, of T tokens or 0: which one it is, for messages, and that what
// is printed now is the plug-in's own. They do nothing outside a plug-in's process.
void plugin_call_begins(const char *call, size_t T);
void plugin_call_ended(void);

// What runs in the child, like a command.
typedef status plugin_body(void *argument, int *exit_code);

// How many seconds a call of the plug-in may take, and all that body does; 0: for ever.
typedef struct plugin_limits {
    double call_s, run_s;
} plugin_limits;

// Runs body(argument) in a child process and waits. What takes longer than its limit, or kills the
// child, is the failure returned, with the call's name. Otherwise what body
// returns, and *exit_code as body left it; 128 + n where signal n, sent to this process, ended the
// child. The child, and all that it started, ends with this process, whatever kills that. What the
// plug-in prints goes to a log, whose last lines are shown on standard error after a failure.
status plugin_contain(plugin_body *body, void *argument, const plugin_limits *limits,
                      int *exit_code);

#endif
