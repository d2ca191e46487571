// Requests, served many at a time: each is read, becomes tokens, waits for its place in the
// scheduler's passes (kvcache/schedule.h), and its text grows until it has ended. Rows of equal
// beginnings are shared within a user's namespace (kvcache/prefix/prefix.h). One thread.
#ifndef LOCKSTEP_SERVICE_H
#define LOCKSTEP_SERVICE_H

#include <stdint.h>

#include "common/generate/options.h"
#include "kvcache/schedule.h"
#include "kvcache/serve/request.h"

enum { SERVICE_RUNNING = 16, SERVICE_ROWS = 64, SERVICE_PAGE = 16, SERVICE_CONTEXTS = 4 };

typedef struct service service;

// A model, its tokenizer, a prompt cache and a scheduler, as the options say; -n, -t, -k, -p and -s
// hold for requests that do not say otherwise. Refuses options that do not go with requests.
status service_open(const options *o, service **out);
void service_close(service *v); // after its jobs

// The name by which the model is asked for.
const char *service_model(const service *v);

typedef struct job job;

// A request from its text (n bytes) to its place in the queue; `name` is what messages call it.
// *out is NULL only where there is no memory for it; else it stands for the request, also for one
// that is refused, which has ended: job_failure says why.
status service_add(service *v, const char *name, const char *text, size_t n, request_kind kind,
                   job **out);
void job_close(job *j); // also one that has not ended

// One pass for all that have not ended; *left: how many there are behind it.
status service_pass(service *v, size_t *left);

// What a job has come to.
typedef struct job_view {
    const request *request;
    const char *text; // (bytes) so far
    size_t bytes;
    size_t final;                     // of these: no stop sequence can take them back any more
    const char *finish;               // "stop", "length", or NULL: it has not ended, or failed
    const char *failure;              // why it failed, or NULL
    bool refused;                     // it is the request that is at fault, not the server
    size_t prompt, cached, generated; // tokens; cached: of the prompt, never computed for it; all
                                      // of it where the answer was found (--answers)
    uint64_t ttft_ns, latency_ns;     // from service_add on; 0: not yet
} job_view;

job_view job_look(const job *j);

#endif
