// Prints which positions each row sees, for chapter 15: SPEC, LAYER, HEAD, and then token ids.
#include <stdio.h>
#include <stdlib.h>

#include "kvcache/kvcache.h"

typedef struct place {
    int layer, head;
} place;

static void print_row(void *user, stage s, int l, int head, size_t t, const float *values, size_t n)
{
    const place *of = user;
    if (s != STAGE_SEES || l != of->layer || head != of->head)
        return;
    printf("%4zu  ", t);
    for (size_t j = 0, i = 0; j <= t; j++)
        i += putchar(i < n && values[i] == (float)j ? '#' : '.') == '#';
    putchar('\n');
}

// The whole text in one step.
static status show(const char *spec, place of, const int *ids, size_t T)
{
    model *m;
    decoder *d = NULL;
    const float *logits;
    status failed = model_load("common/models/shakespeare", &m);
    if (failed)
        return failed;
    decoder_options o = {.T_max = T};
    failed = kv_parse(spec, &o.kv);
    if (!failed)
        failed = kvcache_decoder.create(m, &o, &d);
    if (!failed) {
        kvcache_decoder.observe(d, print_row, &of);
        failed = kvcache_decoder.step(d, ids, T, 1, &logits);
    }
    kvcache_decoder.destroy(d);
    model_free(m);
    return failed;
}

int main(int argc, char **argv)
{
    int ids[1024];
    const int T = argc - 4;
    if (T < 1 || T > 1024) {
        fprintf(stderr, "kept SPEC LAYER HEAD ID...: 1 to 1024 token ids\n");
        return 2;
    }
    for (int t = 0; t < T; t++)
        ids[t] = atoi(argv[t + 4]);
    status failed = show(argv[1], (place){atoi(argv[2]), atoi(argv[3])}, ids, (size_t)T);
    if (failed)
        fprintf(stderr, "kept: %s\n", failed);
    return failed ? 1 : 0;
}
