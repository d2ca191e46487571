// What is saved of each layer, and how it becomes keys and values again.
#include "kvcache/snapshot/snapshot.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/kv/kv.h"
#include "common/math/rowops.h"
#include "kvcache/kvcache.h"
#include "kvcache/snapshot/snapshot_file.h"

// A decoder's state on its way to a file or from it.
typedef struct passage {
    kvcache_state of;
    snapshot_about about;
    snapshot_file *file;
    void *buffer; // one tensor
} passage;

// Bytes of one tensor of a layer.
static size_t tensor_bytes(const passage *p)
{
    const config *c = &p->of.m->config;
    const size_t row =
        p->about.hidden ? c->C * sizeof(float) : config_kv_width(c) * kv_width(p->of.kept);
    return size_times(softmax_count(p->about.held), row);
}

static status make_buffer(passage *p)
{
    p->buffer = memory_block(size_max(tensor_bytes(p), 1));
    return p->buffer ? NULL : memory_failed("a snapshot");
}

// ---- out ----

static status save_layer_kv(passage *p, size_t l)
{
    const size_t G = config_kv_heads(&p->of.m->config), bytes = tensor_bytes(p);
    status failed = NULL;
    for (int values = 0; !failed && values < 2; values++) {
        for (size_t g = 0; !failed && g < G; g++)
            failed = kv_take(p->of.kept, l, g, p->about.held, values,
                             (char *)p->buffer + g * (bytes / G));
        if (!failed)
            failed = snapshot_append(p->file, p->buffer, bytes);
    }
    return failed;
}

// The inputs of all layers, (L, T, C), as a pass shows them: each layer adds its two results.
typedef struct recording {
    float *x;
    size_t L, T, C;
} recording;

static void record(void *user, stage s, int at, int head, size_t t, const float *values, size_t n)
{
    recording *r = user;
    const size_t l = s == STAGE_EMBED ? 0 : (size_t)at + 1;
    (void)head;
    if ((s != STAGE_EMBED && s != STAGE_PROJ && s != STAGE_FCPROJ) || l == r->L)
        return;
    float *x = r->x + (l * r->T + t) * r->C;
    const float *before = s == STAGE_PROJ ? x - r->T * r->C : x;
    for (size_t c = 0; c < n; c++)
        x[c] = s == STAGE_EMBED ? values[c] : before[c] + values[c];
}

// A pass over all tokens, by a decoder of the same spec that is watched.
static status record_all(const passage *p, recording *r)
{
    const config *c = &p->of.m->config;
    *r = (recording){.L = c->L, .T = p->about.held.to, .C = c->C};
    r->x = memory_block(size_times(size_times(r->L, r->T), r->C * sizeof *r->x));
    if (!r->x)
        return memory_failed("the inputs of all layers");
    const decoder_options o = {.T_max = r->T, .kv = p->about.spec};
    const float *logits;
    decoder *d;
    status failed = kvcache_decoder.create(p->of.m, &o, &d);
    if (failed)
        return failed;
    kvcache_decoder.observe(d, record, r);
    failed = kvcache_decoder.step(d, p->of.seen, r->T, 1, &logits);
    kvcache_decoder.destroy(d);
    return failed;
}

static status save_layer_hidden(passage *p, const recording *r, size_t l)
{
    float *out = p->buffer;
    const visible held = p->about.held;
    for (size_t t = softmax_next(held, 0); t < held.to; t = softmax_next(held, t + 1)) {
        memcpy(out, r->x + (l * r->T + t) * r->C, r->C * sizeof *out);
        out += r->C;
    }
    return snapshot_append(p->file, p->buffer, tensor_bytes(p));
}

static status save_layers(passage *p)
{
    recording r = {0};
    status failed = p->about.hidden ? record_all(p, &r) : NULL;
    for (size_t l = 0; !failed && l < p->of.m->config.L; l++)
        failed = p->about.hidden ? save_layer_hidden(p, &r, l) : save_layer_kv(p, l);
    memory_free(r.x);
    return failed;
}

status snapshot_save(decoder *d, const char *digest, bool hidden, const char *path)
{
    passage p = {.of = kvcache_state_of(d)};
    p.about = (snapshot_about){
        .m = p.of.m, .digest = digest, .spec = *kv_spec_of(p.of.kept), .hidden = hidden};
    status failed = kv_rows(p.of.kept, &p.about.held);
    if (!failed && p.about.held.to == 0)
        failed =
            status_fail("--save-state %s: nothing has been computed yet: generate a token", path);
    if (!failed)
        failed = make_buffer(&p);
    if (!failed)
        failed = snapshot_create(path, &p.about, &p.file);
    if (!failed)
        failed = snapshot_append(p.file, p.of.seen, p.about.held.to * sizeof *p.of.seen);
    if (!failed)
        failed = save_layers(&p);
    memory_free(p.buffer);
    if (failed)
        snapshot_close(p.file);
    return failed ? failed : snapshot_finish(p.file);
}

// ---- in ----

// Reads a layer, and has it kept unless *unfit says already why something could not be.
static status load_layer_kv(passage *p, size_t l, status *unfit)
{
    const size_t G = config_kv_heads(&p->of.m->config), bytes = tensor_bytes(p);
    status failed = NULL;
    for (int values = 0; !failed && values < 2; values++) {
        failed = snapshot_read(p->file, p->buffer, bytes);
        for (size_t g = 0; !failed && !*unfit && g < G; g++)
            *unfit = kv_put(p->of.kept, l, g, p->about.held, values,
                            (char *)p->buffer + g * (bytes / G));
    }
    return failed;
}

// The columns of keys and values, with the last of the queries' where these end within a panel.
static void compute_kv(const linear *qkv, size_t C, const rows *normed, rows *out, size_t n)
{
    const size_t first = C / LANES * LANES; // of a panel
    const linear columns = linear_from(qkv, first);
    rows part = rows_columns(out, first, columns.N);
    rowops_linear(&columns, normed, &part, n);
}

// The rows at positions t..t + n - 1 of a layer, from its inputs x (n, C).
static status restore_rows(passage *p, size_t l, const float *x, size_t t, size_t n)
{
    const layer *w = &p->of.m->layers[l];
    const config *c = &p->of.m->config;
    activations *a = p->of.a;
    for (size_t r = 0; r < n; r++)
        memcpy(row(&a->x, r), x + r * c->C, c->C * sizeof *x);
    rowops_layer_norm(&w->ln1, c->eps, &a->x, &a->normed, n);
    compute_kv(&w->qkv, c->C, &a->normed, &a->qkv, n);
    return kv_store(p->of.kept, l, t, &a->k, &a->v, n);
}

static status load_layer_hidden(passage *p, size_t l, status *unfit)
{
    const visible held = p->about.held;
    const float *x = p->buffer;
    status failed = snapshot_read(p->file, p->buffer, tensor_bytes(p));
    if (!failed && !*unfit)
        *unfit = restore_rows(p, l, x, 0, held.sinks);
    if (!failed && !*unfit)
        *unfit =
            restore_rows(p, l, x + held.sinks * p->of.m->config.C, held.from, held.to - held.from);
    return failed;
}

// Tokens and layers, none of which counts before the hash has been compared: what a damaged file
// holds may be unfit to be kept, and then the damage is what has to be said.
static status load_all(passage *p)
{
    const visible held = p->about.held;
    status unfit = NULL, failed = kv_restore(p->of.kept, held);
    if (!failed)
        failed = snapshot_read(p->file, p->of.seen, held.to * sizeof *p->of.seen);
    for (size_t l = 0; !failed && l < p->of.m->config.L; l++)
        failed = p->about.hidden ? load_layer_hidden(p, l, &unfit) : load_layer_kv(p, l, &unfit);
    if (!failed)
        failed = snapshot_verify(p->file);
    if (!failed)
        failed = unfit;
    if (failed)
        return failed;
    kv_restored(p->of.kept, held);
    *p->of.length = held.to;
    return NULL;
}

status snapshot_load(decoder *d, const char *digest, const char *path, size_t *tokens)
{
    passage p = {.of = kvcache_state_of(d)};
    p.about = (snapshot_about){.m = p.of.m, .digest = digest, .spec = *kv_spec_of(p.of.kept)};
    kvcache_decoder.reset(d);
    status failed = snapshot_open(path, p.of.T_max, &p.about, &p.file);
    if (!failed)
        failed = make_buffer(&p);
    if (!failed)
        failed = load_all(&p);
    if (failed)
        kvcache_decoder.reset(d);
    *tokens = failed ? 0 : p.about.held.to;
    memory_free(p.buffer);
    snapshot_close(p.file);
    return failed;
}

static size_t computed(decoder *d)
{
    return kv_computed(kvcache_state_of(d).kept);
}

static status check(const kv_spec *spec, bool hidden, const char *path)
{
    const snapshot_about about = {.spec = *spec, .hidden = hidden};
    status failed = kv_check_rows(spec);
    return failed ? failed : snapshot_check(path, &about);
}

const state_api snapshot = {check, snapshot_save, snapshot_load, computed};
