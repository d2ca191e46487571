// A file for what memory has no room for. It has no name any more once it is there: the system
// takes it away with the program, however that ends, so nothing in it can be of an earlier run.
#ifndef LOCKSTEP_SCRATCH_H
#define LOCKSTEP_SCRATCH_H

#include <stddef.h>
#include <sys/types.h>

#include "common/base/status.h"

typedef struct scratch {
    char *name; // that it had, for messages
    int fd;
} scratch;

// Makes one in this directory. scratch_close frees what there is, also after a failure.
status scratch_open(const char *dir, scratch *out);
void scratch_close(scratch *f);

// Reads, or writes, n bytes from `offset` on, in as many calls as that takes. Returns how many; if
// they are fewer, errno says why, and is 0 where the file ends.
size_t scratch_read(const scratch *f, void *to, size_t n, off_t offset);
size_t scratch_write(const scratch *f, const void *from, size_t n, off_t offset);

// For tests: what reads and writes, pread and pwrite unless a test makes them fail.
extern ssize_t (*scratch_pread)(int fd, void *to, size_t bytes, off_t offset);
extern ssize_t (*scratch_pwrite)(int fd, const void *from, size_t bytes, off_t offset);

#endif
