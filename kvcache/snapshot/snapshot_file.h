// The file of a snapshot: a safetensors file whose header says whose state it is, and whose every
// byte is covered by a hash.
#ifndef LOCKSTEP_SNAPSHOT_FILE_H
#define LOCKSTEP_SNAPSHOT_FILE_H

#include "kvcache/snapshot/snapshot_header.h"

typedef struct snapshot_file snapshot_file;

// A new file beside `path`, to which the data is appended in order. snapshot_finish puts it in the
// place of `path` once all of it has reached the disk: whatever ends the program before, `path` is
// what it was. Refused for a form that has no dtype, and where no file can be written, which
// snapshot_check says before there is any data.
status snapshot_check(const char *path, const snapshot_about *about);
status snapshot_create(const char *path, const snapshot_about *about, snapshot_file **out);
status snapshot_append(snapshot_file *f, const void *from, size_t bytes);
status snapshot_finish(snapshot_file *f); // closes in any case

// Opens a snapshot of this model, digest and spec, for a decoder of T_max tokens; refused by name
// where it is another's. `hidden` and `held` of *about are what the file says. Nothing that is read
// may be used before snapshot_verify has compared the hash.
status snapshot_open(const char *path, size_t T_max, snapshot_about *about, snapshot_file **out);
status snapshot_read(snapshot_file *f, void *to, size_t bytes);
status snapshot_verify(const snapshot_file *f);

// Closes, and removes what was not finished; NULL: nothing to do.
void snapshot_close(snapshot_file *f);

#endif
