// So many users at once, each of whom sends his next request when his last one has been answered.
#ifndef LOCKSTEP_BENCH_LOAD_H
#define LOCKSTEP_BENCH_LOAD_H

#include <stdbool.h>

#include "bench/serve/mix.h"

enum { LOAD_ROWS = 64 }; // of a pass: what users who read leave of them goes to prompts

typedef struct load {
    const model *m;
    const mix *mix;
    size_t users, requests; // in all
    size_t budget;          // bytes of pages
    bool cache;             // what was computed can be found by its tokens
} load;

// 50th, 90th and 99th percentile: the least value that so many per cent do not exceed.
enum { LOAD_PERCENTILES = 3 };
extern const int load_percentiles[LOAD_PERCENTILES];

typedef struct load_result {
    size_t requests;
    size_t prompt, cached, generated; // tokens of all prompts; of these from the cache; of answers
    size_t passes, rows, recomputed;  // rows computed, and those of them not for the first time
    size_t preemptions;
    size_t kv_peak; // bytes of pages that sequences had at once, each page once
    double ns;      // from the first request to the last answer
    double ttft_ns[LOAD_PERCENTILES], tpot_ns[LOAD_PERCENTILES];
} load_result;

// Serves them all. `progress` is told the share of requests that are answered; false: stop.
status load_run(const load *w, bool (*progress)(void *user, double done), void *user,
                load_result *out);

// Bytes of all pages for a text of T tokens, with what is known of them.
size_t load_text_bytes(const model *m, size_t T);

#endif
