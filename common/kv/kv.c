// Where a key's and a value's numbers lie.
#include "common/kv/kv.h"

#include <string.h>

#include "common/base/memory.h"

static size_t keys_per_head(const kv *kept)
{
    return padded(kept->T) * kept->D;
}

static size_t values_per_head(const kv *kept)
{
    return padded(kept->T) * padded(kept->D);
}

static float *key(const kv *kept, size_t l, size_t head, size_t t)
{
    return kept->k + (l * kept->H + head) * keys_per_head(kept) + t / LANES * LANES * kept->D +
           t % LANES;
}

static float *value(const kv *kept, size_t l, size_t head, size_t t)
{
    return kept->v + (l * kept->H + head) * values_per_head(kept) + t * LANES;
}

// From one channel of a key to the next, and from the channels [0, 16) of a value to the next 16.
enum { KEY_STRIDE = LANES };
static size_t value_stride(const kv *kept)
{
    return padded(kept->T) * LANES;
}

status kv_create(const config *c, size_t layers, size_t T, kv *out)
{
    kv kept = {.layers = layers, .H = c->H, .D = config_head_size(c), .T = T};
    kept.k = memory_block(layers * kept.H * keys_per_head(&kept) * sizeof(float));
    kept.v = memory_block(layers * kept.H * values_per_head(&kept) * sizeof(float));
    *out = kept;
    if (kept.k && kept.v)
        return NULL;
    kv_free(out);
    return memory_failed("keys and values");
}

void kv_free(kv *kept)
{
    memory_free(kept->k);
    memory_free(kept->v);
    *kept = (kv){0};
}

// Rows [r, r + n) of one head, all in one panel: a panel's row is written at once.
static void store_keys(float *panel, size_t D, const rows *k, size_t r, size_t n)
{
    for (size_t d = 0; d < D; d++)
        for (size_t i = 0; i < n; i++)
            panel[d * KEY_STRIDE + i] = row(k, r + i)[d];
}

static void store_value(const kv *kept, float *to, const float *from)
{
    for (size_t d = 0; d < kept->D; d += LANES, to += value_stride(kept))
        memcpy(to, from + d, (kept->D - d < LANES ? kept->D - d : LANES) * sizeof *to);
}

void kv_store(kv *kept, size_t l, size_t first, const rows *k, const rows *v, size_t n)
{
    for (size_t r = 0, some; r < n; r += some) {
        some = LANES - (first + r) % LANES; // up to the end of this panel
        some = some < n - r ? some : n - r;
        for (size_t head = 0; head < kept->H; head++) {
            const rows of_k = rows_columns(k, head * kept->D, kept->D),
                       of_v = rows_columns(v, head * kept->D, kept->D);
            store_keys(key(kept, l, head, first + r), kept->D, &of_k, r, some);
            for (size_t i = r; i < r + some; i++)
                store_value(kept, value(kept, l, head, first + i), row(&of_v, i));
        }
    }
}

panels kv_keys(const kv *kept, size_t l, size_t head, size_t T)
{
    return (panels){key(kept, l, head, 0), LANES * kept->D, panels_for(T)};
}

panels kv_values(const kv *kept, size_t l, size_t head)
{
    return (panels){value(kept, l, head, 0), value_stride(kept), panels_for(kept->D)};
}

void kv_read(const kv *kept, size_t l, size_t head, size_t t, float *k, float *v)
{
    const float *from_k = key(kept, l, head, t), *from_v = value(kept, l, head, t);
    for (size_t d = 0; d < kept->D; d++) {
        k[d] = from_k[d * KEY_STRIDE];
        v[d] = from_v[d / LANES * value_stride(kept) + d % LANES];
    }
}
