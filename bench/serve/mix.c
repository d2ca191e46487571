// Generated requests are functions of seed and number; those of a file are read once.
#include "bench/serve/mix.h"

#include <jansson.h>
#include <string.h>

#include "bench/base/jsonl.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "common/text/tokenizer.h"

// ---- generated ----

enum { DOCUMENTS = 16, SYSTEM_STREAM = 1000, DOCUMENT_STREAM = 2000, REQUEST_STREAM = 10000 };

// Number t of a stream: all of them are pseudorandom functions of the seed.
static uint64_t draw(const mix *x, uint64_t stream, uint64_t t)
{
    return random_splitmix64(random_splitmix64(x->seed ^ (stream * RANDOM_GAMMA)) + t);
}

static void write_tokens(const mix *x, uint64_t stream, int *ids, size_t n)
{
    for (size_t t = 0; t < n; t++)
        ids[t] = (int)(draw(x, stream, t) % x->V);
}

// A whole number from 3/4 to 5/4 of `mean`.
static size_t about(const mix *x, size_t i, uint64_t what, size_t mean)
{
    return mean - mean / 4 + draw(x, REQUEST_STREAM + i, 1000000 + what) % (mean / 2 + 1);
}

// Document d has a chance proportional to 1 / (d + 1).
static size_t choose_document(const mix *x, size_t i)
{
    double all = 0, drawn = (double)(draw(x, REQUEST_STREAM + i, 2000000) >> 11) * 0x1p-53;
    for (size_t d = 0; d < DOCUMENTS; d++)
        all += 1.0 / (double)(d + 1);
    size_t d = 0;
    for (drawn *= all; d + 1 < DOCUMENTS && drawn >= 1.0 / (double)(d + 1); d++)
        drawn -= 1.0 / (double)(d + 1);
    return d;
}

// What all or some prompts begin with, in tokens; then the question's and the answer's means.
typedef struct shape {
    size_t shared, question, answer;
} shape;

static shape shape_of(const mix *x)
{
    static const shape sixteenths[] = {{4, 2, 6}, {4, 1, 2}, {8, 1, 4}};
    const shape s = sixteenths[x->kind];
    return (shape){s.shared * x->T / 16, size_max(s.question * x->T / 16, 1),
                   size_max(s.answer * x->T / 16, 1)};
}

static size_t generated_request(const mix *x, size_t i, const int *text, size_t T, int *ids,
                                size_t *most)
{
    const shape s = shape_of(x);
    const size_t question = about(x, i, 0, s.question), answer = about(x, i, 1, s.answer);
    size_t n = s.shared;
    if (x->kind == MIX_CONVERSATION && T > 0 && T + question + answer <= x->T)
        memmove(ids, text, (n = T) * sizeof *ids);
    else
        write_tokens(
            x, x->kind == MIX_DOCUMENTS ? DOCUMENT_STREAM + choose_document(x, i) : SYSTEM_STREAM,
            ids, n);
    write_tokens(x, REQUEST_STREAM + i, ids + n, question);
    *most = n + question + answer;
    return n + question;
}

size_t mix_request(const mix *x, size_t i, const int *text, size_t T, int *ids, size_t *most)
{
    if (x->kind != MIX_FILE)
        return generated_request(x, i, text, T, ids, most);
    const mix_line *line = &x->lines[i % x->n];
    memcpy(ids, line->ids, line->T * sizeof *ids);
    *most = line->T + line->more;
    return line->T;
}

// ---- a file ----

typedef struct reading {
    const model *m;
    tokenizer *t; // NULL: the model has none
    mix *x;
} reading;

static status read_ids(const reading *r, const json_t *list, mix_line *line)
{
    line->T = json_array_size(list);
    line->ids = memory_array(line->T, sizeof *line->ids);
    if (!line->ids)
        return memory_failed("the ids of a prompt");
    for (size_t i = 0; i < line->T; i++) {
        const json_t *id = json_array_get(list, i);
        const json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || (uint64_t)value >= r->m->config.V)
            return status_fail("prompt[%zu] is no id below %zu", i, r->m->config.V);
        line->ids[i] = (int)value;
    }
    return NULL;
}

static status read_prompt(const reading *r, const json_t *object, mix_line *line)
{
    const json_t *prompt = json_object_get(object, "prompt");
    if (json_is_array(prompt))
        return read_ids(r, prompt, line);
    if (!json_is_string(prompt))
        return status_fail("prompt is neither a text nor a list of ids");
    if (!r->t)
        return status_fail("%s has no tokenizer: give the prompt as a list of ids",
                           model_label(r->m));
    return tokenizer_encode(r->t, json_string_value(prompt), json_string_length(prompt), &line->ids,
                            &line->T);
}

static status read_request(void *user, const json_t *object)
{
    const reading *r = user;
    const json_t *more = json_object_get(object, "max_tokens");
    const size_t T = r->m->config.T;
    mix_line *lines = memory_resize(r->x->lines, r->x->n + 1, sizeof *lines);
    if (!lines)
        return memory_failed("requests");
    r->x->lines = lines;
    mix_line *line = &lines[r->x->n++];
    *line = (mix_line){0};
    status failed = read_prompt(r, object, line);
    if (failed)
        return failed;
    if (!json_is_integer(more) || json_integer_value(more) < 1)
        return status_fail("max_tokens is no whole number above 0");
    line->more = (size_t)json_integer_value(more);
    if (line->T == 0 || size_plus(line->T, line->more) > T)
        return status_fail("a prompt of %zu tokens and %zu more do not fit the model's context, 1 "
                           "to %zu",
                           line->T, line->more, T);
    r->x->T = size_max(r->x->T, line->T + line->more);
    return NULL;
}

status mix_open(const char *name, const model *m, uint64_t seed, mix *out)
{
    static const char *const names[] = {"system", "conversation", "documents"};
    *out = (mix){.name = name, .seed = seed, .V = m->config.V, .kind = MIX_FILE};
    for (size_t i = 0; i < MIX_FILE; i++)
        if (strcmp(name, names[i]) == 0)
            out->kind = (mix_kind)i;
    if (out->kind != MIX_FILE) {
        out->T = size_min(MIX_LONGEST, m->config.T);
        return out->T < 16 ? status_fail("%s takes %zu tokens: a mix needs a context of 16",
                                         model_label(m), out->T)
                           : NULL;
    }
    reading r = {.m = m, .x = out};
    status failed = tokenizer_load_for(m, &r.t);
    if (!failed)
        failed = jsonl_read(name, read_request, &r);
    tokenizer_free(r.t);
    return failed ? status_fail("--mix: %s; or give system, conversation or documents", failed)
                  : NULL;
}

void mix_free(mix *x)
{
    for (size_t i = 0; i < x->n; i++)
        memory_free(x->lines[i].ids);
    memory_free(x->lines);
    *x = (mix){0};
}
