// Loss: NLL, KL divergence, agreement.
#include "bench/strategies/loss.h"

#include <math.h>

#include "bench/base/interrupt.h"
#include "bench/base/stats.h"
#include "bench/compare/patterns.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "naive/naive.h"

loss_row loss_of_row(const float *z, const float *y, size_t V, int next, double *room)
{
    double *p = room, *q = room + V;
    size_t best_z = 0, best_y = 0;
    loss_row r = {0};
    for (size_t v = 0; v < V; v++) {
        p[v] = (double)z[v];
        q[v] = (double)y[v];
        best_z = z[v] > z[best_z] ? v : best_z;
        best_y = y[v] > y[best_y] ? v : best_y;
        r.largest = fmax(r.largest, fabs(q[v] - p[v]));
    }
    const double of_z = patterns_log_sum_exp(p, V), of_y = patterns_log_sum_exp(q, V);
    for (size_t v = 0; v < V; v++)
        r.kl += exp(p[v] - of_z) * ((p[v] - of_z) - (q[v] - of_y));
    r.nll = of_y - q[next];
    r.top1 = best_z == best_y;
    return r;
}

// Two decoders on one text, and what has come of the rows so far.
typedef struct pair {
    const loss_text *t;
    const subject *of[2]; // plain, and the other
    decoder *d[2];
    double *room, *kl; // (2 V), (n)
    double nll, top1;  // sums
    loss *out;
} pair;

static status create(pair *p)
{
    p->room = memory_array(2 * p->t->m->config.V, sizeof *p->room);
    p->kl = memory_array(p->t->n, sizeof *p->kl);
    status failed = p->room && p->kl ? NULL : memory_failed("the rows of a text");
    for (size_t i = 0; i < 2 && !failed; i++)
        failed = subject_create(p->of[i], p->t->m, p->t->m->config.T, &p->d[i]);
    return failed;
}

static void release(pair *p)
{
    for (size_t i = 0; i < 2; i++)
        if (p->d[i])
            p->of[i]->api->destroy(p->d[i]);
    memory_free(p->room);
    memory_free(p->kl);
}

// The last `rows` rows of the T tokens from `begin` on.
static status judge_chunk(pair *p, size_t begin, size_t T, size_t rows)
{
    const size_t V = p->t->m->config.V;
    const float *logits[2];
    for (size_t i = 0; i < 2; i++) {
        status failed =
            plugin_checked(p->of[i]->api->step(p->d[i], p->t->ids + begin, T, rows, &logits[i]));
        if (failed)
            return failed;
    }
    for (size_t i = 0; i < rows; i++) {
        const int next = p->t->ids[begin + T - rows + i + 1];
        const loss_row r = loss_of_row(logits[0] + i * V, logits[1] + i * V, V, next, p->room);
        if (!isfinite(r.nll) || !isfinite(r.kl))
            return status_fail("%s: the logits after %zu tokens are not finite numbers; verify "
                               "names the place",
                               p->of[1]->name, T - rows + i + 1);
        p->kl[p->out->tokens++] = r.kl;
        p->nll += r.nll;
        p->top1 += r.top1;
        p->out->largest = fmax(p->out->largest, r.largest);
    }
    return NULL;
}

// The n rows from `begin` on, which fit one context. The first window is the longest.
static status judge_window(pair *p, size_t begin, size_t n, loss_meter *meter)
{
    const subject *of = p->of[1];
    for (size_t T = 0; T < n;) {
        const size_t rows = size_min(LOSS_CHUNK, n - T);
        T += rows;
        status failed = judge_chunk(p, begin, T, rows);
        if (failed)
            return failed;
        meter->done += rows;
        progress_update(&meter->bar, (double)meter->done / (double)meter->all);
    }
    if (begin == 0) {
        p->out->window = n;
        p->out->bytes = of->api->bytes ? of->api->bytes(p->d[1]) : 0;
    }
    return NULL;
}

static void sum_up(pair *p)
{
    const size_t n = p->out->tokens;
    for (size_t i = 0; i < n; i++)
        p->out->kl_mean += p->kl[i] / (double)n;
    p->out->kl_99 = stats_percentile(p->kl, n, 99);
    p->out->nll = p->nll / (double)n;
    p->out->top1 = p->top1 / (double)n;
}

status loss_measure(const loss_text *t, const subject *plain, const subject *of, loss_meter *meter,
                    loss *out)
{
    const size_t rows = t->n - 1, window = t->m->config.T;
    *out = (loss){0};
    pair p = {.t = t, .of = {plain, of}, .out = out};
    status failed = create(&p);
    for (size_t begin = 0; begin < rows && !failed && !interrupt_asked(); begin += window)
        failed = judge_window(&p, begin, size_min(window, rows - begin), meter);
    if (!failed && out->tokens == rows)
        sum_up(&p);
    else
        *out = (loss){0};
    release(&p);
    return failed;
}

status loss_one_pass(const loss_text *t, loss_meter *meter, double *nll)
{
    const size_t rows = t->n - 1, window = t->m->config.T, V = t->m->config.V;
    decoder *d = NULL;
    const float *logits = NULL;
    double *room = memory_array(2 * V, sizeof *room), sum = 0;
    status failed = room ? NULL : memory_failed("a row");
    size_t judged = 0;
    if (!failed)
        failed = naive_decoder.create(t->m, &(decoder_options){.T_max = window}, &d);
    for (size_t begin = 0; begin < rows && !failed && !interrupt_asked(); begin += window) {
        const size_t n = size_min(window, rows - begin);
        failed = naive_decoder.step(d, t->ids + begin, n, n, &logits);
        for (size_t i = 0; i < n && !failed; i++)
            sum += loss_of_row(logits + i * V, logits + i * V, V, t->ids[begin + i + 1], room).nll;
        judged += n;
        meter->done += n;
        progress_update(&meter->bar, (double)meter->done / (double)meter->all);
    }
    *nll = judged == rows ? sum / (double)rows : 0;
    if (d)
        naive_decoder.destroy(d);
    memory_free(room);
    return failed;
}
