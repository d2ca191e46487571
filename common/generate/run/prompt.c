// A prompt: text or ids from the command line, a file or standard input; or rows of a file.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/file/file.h"
#include "common/generate/run/run.h"
#include "common/math/rowops.h"

status run_read_prompt(run *r)
{
    const options *o = &r->options;
    if (o->prompt && config_is_synthetic(o->model))
        return status_fail("%s has no text: give token ids, as in --ids 1,2,3, instead of a PROMPT",
                           o->model);
    if (o->from_hidden)
        return npy_read(o->from_hidden, &r->given);
    bool from_file = o->ids && o->ids[0] == '@',
         from_input = o->prompt && strcmp(o->prompt, "-") == 0;
    if (!from_file && !from_input) {
        r->text = o->ids ? o->ids : o->prompt;
        r->bytes = strlen(r->text);
        return NULL;
    }
    FILE *f = from_file ? fopen(o->ids + 1, "rb") : stdin;
    if (!f)
        return status_fail("cannot read %s: %s: name a readable file after --ids @", o->ids + 1,
                           strerror(errno));
    status s = file_read_stream(f, from_file ? o->ids + 1 : "standard input", &r->read, &r->bytes);
    r->text = r->read;
    if (from_file)
        fclose(f);
    return s;
}

static status check_shape(const run *r)
{
    const npy_matrix *g = &r->given;
    const config *c = &r->model->config;
    const char *path = r->options.from_hidden;
    if (g->columns != c->C)
        return status_fail("--from-hidden %s: its rows have %zu numbers, and those of %s %zu: use "
                           "the model that wrote it",
                           path, g->columns, r->options.model, c->C);
    if (g->is_double)
        return status_fail("--from-hidden %s: its numbers are '<f8', and would have to be rounded: "
                           "save them as '<f4'",
                           path);
    if (g->rows > c->T)
        return status_fail("--from-hidden %s: it has %zu rows, the context of %s only %zu: shorten "
                           "it, or use another model",
                           path, g->rows, r->options.model, c->T);
    return NULL;
}

// The model is given the rows, and an id beyond its vocabulary for each of them.
static status take_rows(run *r)
{
    status s = check_shape(r);
    if (s)
        return s;
    const size_t n = r->given.rows, C = r->given.columns;
    double *wide = memory_array(C, sizeof *wide);
    r->rows = memory_array(n * C, sizeof *r->rows);
    r->ids = memory_array(n, sizeof *r->ids);
    if (!wide || !r->rows || !r->ids)
        s = memory_failed("the rows of --from-hidden");
    for (size_t t = 0; !s && t < n; t++) {
        npy_row(&r->given, t, wide);
        for (size_t c = 0; !s && c < C; c++) {
            r->rows[t * C + c] = (float)wide[c];
            if (!isfinite(wide[c]))
                s = status_fail("--from-hidden %s: row %zu has a number that is not finite, its "
                                "element %zu: write it again",
                                r->options.from_hidden, t, c);
        }
        r->ids[t] = (int)(r->model->config.V + t);
    }
    memory_free(wide);
    r->model->given = r->rows;
    r->model->given_rows = n;
    r->report.prompt = n;
    r->report.rows_given = true;
    return s;
}

status run_tokenize(run *r)
{
    if (r->options.from_hidden)
        return take_rows(r);
    if (r->options.ids)
        return input_ids(r->text, r->bytes, r->model->config.V, &r->ids, &r->report.prompt);
    uint64_t start = clock_ns();
    status s = tokenizer_encode(r->tokenizer, r->text, r->bytes, &r->ids, &r->report.prompt);
    r->report.tokenize_ns = clock_ns() - start;
    return s;
}

status run_write_hidden(run *r)
{
    const size_t n = r->report.prompt, C = r->model->config.C;
    npy_writer *w;
    if (!r->options.hidden)
        return NULL;
    rows x = {.n = C, .stride = rows_stride(C)};
    x.at = memory_array(size_times(n, x.stride), sizeof *x.at);
    if (!x.at)
        return memory_failed("the prompt's rows");
    rowops_embed(r->model, r->ids, 0, n, &x);
    status s = npy_create(r->options.hidden, C, &w);
    for (size_t t = 0; !s && t < n; t++) {
        s = npy_append(w, row(&x, t));
        if (s)
            npy_abandon(w);
    }
    memory_free(x.at);
    return s ? s : npy_close(w);
}
