// oracle = naive = cached, bit for bit, whatever the model and whatever the cache has lived
// through. Every run draws other models and lives; a failure names the seed that draws its case
// again:
//     LOCKSTEP_SEED=123 build/tests --filter 'properties/*'
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/oracle.h"

enum { CASES = 120, MOVES = 16 };

// One drawn model, its decoders, and the text that they are at.
typedef struct subject {
    uint64_t seed, state; // of the case, and of what is drawn from it (xorshift64*: Vigna 2016)
    char what[256];       // the model and what was done to its weights, for messages
    model *m;
    size_t T; // the longest text
    decoder *naive, *cached;
    int *ids;        // (T)
    float *expected; // (V)
    size_t observed; // calls that an observer had
} subject;

static size_t below(subject *s, size_t n)
{
    s->state ^= s->state >> 12;
    s->state ^= s->state << 25;
    s->state ^= s->state >> 27;
    return (size_t)((s->state * 2685821657736338717u) >> 33) % n;
}

static size_t between(subject *s, size_t least, size_t most)
{
    return least + below(s, most - least + 1);
}

#define expect(s, condition, format, ...)                                                          \
    cr_assert(condition, "LOCKSTEP_SEED=%" PRIu64 ", %s: " format, (s)->seed, (s)->what,           \
              __VA_ARGS__)

// Numbers of any magnitude, down to subnormal products and up to sums that overflow; zeros of
// either sign. They stay finite, as the loader asks, but what is computed from them need not.
static void spoil_weights(subject *s)
{
    static const struct {
        int least, most; // power of two
    } ranges[] = {{0, 0}, {-10, 10}, {-40, 20}, {-149, -60}, {-149, 126}, {20, 100}};
    const size_t range = below(s, sizeof ranges / sizeof *ranges),
                 every = (size_t)1 << between(s, 0, 10);
    const int least = ranges[range].least, most = ranges[range].most;
    const bool zeros = below(s, 3) == 0;
    for (size_t i = 0; i < s->m->block_bytes / sizeof(float); i++) {
        float *x = &s->m->block[i];
        if (*x == 0 || below(s, every) != 0) // padding lanes stay as they are
            continue;
        *x = ldexpf(*x, least + (int)below(s, (size_t)(most - least + 1)));
        if (zeros && below(s, 4) == 0)
            *x = copysignf(0, *x);
        expect(s, isfinite(*x), "weight %zu is %a", i, (double)*x);
    }
    snprintf(s->what + strlen(s->what), 80, ", one weight in %zu by 2^%d to 2^%d%s", every, least,
             most, zeros ? ", some zeros" : "");
}

static void draw_model(subject *s)
{
    // One at a time: a compiler may evaluate arguments in any order, but a seed means one model.
    const size_t D = below(s, 8) ? between(s, 1, 24) : between(s, 25, 90),
                 H = between(s, 1, D < 25 ? 5 : 2);
    const size_t L = between(s, 1, 3), F = between(s, 1, 3 * D * H), V = between(s, 1, 90),
                 T = between(s, 1, 80);
    snprintf(s->what, sizeof s->what, "synthetic:L=%zu,C=%zu,H=%zu,F=%zu,V=%zu,T=%zu,seed=%zu", L,
             D * H, H, F, V, T, below(s, 1000000));
    status failed = model_load(s->what, &s->m);
    expect(s, !failed, "%s", failed);
    spoil_weights(s);
}

static void begin(subject *s, uint64_t seed)
{
    *s = (subject){.seed = seed, .state = seed * 0x9E3779B97F4A7C15u | 1};
    draw_model(s);
    s->T = between(s, 1, s->m->config.T);
    s->ids = memory_array(s->T + 1, sizeof *s->ids);
    s->expected = memory_array(s->m->config.V, sizeof *s->expected);
    for (size_t t = 0; t < s->T; t++)
        s->ids[t] = (int)below(s, s->m->config.V);
    status failed = naive_decoder.create(s->m, &(decoder_options){.T_max = s->T}, &s->naive);
    expect(s, !failed, "%s", failed);
    failed = kvcache_decoder.create(s->m, &(decoder_options){.T_max = s->T}, &s->cached);
    expect(s, !failed, "%s", failed);
}

static void end(subject *s)
{
    naive_decoder.destroy(s->naive);
    kvcache_decoder.destroy(s->cached);
    memory_free(s->ids);
    memory_free(s->expected);
    model_free(s->m);
}

// IEEE-754 leaves a NaN's sign and payload open, so the oracle's may be another one. The two
// decoders run the same code: theirs are the same to the last bit, as verify expects.
static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

// Rows that the cached decoder holds in a layer.
static size_t held(const subject *s, size_t l)
{
    size_t n = 0;
    for (size_t t = 0; t < s->T; t++)
        n += kvcache_decoder.holds(s->cached, l, 0, t);
    return n;
}

static void check_step(subject *s, size_t t)
{
    const float *naive, *cached;
    status failed = naive_decoder.step(s->naive, s->ids, t, 1, &naive);
    expect(s, !failed, "%s", failed);
    failed = kvcache_decoder.step(s->cached, s->ids, t, 1, &cached);
    expect(s, !failed, "%s", failed);
    oracle_logits(s->m, &(kv_spec){0}, s->ids, t, 1, s->expected);
    for (size_t v = 0; v < s->m->config.V; v++) {
        expect(s, same(naive[v], s->expected[v]), "%zu tokens, logit %zu: naive %a, oracle %a", t,
               v, (double)naive[v], (double)s->expected[v]);
        expect(s, memcmp(naive + v, cached + v, sizeof *naive) == 0,
               "%zu tokens, logit %zu: naive %a, cached %a", t, v, (double)naive[v],
               (double)cached[v]);
    }
    for (size_t l = 0; l < s->m->config.L; l++)
        expect(s, held(s, l) == t, "layer %zu holds %zu rows of %zu", l, held(s, l), t);
}

static void check_refusal(subject *s, size_t t)
{
    const float *logits;
    const size_t at = below(s, t), before = held(s, 0);
    const int id = s->ids[at];
    s->ids[at] = below(s, 2) ? -1 : (int)s->m->config.V;
    expect(s, kvcache_decoder.step(s->cached, s->ids, t, 1, &logits),
           "%zu tokens with id %d accepted", t, s->ids[at]);
    s->ids[at] = id;
    expect(s, kvcache_decoder.step(s->cached, s->ids, s->T + 1, 1, &logits), "%zu tokens accepted",
           s->T + 1);
    expect(s, held(s, 0) == before, "a refused step leaves %zu rows of %zu", held(s, 0), before);
}

static void watch(void *user, stage which, int l, int head, size_t t, const float *values, size_t n)
{
    subject *s = user;
    (void)which, (void)l, (void)head, (void)t, (void)values, (void)n;
    s->observed++;
}

// On by a chunk of any size, back, or to anywhere; the text edited, the cache reset, observed, or
// asked for the impossible in between.
static void make_move(subject *s, size_t *t)
{
    const size_t chunk = between(s, 1, 20);
    *t = below(s, 3) == 0     ? between(s, 1, s->T)
         : *t + chunk <= s->T ? *t + chunk
                              : between(s, 1, s->T);
    if (below(s, 3) == 0)
        s->ids[below(s, s->T)] = (int)below(s, s->m->config.V);
    if (below(s, 8) == 0)
        kvcache_decoder.reset(s->cached);
    if (below(s, 4) == 0)
        kvcache_decoder.observe(s->cached, below(s, 2) ? watch : NULL, s);
    if (below(s, 8) == 0)
        check_refusal(s, *t);
    check_step(s, *t);
}

static void check_case(uint64_t seed, size_t *not_finite)
{
    subject s;
    size_t t = 0;
    begin(&s, seed);
    for (int i = 0; i < MOVES; i++)
        make_move(&s, &t);
    *not_finite += isfinite(s.expected[0]) ? 0 : 1;
    end(&s);
}

Test(properties, oracle_naive_and_cached_agree_in_every_life)
{
    const char *replay = getenv("LOCKSTEP_SEED");
    const uint64_t first = replay ? strtoull(replay, NULL, 10) : clock_ns();
    size_t not_finite = 0;
    for (uint64_t i = 0; i < (replay ? 1 : CASES); i++)
        check_case(first + i, &not_finite);
    cr_log_info("%zu cases ended in logits that are not finite", not_finite);
    cr_assert(replay || (not_finite > 0 && not_finite < CASES), "%zu cases of %d are not finite",
              not_finite, CASES);
}
