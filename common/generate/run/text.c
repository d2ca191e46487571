// The text itself: step and choose until there is enough.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/generate/run/run.h"

status run_flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return NULL;
    return status_fail("cannot write to standard output: %s: check where it leads",
                       strerror(errno));
}

// *n tokens more behind the T there are, and the logits from which they were drawn: (*n, V).
static status pass(run *r, size_t T, size_t *n, const float **logits)
{
    if (r->speculation)
        return r->program->speculates->pass(r->speculation, r->ids, T,
                                            r->most - r->report.generated, n, logits);
    size_t given;
    const int *tokens = context_view_of(&r->view, r->ids, T, &given);
    status s = r->api->step(r->decoder, tokens, given, 1, logits);
    if (!s)
        r->ids[T] = sampler_choose(r->sampler, *logits, T);
    *n = 1;
    return s;
}

// Whether the latest id ends the text.
bool run_at_end_of_text(const run *r)
{
    return !r->options.ignore_eos && r->report.generated > 0 &&
           ends_with(&r->ends, r->ids[r->report.prompt + r->report.generated - 1]);
}

// Writes the latest id out as it is: its bytes may be a part of a character, which the next ones
// complete.
static status stream(const run *r)
{
    int id = r->ids[r->report.prompt + r->report.generated - 1];
    if (r->options.json)
        return NULL;
    if (r->options.print_ids || !r->tokenizer) {
        printf("%d\n", id);
    } else if (!run_at_end_of_text(r)) {
        size_t n;
        const char *bytes = tokenizer_decode(r->tokenizer, id, &n);
        fwrite(bytes, 1, n, stdout);
    }
    return run_flush_output();
}

// Rows that the decoder has computed so far, where the program counts them.
static size_t rows_computed(const run *r)
{
    return r->program->states ? r->program->states->computed(r->decoder) : 0;
}

// One pass. Only this is timed; what is done with its tokens is not. What stands behind the end of
// the text is dropped.
static status extend(run *r)
{
    const size_t T = r->report.prompt + r->report.generated, before = rows_computed(r);
    const float *logits;
    size_t n;
    uint64_t start = clock_ns();
    status s = pass(r, T, &n, &logits);
    if (s)
        return s;
    r->report.latency_ns += clock_ns() - start;
    if (r->ids[T] < 0 && r->options.from_hidden)
        return status_fail("--from-hidden %s: the logits after %zu rows are not finite: their "
                           "numbers are too large for F32, use another file",
                           r->options.from_hidden, T);
    if (r->ids[T] < 0)
        return status_fail("%s: the logits after %zu tokens are not finite: its weights are too "
                           "large for F32, use another model",
                           r->options.model, T);
    const size_t computed = r->program->states ? rows_computed(r) - before : r->view.n; // or all
    r->report.rows += computed;
    if (r->report.generated == 0) {
        r->report.ttft_ns = r->report.latency_ns;
        r->report.computed = computed;
    }
    for (size_t i = 0; !s && i < n && !run_at_end_of_text(r); i++) {
        r->report.generated++;
        s = r->logits ? npy_append(r->logits, logits + i * r->model->config.V) : NULL;
        if (!s)
            s = stream(r);
    }
    return s;
}

// The tokens of an answer that was found, as if they were generated.
static status repeat(run *r)
{
    status s = NULL;
    r->report.ttft_ns = r->report.latency_ns = r->report.answer_ns;
    for (size_t i = 0; !s && i < r->answered; i++) {
        r->report.generated++;
        s = stream(r);
    }
    return s;
}

status run_generate(run *r)
{
    status s = NULL;
    if (r->options.embed)
        return run_embed(r);
    if (r->answer)
        return repeat(r);
    while (!s && r->report.generated < r->most && !run_at_end_of_text(r)) {
        s = extend(r);
        if (!s)
            s = generate_interrupted();
    }
    if (s || !r->logits)
        return s;
    npy_writer *whole = r->logits;
    r->logits = NULL; // npy_close ends it in any case
    return npy_close(whole);
}
