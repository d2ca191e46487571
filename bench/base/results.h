// Where measurements go, files that appear only when whole, and the record of what verification has
// passed.
#ifndef LOCKSTEP_BENCH_RESULTS_H
#define LOCKSTEP_BENCH_RESULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/file/file.h"
#include "common/model/model.h"

// The directory for results: `wanted`, or "results" beside the running program (build/results) if
// NULL. Creates it and its parents.
status results_make(const char *wanted, char dir[FILE_PATH_SIZE]);

// Lets `print` write DIR/NAME beside its place, and moves it there when everything has reached it.
// After a failure, print's own or the disk's, nothing is left beside, and what stood there before
// still does.
status results_write(const char *dir, const char *name, status print(FILE *f, const void *what),
                     const void *what);

// The same for JSON.
status results_write_json(const char *dir, const char *name, const json_t *value);

// Refuses, before anything is measured, places where a folder is in the way of these files in DIR
// (`names` ends in NULL), each with `before` in front of its name.
status results_check_places(const char *dir, const char *before, const char *const *names);

// Takes a folder of results for this process until results_unlock: refused while another one
// measures into it, whose number the message has. *lock < 0: not taken.
status results_lock(const char *dir, int *lock);
void results_unlock(int lock);

// All three, for files with nothing in front of their names: the folder is made, nothing is in the
// way, and it is this process's until results_unlock.
status results_take(const char *wanted, const char *const *names, char dir[FILE_PATH_SIZE],
                    int *lock);

// Notes in a description, under "files", the SHA-256 of these files in DIR (`names` ends in NULL),
// each with `before` in front of its name: what they tell belongs together.
status results_seal(const char *dir, const char *before, const char *const *names, json_t *context);

// Refuses files that are not those which a description was written for. `again` is the command that
// measures them.
status results_check_seal(const char *dir, const char *description, const char *before,
                          const char *const *names, const json_t *context, const char *again);

// Prints one field of a CSV file, quoted if it must be (RFC 4180): names such as synthetic:L=1,C=32
// hold commas.
void results_csv_text(FILE *f, const char *text);

// Hexadecimal SHA-256 of the running program: names this build, flags and compiler included.
status results_build(char hex[65]);

// What a comparison of the decoders on one model came to.
typedef struct verification_record {
    const char *decoder; // what was compared with the recompute,
    const char *subject; // and its key, or NULL for kvcache (bench/subject/subject.h)
    bool plugin, passed;
    size_t contexts, longest; // how many, and the tokens of the longest
    uint64_t logits, logits_differing, kv, kv_differing;
    const char *logits_sha256; // of the recomputed ones
} verification_record;

// Remembers in build/results/verified.json what this build has found on these weights. What reached
// further before stays, unless it passed and this did not.
status results_record_verified(const model *m, const verification_record *found);

// For tests: forgets it again, so that no record grows with every run.
status results_forget_verified(const model *m, const char *subject);

// The longest context up to which it has passed; 0 if it has not, or the record is absent,
// unreadable, or of another build.
size_t results_verified(const model *m, const char *subject);

#endif
