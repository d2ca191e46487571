// The sequences grow from context to context. At each of them the last row is computed again and
// again, by as many users as are asked for, in an order that is drawn anew for each round.
#include "bench/serve/passes.h"

#include "bench/base/contexts.h"
#include "bench/serve/load.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "common/kv/kv.h"
#include "common/math/activations.h"
#include "kvcache/batch.h"

typedef struct measuring {
    serve_passes *p;
    batch *b;
    size_t users, T, rows; // the most of each; rows of the batch
    batch_part *parts;     // (users)
    int *ids;              // (users, T)
    double *taken;         // (counts, samples)
    size_t *order;         // (counts)
    uint64_t random;
    bool (*progress)(void *user, double done);
    void *user;
    double done, all; // rows
} measuring;

size_t serve_passes_memory(const config *c, size_t longest, size_t users)
{
    return size_plus(size_times(users, kv_memory(c, c->L, &(kv_spec){0}, longest)),
                     activations_bytes(c, size_max(longest, LOAD_ROWS)));
}

static status go_on(measuring *x, size_t computed)
{
    x->done += (double)computed;
    return x->progress(x->user, x->done / x->all) ? NULL : status_fail("interrupted");
}

static status grow(measuring *x, batch_part *part, size_t T)
{
    status failed = NULL;
    part->T = T;
    part->logits = NULL;
    while (!failed && !part->logits) {
        failed = batch_pass(x->b, part, 1, x->rows);
        if (!failed)
            failed = part->failed;
        if (!failed)
            failed = go_on(x, part->rows);
    }
    return failed;
}

static void shuffle(measuring *x)
{
    const size_t n = x->p->counts;
    for (size_t i = 0; i < n; i++)
        x->order[i] = i;
    for (size_t i = n; i-- > 1;) {
        const size_t j = random_splitmix64(x->random += RANDOM_GAMMA) % (i + 1), k = x->order[i];
        x->order[i] = x->order[j];
        x->order[j] = k;
    }
}

static status take(measuring *x, size_t count, size_t sample)
{
    const size_t users = x->p->users[count];
    const uint64_t begin = clock_ns();
    status failed = batch_pass(x->b, x->parts, users, x->rows);
    x->taken[count * x->p->samples + sample] = (double)(clock_ns() - begin);
    for (size_t i = 0; !failed && i < users; i++)
        if (x->parts[i].rows != 1)
            failed = status_fail("%zu rows of a user, not 1: this is a bug", x->parts[i].rows);
    return failed ? failed : go_on(x, users);
}

static status measure_context(measuring *x, size_t c)
{
    status failed = NULL;
    for (size_t i = 0; !failed && i < x->users; i++)
        failed = grow(x, &x->parts[i], x->p->context[c]);
    for (size_t s = 0; !failed && s < x->p->samples; s++) {
        shuffle(x);
        for (size_t i = 0; !failed && i < x->p->counts; i++)
            failed = take(x, x->order[i], s);
    }
    for (size_t i = 0; !failed && i < x->p->counts; i++)
        x->p->ns[c * x->p->counts + i] = stats_median(x->taken + i * x->p->samples, x->p->samples);
    return failed;
}

static status open(measuring *x)
{
    const serve_passes *p = x->p;
    x->users = p->users[p->counts - 1];
    x->T = p->context[p->contexts - 1];
    x->rows = size_max(x->users, LOAD_ROWS);
    x->parts = memory_array(x->users, sizeof *x->parts);
    x->ids = memory_array(size_times(x->users, x->T), sizeof *x->ids);
    x->taken = memory_array(size_times(p->counts, p->samples), sizeof *x->taken);
    x->order = memory_array(p->counts, sizeof *x->order);
    if (!x->parts || !x->ids || !x->taken || !x->order)
        return memory_failed("passes of many users");
    status failed = batch_create(p->m, &(decoder_options){.T_max = x->T}, x->rows, &x->b);
    for (size_t i = 0; i < x->users * x->T; i++)
        x->ids[i] = fixed_token(i, p->m->config.V);
    for (size_t i = 0; !failed && i < x->users; i++) {
        x->parts[i] = (batch_part){.tokens = x->ids + i * x->T, .wanted = 1};
        failed = batch_open(x->b, NULL, &x->parts[i].of);
    }
    x->all = (double)(x->users * x->T);
    for (size_t i = 0; i < p->counts; i++)
        x->all += (double)(p->users[i] * p->samples * p->contexts);
    return failed;
}

status serve_passes_run(serve_passes *p, bool (*progress)(void *user, double done), void *user)
{
    measuring x = {.p = p, .random = p->seed, .progress = progress, .user = user};
    status failed = open(&x);
    for (size_t c = 0; !failed && c < p->contexts; c++)
        failed = measure_context(&x, c);
    for (size_t i = 0; x.parts && i < x.users; i++)
        batch_close(x.parts[i].of);
    batch_destroy(x.b);
    memory_free(x.parts);
    memory_free(x.ids);
    memory_free(x.taken);
    memory_free(x.order);
    return failed;
}
