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

// Rows of a panel that share its words (kernel.h).
static size_t rows_of_word(const page_shape *s)
{
    return 32 / s->form->bits;
}

// Bytes of a panel of K rows.
static size_t panel_bytes(const page_shape *s, size_t K)
{
    const size_t n = rows_of_word(s);
    return (K + n - 1) / n * LANES * sizeof(uint32_t);
}

// Blocks of channels.
static size_t blocks(const page_shape *s)
{
    return s->block ? (s->D + s->block - 1) / s->block : 0;
}

page_shape page_shape_of(const kv_spec *spec, const config *c)
{
    page_shape s = {.form = form_of(spec),
                    .P = spec->page ? spec->page : size_max(KV_PAGE, spec->group),
                    .G = config_kv_heads(c),
                    .D = config_head_size(c)};
    s.group = spec->group;
    s.block = s.group ? s.group : s.form->block;
    const size_t scale = s.form->scales * sizeof(uint16_t),
                 scales = cache_lines(blocks(&s) * s.P * scale),
                 of_groups = s.group ? size_max(1, s.P / s.group) * padded(s.D) * scale : 0;
    s.key_scales = size_times(s.P / LANES, panel_bytes(&s, s.D));
    s.value_bytes = s.key_scales + (s.group ? cache_lines(of_groups) : scales);
    s.value_scales = s.value_bytes + size_times(panels_for(s.D), panel_bytes(&s, s.P));
    s.head_bytes = s.value_scales + scales;
    s.bytes = size_times(s.G, s.head_bytes);
    return s;
}

// The panel of the key at slot i, which is lane i mod 16 of it; a row is a channel.
static size_t keys_at(const page_shape *s, size_t g, size_t i)
{
    return g * s->head_bytes + i / LANES * panel_bytes(s, s->D);
}

// The panel of the values' channel d, which is lane d mod 16 of it; a row is a slot.
static size_t values_at(const page_shape *s, size_t g, size_t d)
{
    return g * s->head_bytes + s->value_bytes + d / LANES * panel_bytes(s, s->P);
}

// The scale of the first block of a key at slot i; those of 16 slots lie side by side, and behind
// them those of the next block.
static size_t key_scale_at(const page_shape *s, size_t g, size_t i)
{
    const size_t n = i / LANES * blocks(s) * LANES + i % LANES;
    return g * s->head_bytes + s->key_scales + n * sizeof(uint16_t);
}

// The scale of the first block of a value at slot i; those of all slots lie side by side, those of
// the next block behind them.
static size_t value_scale_at(const page_shape *s, size_t g, size_t i)
{
    return g * s->head_bytes + s->value_scales + i * s->form->scales * sizeof(uint16_t);
}

// The pair of the group of slot i for channel d of a key; those of all channels lie side by side.
static size_t group_scale_at(const page_shape *s, size_t g, size_t i, size_t d)
{
    const size_t n = i / s->group * padded(s->D) + d;
    return g * s->head_bytes + s->key_scales + n * s->form->scales * sizeof(uint16_t);
}

// Number i of those that a form has written, each so many bytes wide; and back.
static inline uint32_t code_at(size_t width, const page *codes, size_t i)
{
    return width == 4   ? ((const uint32_t *)(const void *)codes)[i]
           : width == 2 ? ((const uint16_t *)(const void *)codes)[i]
                        : codes[i];
}

static void set_code(size_t width, page *codes, size_t i, uint32_t code)
{
    if (width == 4)
        ((uint32_t *)(void *)codes)[i] = code;
    else if (width == 2)
        ((uint16_t *)(void *)codes)[i] = (uint16_t)code;
    else
        codes[i] = (page)code;
}

// The word in which row k of a panel has this lane.
static inline uint32_t *word_at(size_t bits, page *panel, size_t k, size_t lane)
{
    return (uint32_t *)(void *)panel + k / (32 / bits) * LANES + lane;
}

// Stores and takes one number of a panel.
static inline void put_code(size_t bits, page *panel, size_t k, size_t lane, uint32_t code)
{
    uint32_t *word = word_at(bits, panel, k, lane);
    const size_t shift = k % (32 / bits) * bits;
    *word = (*word & ~(UINT32_MAX >> (32 - bits) << shift)) | code << shift;
}

static uint32_t take_code(size_t bits, const page *panel, size_t k, size_t lane)
{
    const uint32_t *words = (const uint32_t *)(const void *)panel;
    return words[k / (32 / bits) * LANES + lane] >> k % (32 / bits) * bits &
           UINT32_MAX >> (32 - bits);
}

// Stores n keys of D numbers, one beside the other, in lanes i.. of a panel, word by word.
static inline __attribute__((always_inline)) void place_keys(const size_t bits, const size_t width,
                                                             size_t D, page *panel, size_t i,
                                                             size_t n, const page *codes)
{
    for (size_t d = 0; d < D; d += 32 / bits)
        for (size_t r = 0; r < n; r++) {
            uint32_t word = 0;
            for (size_t k = 0; k < 32 / bits && d + k < D; k++)
                word |= code_at(width, codes, r * D + d + k) << k * bits;
            *word_at(bits, panel, d, i + r) = word;
        }
}

// Stores n <= 16 numbers in row k of a panel, from lane 0 on.
static inline __attribute__((always_inline)) void
place_row(const size_t bits, const size_t width, page *panel, size_t k, size_t n, const page *codes)
{
    for (size_t j = 0; j < n; j++)
        put_code(bits, panel, k, j, code_at(width, codes, j));
}

// Calls f for the form's bits and width, which are constants there.
#define FOR_WIDTH(s, f, ...)                                                                       \
    switch ((s)->form->bits) {                                                                     \
    case 32:                                                                                       \
        f(32, 4, __VA_ARGS__);                                                                     \
        break;                                                                                     \
    case 16:                                                                                       \
        f(16, 2, __VA_ARGS__);                                                                     \
        break;                                                                                     \
    case 8:                                                                                        \
        f(8, 1, __VA_ARGS__);                                                                      \
        break;                                                                                     \
    case 4:                                                                                        \
        f(4, 1, __VA_ARGS__);                                                                      \
        break;                                                                                     \
    default:                                                                                       \
        f(2, 1, __VA_ARGS__);                                                                      \
    }

// Stores one row of D numbers block by block, with scales at `scale`, `step` bytes apart. Returns
// the index of the first that has no such form, or D.
static size_t write_row(const page_shape *s, const float *from, page *codes, page *scale,
                        size_t step)
{
    const size_t block = s->block ? s->block : s->D;
    for (size_t d = 0, n; d < s->D; d += n, scale += step) {
        n = size_min(s->D - d, block);
        uint16_t *at = s->block ? (uint16_t *)(void *)scale : NULL;
        const size_t written = s->form->write(from + d, n, codes + d * s->form->width, at);
        if (written < n)
            return d + written;
    }
    return s->D;
}

static void read_row(const page_shape *s, const page *codes, const page *scale, size_t step,
                     float *to)
{
    const size_t block = s->block ? s->block : s->D;
    for (size_t d = 0; d < s->D; d += block, scale += step) {
        const uint16_t *at = s->block ? (const uint16_t *)(const void *)scale : NULL;
        s->form->read(codes + d * s->form->width, at, size_min(s->D - d, block), to + d);
    }
}

void page_put_keys(const page_shape *s, page *to, size_t g, size_t i, const void *from, size_t n)
{
    FOR_WIDTH(s, place_keys, s->D, to + keys_at(s, g, i), i % LANES, n, from);
}

void page_put_value(const page_shape *s, page *to, size_t g, size_t i, const void *from)
{
    for (size_t d = 0; d < s->D; d += LANES)
        FOR_WIDTH(s, place_row, to + values_at(s, g, d), i, size_min(s->D - d, LANES),
                  (const page *)from + d * s->form->width);
}

void page_take_key(const page_shape *s, const page *from, size_t g, size_t i, void *to)
{
    for (size_t d = 0; d < s->D; d++)
        set_code(s->form->width, to, d,
                 take_code(s->form->bits, from + keys_at(s, g, i), d, i % LANES));
}

void page_take_value(const page_shape *s, const page *from, size_t g, size_t i, void *to)
{
    for (size_t d = 0; d < s->D; d++)
        set_code(s->form->width, to, d,
                 take_code(s->form->bits, from + values_at(s, g, d), i, d % LANES));
}

page_misfit page_write_keys(const page_shape *s, page *to, size_t g, size_t i, const float *k,
                            size_t stride, size_t n, void *scratch)
{
    page_misfit misfit = {n, s->D};
    for (size_t r = 0; r < n && misfit.row == n; r++) {
        const size_t written =
            write_row(s, k + r * stride, (page *)scratch + r * s->D * s->form->width,
                      to + key_scale_at(s, g, i + r), LANES * sizeof(uint16_t));
        if (written < s->D)
            misfit = (page_misfit){r, written};
    }
    page_put_keys(s, to, g, i, scratch, n);
    return misfit;
}

void page_write_channel(const page_shape *s, page *to, size_t g, size_t i, size_t d,
                        const page *codes, size_t n, const uint16_t *scale)
{
    for (size_t r = 0; r < n; r++)
        put_code(s->form->bits, to + keys_at(s, g, i + r), d, (i + r) % LANES, codes[r]);
    memcpy(to + group_scale_at(s, g, i, d), scale, s->form->scales * sizeof *scale);
}

size_t page_write_value(const page_shape *s, page *to, size_t g, size_t i, const float *v,
                        void *scratch)
{
    const size_t written = write_row(s, v, scratch, to + value_scale_at(s, g, i),
                                     s->P * s->form->scales * sizeof(uint16_t));
    page_put_value(s, to, g, i, scratch);
    return written;
}

void page_read_key(const page_shape *s, const page *from, size_t g, size_t i, float *k,
                   void *scratch)
{
    page_take_key(s, from, g, i, scratch);
    for (size_t d = 0; s->group && d < s->D; d++)
        s->form->read((const page *)scratch + d,
                      (const uint16_t *)(const void *)(from + group_scale_at(s, g, i, d)), 1,
                      k + d);
    if (!s->group)
        read_row(s, scratch, from + key_scale_at(s, g, i), LANES * sizeof(uint16_t), k);
}

void page_read_value(const page_shape *s, const page *from, size_t g, size_t i, float *v,
                     void *scratch)
{
    page_take_value(s, from, g, i, scratch);
    read_row(s, scratch, from + value_scale_at(s, g, i), s->P * s->form->scales * sizeof(uint16_t),
             v);
}

panels page_keys(const page_shape *s, const page *at, size_t g, size_t from, size_t to)
{
    panels b = {.at = at + keys_at(s, g, from), .count = (to - from) / LANES, .of = s->form->of};
    const size_t scale = s->group ? group_scale_at(s, g, from, 0) : key_scale_at(s, g, from);
    b.stride = panel_bytes(s, s->D) / sizeof(uint32_t) * rows_of_word(s);
    b.scales.at = (const uint16_t *)(const void *)(at + scale);
    b.scales.by_row = s->group;
    b.scales.before = s->group ? from % s->group : 0;
    b.scales.block = s->block;
    b.scales.stride = s->group ? padded(s->D) * s->form->scales : blocks(s) * LANES;
    return b;
}

panels page_values(const page_shape *s, const page *at, size_t g, size_t from)
{
    panels b = {.at = at + values_at(s, g, 0), .count = panels_for(s->D), .of = s->form->of};
    b.stride = LANES * s->P;
    b.first = from;
    b.scales.at = (const uint16_t *)(const void *)(at + value_scale_at(s, g, 0));
    b.scales.by_row = true;
    b.scales.block = s->block;
    b.scales.stride = s->P * s->form->scales;
    return b;
}
