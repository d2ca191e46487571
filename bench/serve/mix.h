// What users ask for: requests of a JSONL file, or generated ones whose prompts begin alike.
#ifndef LOCKSTEP_BENCH_MIX_H
#define LOCKSTEP_BENCH_MIX_H

#include <stddef.h>
#include <stdint.h>

#include "common/model/model.h"

typedef enum mix_kind {
    MIX_SYSTEM,       // one system prompt for all, and a question of each
    MIX_CONVERSATION, // the same, and then each user goes on with his own text, as far as it goes
    MIX_DOCUMENTS,    // a question about one of a few documents, by Zipf's law
    MIX_FILE
} mix_kind;

// A request of a file.
typedef struct mix_line {
    int *ids; // (T)
    size_t T, more;
} mix_line;

typedef struct mix {
    mix_kind kind;
    const char *name;
    uint64_t seed;
    size_t V, T; // ids below V; no text is longer than T
    mix_line *lines;
    size_t n; // lines of a file; 0: any number of requests can be asked for
} mix;

enum { MIX_LONGEST = 256 }; // tokens of a generated text, less where the model takes less

// The mix of this name: "system", "conversation", "documents", or a file with one JSON object a
// line, {"prompt": TEXT or [ids], "max_tokens": N} and whatever else. A failure names the line.
// mix_free frees what there is, also after a failure.
status mix_open(const char *name, const model *m, uint64_t seed, mix *out);
void mix_free(mix *x);

// Request i, of a user whose last one has become text (T); T = 0: it is his first. Writes the
// prompt to ids (x->T), which may be text itself, returns its length, and how long the text may
// become. The same arguments give the same request.
size_t mix_request(const mix *x, size_t i, const int *text, size_t T, int *ids, size_t *most);

#endif
