// A model with decoders on it, each step of which is held against naive's.
#include "tests/support/life.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/support.h"

size_t life_below(life *x, size_t n)
{
    x->state ^= x->state >> 12;
    x->state ^= x->state << 25;
    x->state ^= x->state >> 27;
    return (size_t)((x->state * 2685821657736338717u) >> 33) % n;
}

size_t life_move(life *x, life_walk *at, size_t back)
{
    static const size_t chunks[] = {1, 2, 6, 7, 16, 100};
    const size_t who = life_below(x, 2), chunk = chunks[life_below(x, 6)], way = life_below(x, 6);
    size_t *T = &at->T[who];
    *T = way == 0   ? 1 + life_below(x, LIFE_LONGEST)
         : way == 1 ? *T - life_below(x, size_min(*T, back + 1))
                    : size_min(*T + chunk, LIFE_LONGEST);
    if (life_below(x, 4) == 0)
        at->text[who] = life_below(x, LIFE_TEXTS);
    return who;
}

static void write_texts(life *x)
{
    static const size_t common[LIFE_TEXTS] = {0, 20, 70, 140};
    const int V = (int)x->m->config.V;
    for (size_t i = 0; i < LIFE_TEXTS; i++) {
        for (size_t t = 0; t < LIFE_LONGEST; t++)
            x->texts[i][t] = t < common[i] ? x->texts[0][t] : (int)life_below(x, x->m->config.V);
        if (i > 0)
            x->texts[i][common[i]] = (x->texts[0][common[i]] + 1) % V;
    }
}

decoder *life_make(const decoder_api *api, const life *x)
{
    decoder *d;
    status s = api->create(x->m, &x->o, &d);
    cr_assert_null(s, "%s: %s", x->what, s);
    return d;
}

life *life_begin(const char *spec, size_t positions, bool pooled)
{
    life *x = memory_array(1, sizeof *x);
    snprintf(x->what, sizeof x->what, "%s, pages of %zu%s", spec, positions,
             pooled ? ", a pool" : "");
    x->state = 88172645463325252u;
    cr_assert_null(model_load("synthetic:L=3,C=48,H=4,G=2,T=230,V=13,F=20", &x->m));
    x->o = (decoder_options){.T_max = LIFE_LONGEST};
    cr_assert_null(kv_parse(spec, &x->o.kv));
    x->o.kv.page = positions;
    write_texts(x);
    x->naive = life_make(&naive_decoder, x);
    pool_create(&x->pool, &x->o.kv, &x->m->config);
    x->o.pool = pooled ? &x->pool.api : NULL;
    x->o.space = "";
    for (size_t i = 0; i < 2; i++)
        x->cached[i] = life_make(&kvcache_decoder, x);
    return x;
}

void life_end(life *x)
{
    naive_decoder.destroy(x->naive);
    for (size_t i = 0; i < 2; i++)
        kvcache_decoder.destroy(x->cached[i]);
    cr_assert_eq(pool_references(&x->pool), 0, "%s: %zu references are left", x->what,
                 pool_references(&x->pool));
    pool_destroy(&x->pool);
    model_free(x->m);
    memory_free(x);
}

void life_check(life *x, size_t who, const int *ids, size_t T, size_t wanted)
{
    const float *expected, *got;
    status s = naive_decoder.step(x->naive, ids, T, wanted, &expected);
    cr_assert_null(s, "%s: %s", x->what, s);
    x->last[who] = ids;
    s = kvcache_decoder.step(x->cached[who], ids, T, wanted, &got);
    cr_assert_null(s, "%s: %s", x->what, s);
    const size_t V = x->m->config.V;
    for (size_t i = 0; i < wanted * V; i++)
        cr_assert_eq(memcmp(got + i, expected + i, sizeof *got), 0,
                     "%s: %zu tokens, row %zu, logit %zu: %a, not %a", x->what, T,
                     T - wanted + i / V, i % V, (double)got[i], (double)expected[i]);
}

// What head 1 of each layer sees in one row.
typedef struct sight {
    size_t t;
    bool sees[3][LIFE_LONGEST];
} sight;

static void note_sees(void *user, stage s, int l, int head, size_t t, const float *values, size_t n)
{
    sight *of = user;
    for (size_t i = 0; s == STAGE_SEES && head == 1 && t == of->t && i < n; i++)
        of->sees[l][(size_t)values[i]] = true;
}

// What naive sees in row T of the text.
static void look(life *x, const int *ids, sight *of)
{
    const float *logits;
    naive_decoder.observe(x->naive, note_sees, of);
    status s = naive_decoder.step(x->naive, ids, of->t + 1, 1, &logits);
    naive_decoder.observe(x->naive, NULL, NULL);
    cr_assert_null(s, "%s: %s", x->what, s);
}

// What the decoder says it holds is what row T sees, and it reads; what it does not hold, it
// refuses.
void life_check_held(life *x, size_t who, size_t T)
{
    const decoder *d = x->cached[who];
    const kv_spec *spec = &x->o.kv;
    const bool heavy = spec->keep == KV_HEAVY;
    float k[12], v[12];
    sight of = {.t = T};
    if (heavy && T == LIFE_LONGEST)
        return;
    if (heavy)
        look(x, x->last[who], &of);
    for (size_t l = 0; l < 3; l++)
        for (size_t t = 0; t < LIFE_LONGEST; t++) {
            const bool seen =
                t < T && (heavy ? of.sees[l][t]
                                : spec->keep == KV_ALL || t + spec->recent > T || t < spec->sinks);
            cr_assert_eq(kvcache_decoder.holds(d, l, 1, t), seen, "%s: %zu tokens, %zu held: %d",
                         x->what, T, t, !seen);
            status s = kvcache_decoder.read_kv(d, l, 1, t, k, v);
            cr_assert_eq(s == NULL, seen, "%s", s);
            for (size_t i = 0; seen && i < 12; i++)
                cr_assert(k[i] == k[i] && v[i] == v[i], "%s: position %zu is NaN", x->what, t);
            if (s)
                support_assert_refused(s, "is not held");
        }
}

static void count_rows(void *user, stage s, int l, int head, size_t t, const float *values,
                       size_t n)
{
    (void)l, (void)head, (void)t, (void)values, (void)n;
    *(size_t *)user += s == STAGE_EMBED;
}

// A checked step, and how many rows it computed.
size_t life_rows_of_step(life *x, size_t who, const int *ids, size_t T, size_t wanted)
{
    size_t count = 0;
    kvcache_decoder.observe(x->cached[who], count_rows, &count);
    life_check(x, who, ids, T, wanted);
    kvcache_decoder.observe(x->cached[who], NULL, NULL);
    return count;
}
