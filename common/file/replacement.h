// A file that appears only when it is whole: it grows beside its place, and then takes it.
#ifndef LOCKSTEP_REPLACEMENT_H
#define LOCKSTEP_REPLACEMENT_H

#include <stdbool.h>

#include "common/base/status.h"

typedef struct replacement {
    char *place;  // where it goes: behind symbolic links, which stay
    char *beside; // where it grows: to be opened by the caller
} replacement;

// Names both. Refused where the place is no regular file, or a symbolic link that leads nowhere.
// replacement_abandon frees what there is, also after a failure.
status replacement_begin(const char *path, replacement *out);

// Whether two paths name one file, however they are spelled; neither need be there yet.
bool replacement_is_same(const char *a, const char *b);

// Moves the file, which is closed, to its place, and frees the names. False: errno says why it
// stayed.
bool replacement_finish(replacement *r);

// errno as the failure to write a file of this path. The cure is room where that is short, and in
// any case another one: `what` is "file" or "directory".
status replacement_failed(const char *path, const char *what);

// Removes what grew, if anything did.
void replacement_abandon(replacement *r);

#endif
