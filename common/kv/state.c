// What the store holds, out of it and into it again as it is stored: a number that took another
// way, widened and narrowed once more, might not be the same.
#include <string.h>

#include "common/base/size.h"
#include "common/kv/store.h"

const kv_spec *kv_spec_of(const kv *s)
{
    return &s->spec;
}

size_t kv_computed(const kv *s)
{
    return s->computed;
}

size_t kv_width(const kv *s)
{
    return s->shape.form->width;
}

// Heavy's rows go with the scores and the journal that chose them.
status kv_check_rows(const kv_spec *spec)
{
    char name[KV_NAME];
    if (spec->keep != KV_HEAVY)
        return NULL;
    return status_fail("--kv %s: which rows it keeps next depends on scores that no snapshot "
                       "holds: use all or window:W+S",
                       kv_name(spec, name));
}

// Of a group that a page cuts a window may have dropped a part; a pool's rows are not its own.
static status check_kind(const kv *s)
{
    char name[KV_NAME];
    status failed = kv_check_rows(&s->spec);
    if (failed)
        return failed;
    if (s->spec.keep == KV_WINDOW && s->shape.group && s->shape.P % s->shape.group != 0)
        return status_fail("--kv %s: pages of %zu positions cut groups of %zu: make the page a "
                           "multiple of the group",
                           kv_name(&s->spec, name), s->shape.P, s->shape.group);
    if (s->pool)
        return status_fail("the rows of a pool are shared: take a snapshot of a decoder without");
    return NULL;
}

status kv_rows(const kv *s, visible *held)
{
    status failed = check_kind(s);
    if (failed)
        return failed;
    *held = (visible){0, 0, s->held};
    if (s->dropped > 0)
        *held = (visible){kv_behind_sinks(s) * s->shape.P, s->dropped, s->held};
    if (s->held < s->dropped)
        return status_fail("a step has failed, and rows before %zu are gone: run one that does not",
                           s->dropped);
    return NULL;
}

// How many of `held` are there from position t on, up to the end of their range and of t's panel.
static size_t panel_rows(visible held, size_t t)
{
    const size_t end = t < held.sinks ? held.sinks : held.to;
    return size_min(end - t, LANES - t % LANES);
}

status kv_take(kv *s, size_t l, size_t g, visible held, bool values, void *to)
{
    const size_t bytes = s->shape.D * s->shape.form->width, P = s->shape.P;
    page *out = to;
    for (size_t t = softmax_next(held, 0); t < held.to;
         t = softmax_next(held, t + 1), out += bytes) {
        if (!*kv_page(s, l, t / P))
            return status_fail("layer %zu, position %zu is not held", l, t);
        const page *in = kv_head(s, l, g, t / P, false);
        if (!in) {
            const status failed = kv_failed(s);
            s->file->failed = NULL;
            return failed;
        }
        (values ? page_take_value : page_take_key)(&s->shape, in, 0, t % P, out);
    }
    return NULL;
}

status kv_restore(kv *s, visible held)
{
    const size_t P = s->shape.P, sinks = kv_behind_sinks(s) * P;
    status failed = check_kind(s);
    if (failed)
        return failed;
    const bool whole = held.sinks == 0 && held.from == 0,
               cut = s->spec.keep == KV_WINDOW && held.sinks == sinks && held.from > sinks &&
                     held.from % P == 0;
    if (held.to > s->T || held.from > held.to || !(whole || cut) ||
        held.sinks / P + kv_pages_for(s, held.to) - held.from / P > s->stock)
        return status_fail("rows below %zu and from %zu to %zu are not what such a store of %zu "
                           "positions holds",
                           held.sinks, held.from, held.to, s->T);
    kv_forget(s);
    return NULL;
}

status kv_put(kv *s, size_t l, size_t g, visible held, bool values, const void *from)
{
    const size_t bytes = s->shape.D * s->shape.form->width, P = s->shape.P;
    const page *next = from;
    for (size_t t = softmax_next(held, 0), n; t < held.to; t = softmax_next(held, t + n)) {
        n = panel_rows(held, t);
        kv_place_page(s, l, t / P);
        page *in = kv_head(s, l, g, t / P, true);
        if (!in)
            return kv_failed(s);
        if (!values)
            page_put_keys(&s->shape, in, 0, t % P, next, n);
        for (size_t i = 0; values && i < n; i++)
            page_put_value(&s->shape, in, 0, t % P + i, next + i * bytes);
        next += n * bytes;
    }
    return NULL;
}

void kv_restored(kv *s, visible held)
{
    s->held = held.to;
    s->dropped = held.from;
}
