// Keys of kivi: those of a group that is not finished yet lie beside the pages, exact, in panels of
// their own; when the last of them is there, the group is quantised into its pages as a whole, seen
// or not. So a row reads the keys of its own group exactly, whatever chunk it came in.
#include <math.h>
#include <stdbool.h>

#include "common/base/size.h"
#include "common/kv/store.h"

// Channel d of head g's key at position t, in layer l.
static float *own_at(const kv *s, size_t l, size_t g, size_t t, size_t d)
{
    const size_t G = s->spec.group, D = s->shape.D, i = t % G;
    return s->own + (l * s->shape.G + g) * G * D + i / LANES * LANES * D + d * LANES + i % LANES;
}

size_t kv_group_start(const kv *s, size_t t)
{
    return s->spec.group ? t / s->spec.group * s->spec.group : t;
}

page_misfit kv_write_own(kv *s, size_t l, size_t g, size_t t, const float *k, size_t stride,
                         size_t n)
{
    for (size_t r = 0; r < n; r++)
        for (size_t d = 0; d < s->shape.D; d++) {
            if (!isfinite(k[r * stride + d]))
                return (page_misfit){r, d};
            *own_at(s, l, g, t + r, d) = k[r * stride + d];
        }
    return (page_misfit){n, s->shape.D};
}

void kv_read_own(const kv *s, size_t l, size_t g, size_t t, float *k)
{
    for (size_t d = 0; d < s->shape.D; d++)
        k[d] = *own_at(s, l, g, t, d);
}

panels kv_own_keys(const kv *s, size_t l, size_t g, size_t from, size_t to)
{
    return (panels){.at = own_at(s, l, g, from, 0),
                    .stride = LANES * s->shape.D,
                    .count = (to - from) / LANES,
                    .of = ELEMENT_F32};
}

// The group's channel d of head g, from position `start` on. False where the file failed, or where
// a number cannot be kept: *misfit is then its index, and *x is it.
static bool quantise_channel(kv *s, size_t l, size_t g, size_t start, size_t d, size_t *misfit,
                             float *x)
{
    const size_t G = s->spec.group, P = s->shape.P;
    float exact[KV_GROUP] = {0};
    page codes[KV_GROUP];
    uint16_t scale[2];
    for (size_t i = 0; i < G; i++)
        exact[i] = *own_at(s, l, g, start + i, d);
    *misfit = s->shape.form->write(exact, G, codes, scale);
    if (*misfit < G) {
        *x = exact[*misfit];
        return false;
    }
    for (size_t i = 0, n = size_min(G, P); i < G; i += n) {
        page *in = kv_head(s, l, g, (start + i) / P, true);
        if (!in)
            return false;
        page_write_channel(&s->shape, in, 0, (start + i) % P, d, codes + i, n, scale);
    }
    return true;
}

status kv_end_group(kv *s, size_t l, size_t t)
{
    const size_t start = t - s->spec.group, at = l % s->layers;
    s->finished = size_max(s->finished, t);
    for (size_t g = 0; g < s->shape.G; g++)
        for (size_t d = 0; d < s->shape.D; d++) {
            size_t i = 0;
            float x = 0;
            if (!quantise_channel(s, at, g, start, d, &i, &x))
                return kv_failed(s) ? kv_failed(s)
                                    : kv_misfit(s->spec.form, l, g, start + i, "key", x);
        }
    return NULL;
}
