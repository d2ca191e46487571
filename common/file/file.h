// Reading the files of a model: regular ones only (a pipe would hang), with messages that name the
// file.
#ifndef LOCKSTEP_FILE_H
#define LOCKSTEP_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

enum { FILE_PATH_SIZE = 4096 }; // bytes of a path, with its zero

// Writes DIR/NAME to path.
status file_path(const char *dir, const char *name, char path[FILE_PATH_SIZE]);

bool file_exists(const char *dir, const char *name);

// Opens a regular file for reading, and says how long it is; close *fd with close().
status file_open(const char *path, int *fd, uint64_t *bytes);

// Reads exactly `bytes` bytes from `offset` on.
status file_read_at(int fd, const char *path, uint64_t offset, void *to, size_t bytes);

// Refuses a Git LFS pointer, by how it begins.
enum { FILE_POINTER_BYTES = 23 };
status file_check_pointer(const char *path, const char *text, size_t n);

// All n bytes of DIR/NAME in a new array, a zero byte behind them; free it with memory_free.
// Refused above 64 MiB, and if it is a Git LFS pointer or begins with a byte-order mark. On failure
// *bytes is NULL.
status file_read(const char *dir, const char *name, char **bytes, size_t *n);

// The same from where an open stream stands; `name` is what messages call it.
status file_read_stream(FILE *f, const char *name, char **bytes, size_t *n);

// DIR/NAME as a JSON object (RFC 8259) without duplicate keys; release it with json_decref. Refused
// where it takes many times its size in memory: meanwhile Jansson allocates through memory.h. On
// failure *root is NULL.
status file_read_json(const char *dir, const char *name, json_t **root);

// The same from n bytes of text; `path` is what messages call it.
status file_parse_json(const char *path, const char *text, size_t n, json_t **root);

#endif
