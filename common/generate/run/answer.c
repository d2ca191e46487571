// What is kept of a text: what was counted, on one line, then its ids.
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/generate/run/run.h"

// What is drawn without a seed that was asked for is meant to be another text each time.
static bool is_repeatable(const options *o)
{
    return o->embed || o->seeded || o->sampling.temperature <= 0;
}

static question question_of(const run *r)
{
    return (question){.what = r->options.embed ? "embedding" : "text",
                      .m = r->model,
                      .weights = r->weights,
                      .spec = &r->spec,
                      .ids = r->ids,
                      .n = r->report.prompt,
                      .pooling = r->options.embed,
                      .drawable = r->drawable,
                      .ends = r->options.ignore_eos ? NULL : &r->ends,
                      .how = r->options.sampling,
                      .tokens = r->options.tokens,
                      .context_end = r->end};
}

// "1179648 0 0 2\n" and ids, a space before each.
static bool take_text(run *r)
{
    report *p = &r->report;
    const char *at = r->answer;
    size_t *const counts[] = {&p->kv_bytes, &p->drops, &p->rows, &r->answered};
    uint64_t value;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++, at++) {
        if (!input_digits(&at, SIZE_MAX, &value) || *at != (i < 3 ? ' ' : '\n'))
            return false;
        *counts[i] = (size_t)value;
    }
    if (r->answered > r->most)
        return false;
    for (size_t i = 0; i < r->answered; i++) {
        if (*at++ != ' ' || !input_digits(&at, r->drawable - 1, &value))
            return false;
        r->ids[p->prompt + i] = (int)value;
    }
    return *at == '\0';
}

status run_find_answer(run *r)
{
    if (!r->options.answers)
        return NULL;
    if (!is_repeatable(&r->options)) {
        r->report.answer = ANSWER_UNSEEDED;
        return NULL;
    }
    const question q = question_of(r); // which borrows the digest
    size_t bytes = 0;
    const uint64_t start = clock_ns();
    status damaged = r->program->answers->weigh(r->model, r->weights);
    if (damaged)
        return damaged;
    damaged = r->program->answers->find(r->options.answers, &q, &r->answer, &bytes);
    if (r->answer &&
        !(r->options.embed ? bytes == r->model->config.C * sizeof(float) : take_text(r))) {
        damaged = status_fail("%s: an answer there is none of this program's: computed anew",
                              r->options.answers);
        memory_free(r->answer);
        r->answer = NULL;
        r->report.kv_bytes = r->report.drops = r->report.rows = 0;
    }
    r->report.answer_ns = clock_ns() - start;
    r->report.answer = r->answer ? ANSWER_FOUND : ANSWER_LOST; // until it is kept
    if (damaged)
        fprintf(stderr, "%s: note: %s\n", r->api->name, damaged);
    return NULL;
}

static status keep(run *r, const void *bytes, size_t n)
{
    const question q = question_of(r);
    status failed = r->program->answers->keep(r->options.answers, &q, bytes, n);
    if (failed)
        fprintf(stderr, "%s: note: the answer was not kept: %s\n", r->api->name, failed);
    else
        r->report.answer = ANSWER_KEPT;
    return NULL;
}

status run_keep_answer(run *r)
{
    const report *p = &r->report;
    if (p->answer != ANSWER_LOST)
        return NULL;
    if (r->embedding)
        return keep(r, r->embedding, r->model->config.C * sizeof *r->embedding);
    const size_t room = 128 + 12 * p->generated;
    char *text = memory_array(room, 1);
    if (!text)
        return memory_failed("the answer");
    int n = snprintf(text, room, "%zu %zu %zu %zu\n", p->kv_bytes, p->drops, p->rows, p->generated);
    for (size_t i = 0; i < p->generated; i++)
        n += snprintf(text + n, room - (size_t)n, " %d", p->ids[p->prompt + i]);
    status s = keep(r, text, (size_t)n);
    memory_free(text);
    return s;
}
