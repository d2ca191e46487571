// A GPT-2 decoder for many sequences: every pass computes rows that it has not seen, of all of
// them.
#include "kvcache/batch.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/kv/kv.h"
#include "common/math/rowops.h"

struct batch {
    const model *m;
    decoder_options o; // of each sequence
    size_t most;       // rows in a pass
    activations a;
};

enum { MESSAGE = 512 };

struct batch_sequence {
    const batch *in;
    kv *kept;      // K and V of all layers
    int *seen;     // (T_max) the tokens they belong to
    size_t length; // how many
    size_t at;     // which row of the activations its first one is, in the pass at hand
    bool passing;  // it has a part in that pass
    char failure[MESSAGE];
};

// ---- a batch and its sequences ----

void batch_destroy(batch *b)
{
    if (!b)
        return;
    activations_free(&b->a);
    memory_free(b);
}

status batch_create(const model *m, const decoder_options *o, size_t most, batch **out)
{
    *out = NULL;
    if (most == 0)
        return status_fail("a pass over 0 rows computes nothing: ask for one at least");
    batch *b = memory_array(1, sizeof *b);
    if (!b)
        return memory_failed("a batch");
    *b = (batch){.m = m, .o = *o, .most = most};
    status s = activations_create(&m->config, size_max(most, o->T_max), &b->a);
    if (s) {
        batch_destroy(b);
        return s;
    }
    *out = b;
    return NULL;
}

void batch_close(batch_sequence *q)
{
    if (!q)
        return;
    kv_destroy(q->kept);
    memory_free(q->seen);
    memory_free(q);
}

status batch_open(batch *b, const char *space, batch_sequence **out)
{
    decoder_options o = b->o;
    o.space = space;
    *out = NULL;
    batch_sequence *q = memory_array(1, sizeof *q);
    if (!q)
        return memory_failed("a sequence");
    q->in = b;
    status s = kv_create(&b->m->config, b->m->config.L, &o, &q->kept);
    q->seen = memory_array(o.T_max, sizeof *q->seen);
    if (!s && !q->seen)
        s = memory_failed("the tokens seen");
    if (s) {
        batch_close(q);
        return s;
    }
    *out = q;
    return NULL;
}

void batch_forget(batch_sequence *q)
{
    kv_forget(q->kept);
    q->length = 0;
}

size_t batch_held(const batch_sequence *q)
{
    return q->length;
}

size_t batch_bytes(const batch_sequence *q)
{
    return kv_bytes(q->kept);
}

// ---- a pass ----

// Notes in the part what has failed, if anything has.
static void note_failure(batch_part *p, status failed)
{
    if (!failed)
        return;
    snprintf(p->of->failure, MESSAGE, "%s", failed);
    p->failed = p->of->failure;
}

// Where the part begins, and how many of its rows fit below `most`. The rows whose logits are
// wanted stay in one pass.
static void first_row(batch_part *p, size_t most)
{
    batch_sequence *q = p->of;
    size_t t = 0;
    while (t < q->length && t < p->T && p->tokens[t] == q->seen[t])
        t++;
    note_failure(p, kv_begin(q->kept, p->tokens, p->T, t, p->T - p->wanted, &p->first));
    p->no_page = p->failed != NULL;
    if (p->failed)
        return;
    memcpy(q->seen, p->tokens, p->T * sizeof *p->tokens);
    q->length = p->first;
    p->rows = p->T - p->first;
    if (p->rows > most)
        p->rows = size_min(most, p->T - p->wanted - p->first);
}

// Each part has its place in the activations, one behind the other. Returns the rows of all.
static size_t first_rows(batch_part *parts, size_t n, size_t most)
{
    size_t used = 0;
    for (batch_part *p = parts; p < parts + n; p++) {
        p->of->at = used;
        if (p->wanted <= most - used)
            first_row(p, most - used);
        used += p->rows;
    }
    return used;
}

// The part's own rows of the activations that attention reads and writes.
static activations own_rows(const batch *b, const batch_part *p)
{
    activations a = b->a;
    a.q = rows_from(&a.q, p->of->at);
    a.k = rows_from(&a.k, p->of->at);
    a.v = rows_from(&a.v, p->of->at);
    a.heads = rows_from(&a.heads, p->of->at);
    return a;
}

// Attention is the one place where rows meet: those of one sequence, and no others. A part that has
// failed has no part in it any more; what the rest of the pass makes of its rows nobody reads.
static void attend(batch *b, size_t l, batch_part *parts, size_t n)
{
    for (batch_part *p = parts; p < parts + n; p++) {
        activations a = own_rows(b, p);
        if (!p->failed && p->rows > 0)
            note_failure(p, kv_attend(p->of->kept, l, p->first, &a, p->rows, &(tap){0}));
    }
}

// One transformer block over n rows, in place in the residual stream x (n, C).
static void transform(batch *b, size_t l, batch_part *parts, size_t count, size_t n)
{
    const layer *w = &b->m->layers[l];
    const float eps = b->m->config.eps;
    activations *a = &b->a;

    // Each row is brought to mean 0 and variance 1, then scaled and shifted: (n, C).
    rowops_layer_norm(&w->ln1, eps, &a->x, &a->normed, n);
    // One product gives each row its queries, keys and values, heads side by side: (n, C + 2 G D).
    rowops_linear(&w->qkv, &a->normed, &a->qkv, n);
    // Each sequence stores its keys and values and attends over its own: (n, C).
    attend(b, l, parts, count);
    // The heads' results are mixed, (n, C), and added to the residual stream.
    rowops_linear(&w->proj, &a->heads, &a->change, n);
    rowops_add(&a->x, &a->change, n);

    // The feed-forward network, row by row: normed again, (n, C),
    rowops_layer_norm(&w->ln2, eps, &a->x, &a->normed, n);
    // widened to F channels, (n, F),
    rowops_linear(&w->fc, &a->normed, &a->hidden, n);
    // bent by GELU, without which two products would be one, (n, F),
    rowops_gelu(&a->hidden, n);
    // narrowed again, (n, C), and added to the residual stream.
    rowops_linear(&w->fcproj, &a->hidden, &a->change, n);
    rowops_add(&a->x, &a->change, n);
}

// The logits of the parts whose last row is there: (wanted, V) each, in one product.
static void unembed(batch *b, batch_part *parts, size_t n)
{
    activations *a = &b->a;
    size_t wanted = 0;
    for (batch_part *p = parts; p < parts + n; p++) {
        if (p->failed || p->rows == 0 || p->first + p->rows < p->T)
            continue;
        // The rows whose logits are wanted are normed once more: (wanted, C).
        const rows last = rows_from(&a->x, p->of->at + p->rows - p->wanted);
        rows normed = rows_from(&a->normed, wanted);
        rowops_layer_norm(&b->m->lnf, b->m->config.eps, &last, &normed, p->wanted);
        p->logits = row(&a->logits, 0) + wanted * b->m->config.V;
        wanted += p->wanted;
    }
    // A logit is the product of a row with a token's embedding: (wanted, V).
    rowops_linear(&b->m->head, &a->normed, &a->logits, wanted);
    activations_logits(a, wanted);
}

// Wrong use, before anything has changed. Sets the parts' results to none.
static status check(const batch *b, batch_part *parts, size_t n, size_t most)
{
    if (n == 0 || most == 0 || most > b->most)
        return status_fail("a pass over %zu rows of %zu sequences: this batch takes 1 to %zu rows, "
                           "of one sequence at least",
                           most, n, b->most);
    for (batch_part *p = parts; p < parts + n; p++)
        p->of->passing = false;
    for (batch_part *p = parts; p < parts + n; p++) {
        const size_t i = (size_t)(p - parts);
        status s = decoder_check(b->m, b->o.T_max, p->tokens, p->T, p->wanted);
        if (s)
            return status_fail("part %zu: %s", i, s);
        if (p->of->in != b || p->of->passing)
            return status_fail("part %zu: its sequence is %s: open one for each part, in this "
                               "batch",
                               i, p->of->in != b ? "another batch's" : "that of an earlier part");
        if (p->wanted > most)
            return status_fail("part %zu: logits of %zu rows are wanted, of a pass over %zu: ask "
                               "for fewer",
                               i, p->wanted, most);
        p->of->passing = true;
        p->first = p->rows = 0;
        p->no_page = false;
        p->failed = NULL;
        p->logits = NULL;
    }
    return NULL;
}

status batch_pass(batch *b, batch_part *parts, size_t n, size_t most)
{
    status s = check(b, parts, n, most);
    if (s)
        return s;
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++)
        wanted += parts[i].wanted;
    s = activations_reserve(&b->a, size_min(wanted, most));
    if (s)
        return s;
    const size_t used = first_rows(parts, n, most);
    // A token's embedding plus that of its position begins the residual stream: (n, C). A position
    // is a row's place in its own sequence.
    for (batch_part *p = parts; p < parts + n; p++) {
        rows x = rows_from(&b->a.x, p->of->at);
        rowops_embed(b->m, p->tokens, p->first, p->first + p->rows, &x);
    }
    for (size_t l = 0; used > 0 && l < b->m->config.L; l++)
        transform(b, l, parts, n, used);
    for (batch_part *p = parts; p < parts + n; p++)
        if (!p->failed && p->rows > 0)
            kv_commit(p->of->kept, p->tokens, p->of->length = p->first + p->rows);
    unembed(b, parts, n);
    return NULL;
}
