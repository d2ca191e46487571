// What readers that want a matrix, and not its packing, ask for.
#include "common/model/model.h"
#include "common/number/numeric.h"

size_t linear_blocks(const linear *w)
{
    return (w->K + PANEL_BLOCK - 1) / PANEL_BLOCK;
}

linear linear_from(const linear *w, size_t first)
{
    linear rest = *w;
    rest.panels = (const char *)w->panels +
                  first * panels_depth(w->of, w->K) * sizeof(float) / panels_share(w->of);
    rest.scales = w->scales ? w->scales + first * linear_blocks(w) : NULL;
    rest.bias = w->bias ? w->bias + first : NULL;
    rest.N = w->N - first;
    return rest;
}

size_t linear_bytes(const linear *w, size_t N)
{
    const size_t scales = w->of == ELEMENT_Q8 ? linear_blocks(w) * sizeof *w->scales : 0;
    return N * (w->K * sizeof(float) / panels_share(w->of) + scales);
}

float linear_weight(const linear *w, size_t k, size_t n)
{
    const size_t share = panels_share(w->of), panel = n / LANES,
                 word = (panel * panels_depth(w->of, w->K) + k) / share * LANES + n % LANES,
                 at = word * share + k % share;
    switch (w->of) {
    case ELEMENT_F16:
        return numeric_half(((const uint16_t *)w->panels)[at]);
    case ELEMENT_BF16:
        return (numeric_bits32){.u = (uint32_t)((const uint16_t *)w->panels)[at] << 16}.f;
    case ELEMENT_Q8:
        return (float)((const int8_t *)w->panels)[at] *
               numeric_half(
                   w->scales[(panel * linear_blocks(w) + k / PANEL_BLOCK) * LANES + n % LANES]);
    default:
        return ((const float *)w->panels)[at];
    }
}
