// A request as it comes from a client: read, or refused by one line.
#include <assert.h>

#include "kvcache/serve/request.h"
#include "tests/fuzz/fuzz.h"

// Jansson's buffers double, and messages are joined; what file_parse_json allows of it.
const fuzz_limit fuzz_allocation = {8, 1 << 16};

void fuzz_prepare(void)
{
}

// What is understood is within its ranges.
static void check(const request *q)
{
    assert(q->text && q->bytes > 0 && q->stops <= REQUEST_STOPS);
    assert(q->how.temperature >= 0 && q->how.temperature <= 2);
    assert(q->how.top_p > 0 && q->how.top_p <= 1);
    for (size_t i = 0; i < q->stops; i++)
        assert(q->stop[i] && q->stop[i][0]);
}

void fuzz_run(const uint8_t *data, size_t n)
{
    const sampling how = {.top_p = 1};
    for (request_kind kind = REQUEST_EITHER; kind <= REQUEST_CHAT; kind++) {
        request q;
        if (fuzz_done(request_read("it", (const char *)data, n, kind, "m", &how, &q)))
            check(&q);
        request_free(&q);
    }
}
