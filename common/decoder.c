// What every decoder asks of the tokens it is given, and of memory.
#include "common/decoder.h"

#include "common/base/size.h"
#include "common/kv/kv.h"
#include "common/math/activations.h"

status decoder_check(const model *m, size_t T_max, const int *tokens, size_t T, size_t wanted)
{
    if (T == 0)
        return status_fail("a step needs at least one token");
    if (T > T_max)
        return status_fail("%zu tokens are more than the %zu this decoder was made for: create it "
                           "with a larger T_max",
                           T, T_max);
    if (T > m->config.T)
        return status_fail("%zu tokens are more than the %zu positions of this model: use fewer", T,
                           m->config.T);
    if (wanted == 0 || wanted > T)
        return status_fail("logits of %zu rows are wanted, but the step has %zu: ask for 1 to %zu",
                           wanted, T, T);
    const size_t ids = m->config.V + m->given_rows;
    for (size_t t = 0; t < T; t++)
        if (tokens[t] < 0 || (size_t)tokens[t] >= ids)
            return status_fail("token id %d at position %zu is outside 0..%zu: use ids of this "
                               "model's vocabulary",
                               tokens[t], t, m->config.V - 1);
    return NULL;
}

size_t decoder_memory(const config *c, size_t layers, const kv_spec *spec, size_t T_max,
                      size_t wanted)
{
    const size_t more = wanted > 1 ? size_times(wanted, size_times(c->V, sizeof(float))) : 0;
    return size_plus(size_plus(activations_bytes(c, T_max), kv_memory(c, layers, spec, T_max)),
                     more);
}
