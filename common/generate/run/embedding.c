// --embed: the prompt's embedding in place of a text.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/generate/run/run.h"
#include "common/text/utf8.h"

status run_embed(run *r)
{
    const size_t C = r->model->config.C;
    r->embedding = memory_array(C, sizeof *r->embedding);
    if (!r->embedding)
        return memory_failed("the embedding");
    if (r->answer) {
        memcpy(r->embedding, r->answer, C * sizeof *r->embedding);
        return NULL;
    }
    const uint64_t start = clock_ns();
    status s =
        r->program->embeds(r->decoder, r->ids, r->report.prompt, r->options.embed, r->embedding);
    r->report.latency_ns = clock_ns() - start;
    for (size_t c = 0; !s && c < r->model->config.C; c++)
        if (!isfinite(r->embedding[c]))
            s = status_fail("%s: the embedding of %zu tokens is not finite: its weights are too "
                            "large for F32, use another model",
                            r->options.model, r->report.prompt);
    return s;
}

// Nine digits tell every binary32 number from its neighbours.
static bool print_json(const run *r)
{
    json_t *numbers = json_array();
    for (size_t c = 0; numbers && c < r->model->config.C; c++)
        if (json_array_append_new(numbers, json_real((double)r->embedding[c])) != 0) {
            json_decref(numbers);
            numbers = NULL;
        }
    json_t *o = json_pack("{s:o, s:s, s:I, s:o}", "model", utf8_text(r->report.model), "pooling",
                          r->options.embed, "prompt_tokens", (json_int_t)r->report.prompt,
                          "embedding", numbers);
    const bool done = o && json_dumpf(o, stdout, JSON_REAL_PRECISION(9)) == 0;
    json_decref(o);
    return done;
}

status run_print_embedding(run *r)
{
    const report *p = &r->report;
    char text[FORMAT_ROOM];
    if (!print_json(r) && !ferror(stdout))
        return memory_failed("the embedding");
    putchar('\n');
    status s = run_flush_output();
    if (s)
        return s;
    fprintf(stderr, "tokens     %zu prompt\n", p->prompt);
    fprintf(stderr, "load       %s\n", format_ns((double)p->load_ns, text));
    if (!r->answer)
        fprintf(stderr, "embed      %s\n", format_ns((double)p->latency_ns, text));
    report_print_answer(stderr, p);
    return NULL;
}
