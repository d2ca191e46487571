// Reading the files of a model: only regular ones (a pipe would hang), only what was asked for, with messages that name
// the file.
#ifndef LOCKSTEP_FILE_H
#define LOCKSTEP_FILE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

enum { FILE_PATH_SIZE = 4096 }; // bytes of a path, with its zero

// Writes DIR/NAME to path.
status file_path(const char *dir, const char *name, char path[FILE_PATH_SIZE]);

// Opens a regular file for reading; close *fd with close(). The message of a failure ends in `cure`.
status file_open(const char *path, const char *cure, int *fd, uint64_t *bytes);

// Reads exactly `bytes` bytes from `offset` on.
status file_read(int fd, const char *path, uint64_t offset, void *to, size_t bytes);

// Parses `bytes` bytes of JSON (RFC 8259), which must be one object without duplicate keys; free it with json_decref.
// Jansson allocates through memory.h. `path` names the text in messages.
status file_parse_json(const char *path, const char *text, size_t bytes, json_t **out);

#endif
