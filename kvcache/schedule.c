// A queue of those that wait, a list of those that run, and one pass after another.
#include "kvcache/schedule.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

// Requests in the order in which they came, linked by `next`.
typedef struct queue {
    schedule_request *first;
    size_t n;
} queue;

struct schedule {
    const model *m;
    schedule_options o;
    batch *batch;
    queue waiting, running;
    bool crowded;      // somebody had to give pages back: nobody new comes in before one has ended
    batch_part *parts; // (running) of a pass
    schedule_request **who; // (running) whose they are
    schedule_counts counts;
};

// ---- queues ----

static void put_last(queue *q, schedule_request *r)
{
    schedule_request **at = &q->first;
    while (*at)
        at = &(*at)->next;
    *at = r;
    r->next = NULL;
    q->n++;
}

static void put_first(queue *q, schedule_request *r)
{
    r->next = q->first;
    q->first = r;
    q->n++;
}

static void take_out(queue *q, schedule_request *r)
{
    schedule_request **at = &q->first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    q->n--;
}

static schedule_request *last_of(const queue *q)
{
    schedule_request *r = q->first;
    while (r && r->next)
        r = r->next;
    return r;
}

// ---- a scheduler ----

void schedule_destroy(schedule *s)
{
    if (!s)
        return;
    while (s->running.first)
        schedule_cancel(s, s->running.first);
    while (s->waiting.first)
        schedule_cancel(s, s->waiting.first);
    batch_destroy(s->batch);
    memory_free(s->parts);
    memory_free(s->who);
    memory_free(s);
}

status schedule_create(const model *m, const schedule_options *o, schedule **out)
{
    *out = NULL;
    if (o->running == 0 || o->running > o->rows)
        return status_fail("%zu sequences in passes over %zu rows: let 1 to %zu run, so that each "
                           "has a row in every pass",
                           o->running, o->rows, o->rows);
    schedule *s = memory_array(1, sizeof *s);
    if (!s)
        return memory_failed("a scheduler");
    *s = (schedule){.m = m, .o = *o};
    s->parts = memory_array(o->running, sizeof *s->parts);
    s->who = memory_array(o->running, sizeof *s->who);
    status failed = s->parts && s->who ? batch_create(m, &o->decoder, o->rows, &s->batch)
                                       : memory_failed("a scheduler");
    *out = failed ? NULL : s;
    if (failed)
        schedule_destroy(s);
    return failed;
}

status schedule_add(schedule *s, schedule_request *r)
{
    const size_t T_max = s->o.decoder.T_max;
    status failed = decoder_check(s->m, T_max, r->ids, r->T, 1);
    if (failed)
        return failed;
    if (r->most <= r->T || r->most > T_max)
        return status_fail("a prompt of %zu tokens cannot become a text of %zu: ask for 1 to %zu "
                           "more",
                           r->T, r->most, T_max - r->T);
    r->prompt = r->T;
    r->state = SCHEDULE_WAITS;
    put_last(&s->waiting, r);
    return NULL;
}

// Its pages go back; what it has generated stays.
static void leave(schedule *s, schedule_request *r)
{
    take_out(&s->running, r);
    batch_close(r->sequence);
    r->sequence = NULL;
}

void schedule_cancel(schedule *s, schedule_request *r)
{
    if (r->state == SCHEDULE_RUNS) {
        leave(s, r);
        s->crowded = false;
    } else if (r->state == SCHEDULE_WAITS)
        take_out(&s->waiting, r);
    r->state = SCHEDULE_DONE;
}

static void fail(schedule *s, schedule_request *r, status why)
{
    snprintf(r->failure, sizeof r->failure, "%s", why);
    schedule_cancel(s, r);
}

// Goes back to the head of those that wait, and nobody new comes in before one has ended.
static void wait_again(schedule *s, schedule_request *r)
{
    leave(s, r);
    put_first(&s->waiting, r);
    r->state = SCHEDULE_WAITS;
    s->crowded = true;
}

static void preempt(schedule *s, schedule_request *r)
{
    r->preemptions++;
    s->counts.preemptions++;
    wait_again(s, r);
}

// ---- a pass ----

// Those that wait come in, the first first, as long as there are places. Where memory is short for
// one, it waits for those that run; where none runs, it has failed.
static void admit(schedule *s)
{
    while (s->waiting.first && s->running.n < s->o.running && (!s->crowded || s->running.n == 0)) {
        schedule_request *r = s->waiting.first;
        status failed = batch_open(s->batch, r->space, &r->sequence);
        if (failed && s->running.n > 0)
            return;
        if (failed) {
            fail(s, r, failed);
            continue;
        }
        take_out(&s->waiting, r);
        put_last(&s->running, r);
        r->state = SCHEDULE_RUNS;
    }
}

// Whether only the row of its last token is left to compute.
static bool generates(const schedule_request *r)
{
    return batch_held(r->sequence) + 1 == r->T;
}

// Those that generate come first, so that none of them waits for a prompt.
static size_t list_parts(schedule *s)
{
    size_t n = 0;
    for (int prompts = 0; prompts < 2; prompts++)
        for (schedule_request *r = s->running.first; r; r = r->next)
            if (generates(r) == !prompts) {
                s->parts[n] =
                    (batch_part){.of = r->sequence, .tokens = r->ids, .T = r->T, .wanted = 1};
                s->who[n++] = r;
            }
    return n;
}

// A row that the request has never computed is cached where it begins behind it, and computed where
// the pass computes it. What it had computed before, and lost, is neither, wherever it comes from.
static void count_rows(schedule *s, schedule_request *r, const batch_part *p)
{
    const size_t known = r->cached + r->computed, end = p->first + p->rows;
    s->counts.rows += p->rows;
    if (p->rows == 0)
        return;
    if (p->first > known)
        r->cached += p->first - known;
    const size_t from = r->cached + r->computed, fresh = end > from ? end - from : 0;
    r->computed += fresh;
    r->recomputed += p->rows - fresh;
}

static void take_token(schedule *s, schedule_request *r, const float *logits)
{
    const int id = r->choose(r->user, logits, r->T);
    if (id != SCHEDULE_END)
        r->ids[r->T++] = id;
    if (id == SCHEDULE_END || r->T == r->most)
        schedule_cancel(s, r);
}

// Some of the n parts found no page. Where nobody has ended in this pass, those among them that
// hold nothing yet wait again; and for those that do hold rows the youngest of all gives back its
// own. Alone, a request has all pages there are, and more than that it cannot get.
static void make_room(schedule *s, size_t n, status why)
{
    bool some_hold = false;
    if (s->running.n < n)
        return;
    if (n == 1) {
        fail(s, s->who[0], why);
        return;
    }
    for (size_t i = n; i-- > 0;)
        if (s->parts[i].no_page && batch_held(s->who[i]->sequence) == 0)
            wait_again(s, s->who[i]);
        else
            some_hold |= s->parts[i].no_page;
    if (some_hold && s->running.n > 1)
        preempt(s, last_of(&s->running));
}

status schedule_pass(schedule *s)
{
    admit(s);
    const size_t n = list_parts(s);
    status failed = n > 0 ? batch_pass(s->batch, s->parts, n, s->o.rows) : NULL;
    if (failed || n == 0)
        return failed;
    s->counts.passes++;
    char short_of_pages[SCHEDULE_MESSAGE] = "";
    for (size_t i = 0; i < n; i++) {
        const batch_part *p = &s->parts[i];
        count_rows(s, s->who[i], p);
        if (p->no_page)
            snprintf(short_of_pages, sizeof short_of_pages, "%s", p->failed);
        else if (p->failed)
            fail(s, s->who[i], p->failed);
        else if (p->logits)
            take_token(s, s->who[i], p->logits);
    }
    if (short_of_pages[0])
        make_room(s, n, short_of_pages);
    return NULL;
}

size_t schedule_left(const schedule *s)
{
    return s->waiting.n + s->running.n;
}

schedule_counts schedule_count(const schedule *s)
{
    return s->counts;
}
