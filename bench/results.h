// Where measurements go, files that appear only when whole, and the record of what verification has passed.
#ifndef LOCKSTEP_BENCH_RESULTS_H
#define LOCKSTEP_BENCH_RESULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/file.h"
#include "common/model.h"

// The directory for results: `wanted`, or "results" beside the running program (build/results) if NULL. Creates it and
// its parents.
status results_make(const char *wanted, char dir[FILE_PATH_SIZE]);

// Lets `print` write DIR/NAME beside its place, and moves it there when everything has reached it. After a failure,
// print's own or the disk's, nothing is left beside, and what stood there before still does.
status results_write(const char *dir, const char *name, status print(FILE *f, const void *what), const void *what);

// The same for JSON.
status results_write_json(const char *dir, const char *name, const json_t *value);

// Prints one field of a CSV file, quoted if it must be (RFC 4180): names such as synthetic:L=1,C=32 hold commas.
void results_csv_text(FILE *f, const char *text);

// Hexadecimal SHA-256 of the running program: names this build, flags and compiler included.
status results_build(char hex[65]);

// Remembers in build/results/verified.json that this build has verified the decoders on these weights, up to a context
// of `last` tokens. What was verified further before stays. plugin: the digest of the plug-in that it was, or NULL.
status results_record_verified(const model *m, const char *plugin, size_t last);

// The longest context up to which it has; 0 if the record is absent, unreadable, or of another build.
size_t results_verified(const model *m, const char *plugin);

#endif
