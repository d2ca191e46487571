// A page: P consecutive positions of one layer, all K/V heads. Per head first its keys, packed as
// panels over time (a lane is a position), then its values, packed as panels over the head's
// channels, so that the kernel reads both as they lie.
#ifndef LOCKSTEP_KV_PAGE_H
#define LOCKSTEP_KV_PAGE_H

#include <stddef.h>

#include "common/kv/spec.h"
#include "common/math/kernel.h"
#include "common/math/rows.h"
#include "common/model/config.h"
#include "common/number/form.h"

typedef struct page_shape {
    const form *form;
    size_t P, G, D;      // positions, K/V heads, channels of a head
    size_t block;        // channels that share a scale, or 0
    size_t group;        // positions whose keys share one in a channel (kivi), or 0
    size_t key_scales;   // from the beginning of a head to the scales of its keys,
    size_t value_bytes;  // to its values,
    size_t value_scales; // and to theirs
    size_t head_bytes;   // from one head to the next
    size_t bytes;        // of the page
} page_shape;

typedef unsigned char page; // (bytes), aligned to a cache line

page_shape page_shape_of(const kv_spec *spec, const config *c);

// Stores n keys, k (n, D), rows `stride` floats apart, at slots i.. of head g, all of one panel. A
// number that the form cannot hold ends the row it is in: its row and channel, n and D if there is
// none. `scratch` has room for (16, D) numbers.
typedef struct page_misfit {
    size_t row, channel;
} page_misfit;
page_misfit page_write_keys(const page_shape *s, page *to, size_t g, size_t i, const float *k,
                            size_t stride, size_t n, void *scratch);

// Stores n numbers of channel d of the keys at slots i.., as a form has written them, and their
// group's scale.
void page_write_channel(const page_shape *s, page *to, size_t g, size_t i, size_t d,
                        const page *codes, size_t n, const uint16_t *scale);

// Stores one value, (D), at slot i of head g. Returns the channel of the first number that the form
// cannot hold, or D. `scratch` has room for D numbers.
size_t page_write_value(const page_shape *s, page *to, size_t g, size_t i, const float *v,
                        void *scratch);

// Reads it as a row of attention does.
void page_read_key(const page_shape *s, const page *from, size_t g, size_t i, float *k,
                   void *scratch);
void page_read_value(const page_shape *s, const page *from, size_t g, size_t i, float *v,
                     void *scratch);

// The same as stored, without scales: D numbers of the form's width, one beside the other. In, n
// keys of one panel or one value; and out.
void page_put_keys(const page_shape *s, page *to, size_t g, size_t i, const void *from, size_t n);
void page_put_value(const page_shape *s, page *to, size_t g, size_t i, const void *from);
void page_take_key(const page_shape *s, const page *from, size_t g, size_t i, void *to);
void page_take_value(const page_shape *s, const page *from, size_t g, size_t i, void *to);

// Right-hand sides: the keys of slots [from, to), both multiples of 16, for rows of q (K = D); the
// values from slot `from` on, for rows of p.
panels page_keys(const page_shape *s, const page *at, size_t g, size_t from, size_t to);
panels page_values(const page_shape *s, const page *at, size_t g, size_t from);

#endif
