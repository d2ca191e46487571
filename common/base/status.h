// What every function that can fail returns: nothing, or one line that says what is wrong, where,
// and the cure.
#ifndef LOCKSTEP_STATUS_H
#define LOCKSTEP_STATUS_H

// NULL means done. Otherwise a sentence for the user; it stays valid until the next failure on this
// thread.
typedef const char *status;

// Formats a failure as printf does. The arguments may include an earlier status, so that a caller
// can add its place:
//     return status_fail("%s: %s", path, s);
__attribute__((format(printf, 1, 2))) status status_fail(const char *format, ...);

#endif
