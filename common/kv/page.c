// Where a number lies in a page.
#include "common/kv/page.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"

// Why 64: notes/13-store.md.
enum { KV_PAGE = 64 };

static size_t cache_lines(size_t bytes)
{
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

page_shape page_shape_of(const kv_spec *spec, const config *c)
{
    page_shape s = {.form = form_of(spec),
                    .P = spec->page ? spec->page : KV_PAGE,
                    .G = c->H,
                    .D = config_head_size(c)};
    s.value_bytes = cache_lines(size_times(s.P, s.D * s.form->width));
    s.head_bytes = s.value_bytes + cache_lines(size_times(s.P, padded(s.D) * s.form->width));
    s.bytes = size_times(s.G, s.head_bytes);
    return s;
}

// Channel d of a key at slot i; a slot's channels lie 16 elements apart.
static size_t key_at(const page_shape *s, size_t g, size_t i, size_t d)
{
    return g * s->head_bytes + (i / LANES * LANES * s->D + d * LANES + i % LANES) * s->form->width;
}

// Channel d, a multiple of 16, of a value at slot i; its next 15 channels follow.
static size_t value_at(const page_shape *s, size_t g, size_t i, size_t d)
{
    return g * s->head_bytes + s->value_bytes + (d * s->P + i * LANES) * s->form->width;
}

// Copies n rows of D elements of `width` bytes. From one channel of a row to the next it is to_step
// and from_step elements; from one row to the next 1, and from_row.
static void copy_channels(size_t width, size_t D, size_t n, void *to, size_t to_step,
                          const void *from, size_t from_step, size_t from_row)
{
    for (size_t d = 0; d < D; d++)
        for (size_t r = 0; r < n; r++) {
            const size_t a = d * to_step + r, b = d * from_step + r * from_row;
            if (width == sizeof(uint32_t))
                ((uint32_t *)to)[a] = ((const uint32_t *)from)[b];
            else
                ((uint16_t *)to)[a] = ((const uint16_t *)from)[b];
        }
}

page_misfit page_write_keys(const page_shape *s, page *to, size_t g, size_t i, const float *k,
                            size_t stride, size_t n, void *scratch)
{
    page *at = to + key_at(s, g, i, 0);
    page_misfit misfit = {n, s->D};
    for (size_t r = 0; r < n && misfit.row == n; r++) {
        const size_t written =
            s->form->write(k + r * stride, s->D, (page *)scratch + r * s->D * s->form->width);
        if (written < s->D)
            misfit = (page_misfit){r, written};
    }
    copy_channels(s->form->width, s->D, n, at, LANES, scratch, 1, s->D);
    return misfit;
}

size_t page_write_value(const page_shape *s, page *to, size_t g, size_t i, const float *v,
                        void *scratch)
{
    const size_t width = s->form->width, written = s->form->write(v, s->D, scratch);
    for (size_t d = 0; d < s->D; d += LANES)
        memcpy(to + value_at(s, g, i, d), (const page *)scratch + d * width,
               size_min(s->D - d, LANES) * width);
    return written;
}

void page_read_key(const page_shape *s, const page *from, size_t g, size_t i, float *k,
                   void *scratch)
{
    copy_channels(s->form->width, s->D, 1, scratch, 1, from + key_at(s, g, i, 0), LANES, 0);
    s->form->read(scratch, s->D, k);
}

void page_read_value(const page_shape *s, const page *from, size_t g, size_t i, float *v,
                     void *scratch)
{
    const size_t width = s->form->width;
    for (size_t d = 0; d < s->D; d += LANES)
        memcpy((page *)scratch + d * width, from + value_at(s, g, i, d),
               size_min(s->D - d, LANES) * width);
    s->form->read(scratch, s->D, v);
}

panels page_keys(const page_shape *s, const page *at, size_t g, size_t from, size_t to)
{
    return (panels){at + key_at(s, g, from, 0), LANES * s->D, (to - from) / LANES, s->form->of};
}

panels page_values(const page_shape *s, const page *at, size_t g, size_t from)
{
    return (panels){at + value_at(s, g, from, 0), LANES * s->P, panels_for(s->D), s->form->of};
}
