// What is counted from the rows that decoders compute equals the formulas, for every shape; and the
// profile's books are balanced.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/cost/cost.h"
#include "bench/cost/count.h"
#include "bench/cost/profile.h"
#include "bench/measure/passes.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/kv/kv.h"
#include "common/math/kernel.h"
#include "common/math/rowops.h"
#include "common/math/softmax.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/subjects.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=2,C=40,H=2,T=40,V=17,F=24"
enum { FLOAT = sizeof(float), LONGEST = 40 };

static const char *const SHAPES[] = {
    "synthetic:L=2,C=64,H=2,T=40,V=50",
    "synthetic:L=1,C=20,H=1,T=40,V=33,F=44",
    "synthetic:L=3,C=40,H=2,T=40,V=17,F=24",
    "synthetic:L=2,C=160,H=2,T=40,V=100,seed=3",
    "synthetic:L=2,C=96,H=3,T=40,V=64,F=80,seed=9",
    "synthetic:L=1,C=1,H=1,T=40,V=3,F=1",
    "synthetic:L=2,C=36,H=6,T=40,V=16",
    "synthetic:L=2,C=36,H=6,G=2,T=40,V=16",
    "synthetic:L=1,C=80,H=4,G=1,T=40,V=20",
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };

static model *load(const char *name)
{
    model *m = NULL;
    status s = model_load(name, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

// What one call of step over T tokens is, after one over `first` of them; naive computes them
// again.
static count counted(const decoder_api *api, const model *m, const kv_spec *spec, size_t first,
                     size_t T)
{
    int ids[LONGEST];
    for (size_t i = 0; i < T; i++)
        ids[i] = fixed_token(i, m->config.V);
    const float *logits;
    decoder *d = NULL;
    count c = count_begin(m, spec);
    cr_assert_null(api->create(m, &(decoder_options){.T_max = T, .kv = *spec}, &d));
    cr_assert(first == 0 || !api->step(d, ids, first, 1, &logits));
    api->observe(d, count_row, &c);
    cr_assert_null(api->step(d, ids, T, 1, &logits));
    api->destroy(d);
    return c;
}

// The formulas of one stage, each written out: rows first..T-1 of R in all, `pairs` of a row and
// one of its keys.
static work formula(const config *c, stage s, size_t first, size_t T)
{
    const size_t L = c->L, C = c->C, H = c->H, F = c->F, V = c->V, R = T - first,
                 W = config_kv_width(c);
    const size_t pairs = (T * (T + 1) - first * (first + 1)) / 2;
    const work scaled = {.values = R * C * L, .weight_bytes = 2 * C * L * FLOAT};
    const work square = {R * C * L, R * C * C * L, 0, (C * C + C) * L * FLOAT, 0, 0};
    const work shared = {R * W * L, R * C * W * L, 0, (C * W + W) * L * FLOAT, 0, 0};
    const work stored = {.values = R * W * L, .kv_written_bytes = R * W * L * FLOAT};
    const work all[STAGES] = {
        [STAGE_EMBED] = {.values = R * C, .weight_bytes = 2 * R * C * FLOAT},
        [STAGE_LN1] = scaled,
        [STAGE_Q] = square,
        [STAGE_K] = shared,
        [STAGE_V] = shared,
        [STAGE_STORED_K] = stored,
        [STAGE_STORED_V] = stored,
        [STAGE_SCORES] = {pairs * H * L, pairs * C * L, 0, 0, T * W * L * FLOAT, 0},
        [STAGE_SOFTMAX] = {.values = pairs * H * L, .exps = pairs * H * L},
        [STAGE_ATTEND] = {R * C * L, pairs * C * L, 0, 0, T * W * L * FLOAT, 0},
        [STAGE_PROJ] = square,
        [STAGE_LN2] = scaled,
        [STAGE_FC] = {R * F * L, R * C * F * L, 0, (C * F + F) * L * FLOAT, 0, 0},
        [STAGE_GELU] = {.values = R * F * L, .exps = R * F * L},
        [STAGE_FCPROJ] = {R * C * L, R * F * C * L, 0, (F * C + C) * L * FLOAT, 0, 0},
        [STAGE_LNF] = {.values = C, .weight_bytes = 2 * C * FLOAT},
        [STAGE_LOGITS] = {V, V * C, 0, V * C * FLOAT, 0, 0},
    };
    return all[s];
}

static void assert_equals(uint64_t got, uint64_t expected, const char *what, const char *where,
                          const count *c, size_t first, size_t T)
{
    cr_assert_eq(got, expected, "%s, rows %zu to %zu, %s: %s are %llu, not %llu", model_label(c->m),
                 first, T - 1, where, what, (unsigned long long)got, (unsigned long long)expected);
}

static void assert_stages(const count *c, size_t first, size_t T)
{
    for (stage s = 0; s < STAGES; s++) {
        const work expected = formula(&c->m->config, s, first, T), *got = &c->of[s];
        const char *name = stage_name(s);
        assert_equals(got->values, expected.values, "values", name, c, first, T);
        assert_equals(got->multiply_adds, expected.multiply_adds, "multiply-adds", name, c, first,
                      T);
        assert_equals(got->exps, expected.exps, "exps", name, c, first, T);
        assert_equals(got->weight_bytes, expected.weight_bytes, "bytes of weights", name, c, first,
                      T);
        assert_equals(got->kv_read_bytes, expected.kv_read_bytes, "bytes read", name, c, first, T);
        assert_equals(got->kv_written_bytes, expected.kv_written_bytes, "bytes written", name, c,
                      first, T);
    }
}

static void assert_sums(const count *c, size_t first, size_t T)
{
    const config *of = &c->m->config;
    const work all = count_sum(c, COUNT_EVERYTHING);
    cr_assert_eq((double)count_sum(c, COUNT_LINEAR).multiply_adds, cost_linear(of, first, T));
    cr_assert_eq((double)count_sum(c, COUNT_ATTENTION).multiply_adds,
                 cost_attention(of, NULL, first, T));
    cr_assert_eq((double)all.multiply_adds, cost_multiply_adds(of, NULL, first, T));
    cr_assert_eq((double)all.exps, cost_exps(of, NULL, first, T));
    cr_assert_eq((double)all.weight_bytes, cost_weight_bytes(of, first, T));
    cr_assert_eq(all.kv_read_bytes, cost_kv_bytes(of, T));
    cr_assert_eq(all.kv_written_bytes, cost_kv_bytes(of, T - first));
    cr_assert_eq(count_bytes(&all), all.weight_bytes + all.kv_read_bytes + all.kv_written_bytes);
}

// Multiply-adds with padding, by walking over tiles as attention does.
static size_t lanes_by_hand(const config *c, size_t first, size_t T)
{
    const size_t R = T - first, D = config_head_size(c);
    size_t each = R * (padded(c->C + 2 * config_kv_width(c)) * c->C + padded(c->C) * c->C +
                       padded(c->F) * c->C + padded(c->C) * c->F);
    for (size_t from = 0; from < R; from += TILE_ROWS)
        for (size_t r = from, end = from + TILE_ROWS < R ? from + TILE_ROWS : R; r < end; r++)
            each += c->H * (padded(first + end) * D + padded(D) * (first + r + 1));
    return each * c->L + padded(c->V) * c->C;
}

static void check_pass(const decoder_api *api, const model *m, size_t first, size_t T)
{
    const count c = counted(api, m, &(kv_spec){0}, first, T);
    const size_t computed = api == &naive_decoder ? 0 : first;
    assert_stages(&c, computed, T);
    assert_sums(&c, computed, T);
    assert_equals(c.lanes, lanes_by_hand(&m->config, computed, T), "lanes", "all", &c, computed, T);
}

// Of matrices whose K is a multiple of 32, `bytes` a number in place of 4.
static void check_width(const char *name, model_weights weights, double bytes)
{
    model *m = NULL;
    cr_assert_null(model_load_as(name, weights, &m));
    const config *c = &m->config;
    for (size_t first = 0; first < 30; first += 29) {
        const count of = counted(&kvcache_decoder, m, &(kv_spec){0}, first, 30);
        const double numbers = cost_layer_row(c) * (double)c->L + (double)(c->V * c->C) +
                               (double)((30 - first) * c->C);
        cr_assert_eq((double)count_sum(&of, COUNT_EVERYTHING).weight_bytes,
                     cost_weight_bytes(c, first, 30) - numbers * (FLOAT - bytes), "%s", name);
    }
    model_free(m);
}

Test(count, weights_have_the_bytes_of_their_width)
{
    check_width("synthetic:L=2,C=64,H=2,T=40,V=50", MODEL_AS_STORED, 4);
    check_width("synthetic:L=2,C=64,H=2,T=40,V=50,dtype=bf16", MODEL_AS_STORED, 2);
    check_width("synthetic:L=1,C=96,H=3,G=1,T=40,V=50,dtype=f16", MODEL_AS_STORED, 2);
    check_width("synthetic:L=1,C=96,H=3,G=1,T=40,V=50,dtype=f16", MODEL_Q8, 34.0 / 32);
    check_width("synthetic:L=2,C=64,H=2,T=40,V=50", MODEL_Q8, 34.0 / 32);
}

static void check_model(const model *m)
{
    for (size_t T = 1; T <= LONGEST; T += T < 20 ? 1 : 5) {
        check_pass(&naive_decoder, m, 0, T);
        check_pass(&kvcache_decoder, m, 0, T); // a prefill
        if (T > 1)
            check_pass(&naive_decoder, m, T - 1, T),
                check_pass(&kvcache_decoder, m, T - 1, T); // a step
        if (T > 7)
            check_pass(&kvcache_decoder, m, T - 7, T); // a chunk
    }
}

TestSuite(count, .timeout = 120);

// Where rows see less, the formulas go by what the spec lets them see.
Test(count, equals_the_formulas_under_a_spec)
{
    const kv_spec specs[] = {{.keep = KV_WINDOW, .recent = 8, .sinks = 3},
                             {.keep = KV_WINDOW, .recent = 20},
                             {.form = KV_F16}};
    model *m = load(TINY);
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (size_t T = 2; T <= LONGEST; T += 3) {
            const size_t first[] = {0, T - 1};
            for (size_t k = 0; k < 2; k++) {
                const count c = counted(&kvcache_decoder, m, &specs[i], first[k], T);
                const work all = count_sum(&c, COUNT_EVERYTHING);
                cr_assert_eq((double)all.multiply_adds,
                             cost_multiply_adds(&m->config, &specs[i], first[k], T));
                cr_assert_eq((double)all.exps, cost_exps(&m->config, &specs[i], first[k], T));
            }
        }
    model_free(m);
}

Test(count, equals_the_formulas_for_every_shape)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        model *m = load(SHAPES[i]);
        check_model(m);
        model_free(m);
    }
}

Test(count, equals_the_formulas_without_tied_weights)
{
    const config c = {.L = 2, .C = 24, .H = 3, .F = 40, .V = 300, .T = LONGEST, .eps = 1e-5f};
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    support_model *files = support_model_make(c, "F32", "");
    support_model_add(files, "lm_head.weight", "F32", 2, (size_t[]){c.V, c.C});
    support_model_write(files, dir);
    model *m = load(dir);
    cr_assert_neq(m->head.panels, m->wte.panels);
    check_model(m);
    model_free(m);
    support_model_free(files);
    support_remove_dir(dir);
}

// O(t^2 L) and O(t L), without a stopwatch: exact for every t.
Test(count, attention_is_quadratic_without_a_cache_and_linear_with_one)
{
    model *m = load(TINY);
    const size_t C = m->config.C, H = m->config.H, L = m->config.L;
    work naive[LONGEST + 1] = {0}, cached[LONGEST + 1] = {0};
    for (size_t T = 2; T <= LONGEST; T++) {
        const count n = counted(&naive_decoder, m, &(kv_spec){0}, 0, T),
                    k = counted(&kvcache_decoder, m, &(kv_spec){0}, T - 1, T);
        naive[T] = count_sum(&n, COUNT_ATTENTION);
        cached[T] = count_sum(&k, COUNT_ATTENTION);
    }
    for (size_t T = 4; T <= LONGEST; T++) {
        const work *n = &naive[T], *k = &cached[T];
        cr_assert_eq(n[0].multiply_adds - 2 * n[-1].multiply_adds + n[-2].multiply_adds, 2 * C * L,
                     "T %zu", T);
        cr_assert_eq(n[0].exps - 2 * n[-1].exps + n[-2].exps, H * L, "T %zu", T);
        cr_assert_eq(k[0].multiply_adds - k[-1].multiply_adds, 2 * C * L, "T %zu", T);
        cr_assert_eq(k[0].exps - k[-1].exps, H * L, "T %zu", T);
        cr_assert_eq(k[0].kv_read_bytes - k[-1].kv_read_bytes, 2 * C * L * FLOAT, "T %zu", T);
    }
    model_free(m);
}

Test(count, layers_are_proportional)
{
    enum { MOST = 4 };
    work attention[2][MOST + 1], linear_layers[2][MOST + 1];
    for (size_t L = 1; L <= MOST; L++) {
        char name[64];
        snprintf(name, sizeof name, "synthetic:L=%zu,C=36,H=6,T=40,V=16", L);
        model *m = load(name);
        for (int cached = 0; cached < 2; cached++) {
            const count c =
                counted(cached ? &kvcache_decoder : &naive_decoder, m, &(kv_spec){0}, 29, 30);
            attention[cached][L] = count_sum(&c, COUNT_ATTENTION);
            linear_layers[cached][L] = count_sum(&c, COUNT_LINEAR);
            cr_assert_eq(attention[cached][L].multiply_adds,
                         L * attention[cached][1].multiply_adds);
            cr_assert_eq(attention[cached][L].exps, L * attention[cached][1].exps);
            cr_assert_eq(attention[cached][L].kv_read_bytes,
                         L * attention[cached][1].kv_read_bytes);
            cr_assert_eq(linear_layers[cached][L].multiply_adds,
                         L * linear_layers[cached][1].multiply_adds);
            cr_assert_eq(linear_layers[cached][L].weight_bytes,
                         L * linear_layers[cached][1].weight_bytes);
        }
        model_free(m);
    }
}

// One count over several passes: a prompt in chunks is as much as at once, but for the logits of
// each chunk and the weights, which each chunk fetches.
Test(count, chunks_add_up)
{
    model *m = load(TINY);
    const size_t ends[] = {5, 6, 20, 33};
    int ids[LONGEST];
    for (size_t i = 0; i < LONGEST; i++)
        ids[i] = fixed_token(i, m->config.V);
    decoder *d = NULL;
    cr_assert_null(kvcache_decoder.create(m, &(decoder_options){.T_max = LONGEST}, &d));
    count c = count_begin(m, &(kv_spec){0});
    kvcache_decoder.observe(d, count_row, &c);
    for (size_t i = 0; i < 4; i++) {
        const float *logits;
        cr_assert_null(kvcache_decoder.step(d, ids, ends[i], 1, &logits));
    }
    kvcache_decoder.destroy(d);
    const count whole = counted(&kvcache_decoder, m, &(kv_spec){0}, 0, 33);
    for (stage s = 0; s < STAGES; s++) {
        const bool last = s == STAGE_LNF || s == STAGE_LOGITS;
        cr_assert_eq(c.of[s].multiply_adds, (last ? 4 : 1) * whole.of[s].multiply_adds, "%s",
                     stage_name(s));
        cr_assert_eq(c.of[s].exps, whole.of[s].exps, "%s", stage_name(s));
        cr_assert_eq(c.of[s].kv_written_bytes, whole.of[s].kv_written_bytes, "%s", stage_name(s));
        cr_assert_eq(c.of[s].weight_bytes, (s == STAGE_EMBED ? 1 : 4) * whole.of[s].weight_bytes,
                     "%s", stage_name(s));
    }
    model_free(m);
}

Test(count, crossover_is_where_the_counts_are_equal)
{
    const config models[] = {{.L = 12, .C = 768, .H = 12, .F = 3072, .V = 50257, .T = 1024},
                             {.L = 3, .C = 40, .H = 2, .F = 24, .V = 17, .T = 40}};
    for (size_t i = 0; i < 2; i++) {
        const config *c = &models[i];
        const size_t naive = (size_t)cost_crossover(c, false, 1),
                     cached = (size_t)cost_crossover(c, true, 1);
        cr_assert_eq(naive, 4 * c->C + 2 * c->F - 1);
        cr_assert_eq(cached, 2 * c->C + c->F);
        cr_assert_eq(cost_attention(c, NULL, 0, naive), cost_linear(c, 0, naive));
        cr_assert_eq(cost_attention(c, NULL, cached - 1, cached),
                     cost_linear(c, cached - 1, cached));
        cr_assert_eq(cost_crossover(c, true, 2), (double)cached / 2,
                     "slower attention overtakes sooner");
    }
}

// What the profile relies on: a band's scores are all shown before its softmax, and that before its
// weighted values. The scores shown are those whose softmax follows.
typedef struct shown {
    size_t first, H; // position of row 0; heads
    stage last;
    size_t next; // row of its band that comes next
    float scores[BAND_ROWS][(LONGEST + LANES - 1) / LANES * LANES];
    size_t rows;
} shown;

static void watch_band(void *user, stage s, int l, int head, size_t position, const float *values,
                       size_t n)
{
    shown *w = user;
    (void)l;
    if (s < STAGE_SEES || s > STAGE_ATTEND)
        return;
    const size_t r = (position - w->first) % BAND_ROWS;
    w->next = s == w->last ? w->next + 1 : 0;
    cr_assert_eq(r, w->next, "%s of row %zu came as number %zu of its band", stage_name(s), r,
                 w->next);
    w->last = s;
    w->rows++;
    if (s == STAGE_SCORES)
        memcpy(w->scores[r], values, n * sizeof *values);
    if (s != STAGE_SOFTMAX)
        return;
    const visible see = {.to = n};
    softmax_row(w->scores[r], see, softmax_scale(w->scores[r], see, 1));
    cr_assert_eq(memcmp(w->scores[r], values, n * sizeof *values), 0, "position %zu, head %d",
                 position, head);
}

Test(count, a_bands_stages_come_one_after_the_other)
{
    model *m = load("synthetic:L=1,C=20,H=2,T=40,V=33,F=44");
    int ids[LONGEST];
    for (size_t i = 0; i < LONGEST; i++)
        ids[i] = fixed_token(i, m->config.V);
    decoder *d = NULL;
    const float *logits;
    shown w = {.first = 3, .last = STAGES};
    cr_assert_null(kvcache_decoder.create(m, &(decoder_options){.T_max = LONGEST}, &d));
    cr_assert_null(kvcache_decoder.step(d, ids, 3, 1, &logits));
    kvcache_decoder.observe(d, watch_band, &w);
    cr_assert_null(kvcache_decoder.step(d, ids, LONGEST, 1, &logits));
    cr_assert_eq(w.rows, 4 * 2 * (LONGEST - 3));
    kvcache_decoder.destroy(d);
    model_free(m);
}

TestSuite(profile, .timeout = 120);

static status balance_books(passes *p, size_t t, void *user)
{
    const config *c = &p->m->config;
    (void)user;
    for (pass i = 0; i < PASSES; i++) {
        profile taken;
        status s = profile_take(p, i, t, 1, &taken); // one round: medians are that round's own
        if (s)
            return s;
        const size_t first = i == PASS_CACHED_STEP ? t : 0, T = i == PASS_PREFILL ? t : t + 1;
        const size_t R = T - first;
        cr_assert_eq(taken.calls, R + R * c->L * (9 + 6 * c->H) + 2, "%llu calls",
                     (unsigned long long)taken.calls);
        assert_stages(&taken.done, first, T);
        cr_assert_gt(taken.unwatched_ns, 0);
        cr_assert_gt(taken.showing_ns, 0);
        const double sum = profile_ns(&taken, COUNT_EVERYTHING) + taken.showing_ns;
        cr_assert(sum <= taken.watched_ns, "stages take %g of %g ns", sum, taken.watched_ns);
        cr_assert_eq(profile_ns(&taken, COUNT_QKV), taken.ns[STAGE_Q],
                     "k and v have times of their own");
        cr_assert_gt(taken.ns[STAGE_STORED_K], 0, "storing has no time");
        cr_assert_eq(taken.ns[STAGE_SEES] + taken.ns[STAGE_STORED_V], 0);
    }
    return NULL;
}

// No time is lost between two calls or counted twice: the parts are the whole, to the nanosecond.
Test(profile, the_clocks_time_is_in_one_part_each)
{
    model *m = load(TINY);
    passes p;
    cr_assert_null(passes_create(m, &support_ours[0], &support_ours[1], 39, &p));
    for (pass i = 0; i < PASSES; i++) {
        stopwatch w;
        cr_assert_null(profile_watch(&p, i, 39, &w));
        uint64_t sum = w.showing_ns + w.rest_ns;
        for (stage s = 0; s < STAGES; s++)
            sum += w.ns[s];
        cr_assert_eq(sum, w.whole_ns);
    }
    passes_free(&p);
    model_free(m);
}

Test(profile, stages_make_up_the_pass)
{
    int exit_code = 0;
    status s = passes_at_each(&(bench_options){.model = TINY, .contexts = "1,17,39"}, balance_books,
                              NULL, &exit_code);
    cr_assert(!s && exit_code == 0, "%d: %s", exit_code, s);
}

// With times made up: at one rate for all the counts decide, and attention at half of it overtakes
// in half the keys.
Test(profile, crossover_follows_from_counts_and_rates)
{
    model *m = load(TINY);
    const config *c = &m->config;
    for (int cached = 0; cached < 2; cached++) {
        const pass which = cached ? PASS_CACHED_STEP : PASS_NAIVE_STEP;
        profile p = {
            .done = counted(cached ? &kvcache_decoder : &naive_decoder, m, &(kv_spec){0}, 20, 21)};
        for (stage s = 0; s < STAGES; s++)
            p.ns[s] = 4 * (double)p.done.of[s].multiply_adds;
        cr_assert_float_eq(profile_crossover(&p, which), cost_crossover(c, cached, 1), 1e-9);
        p.ns[STAGE_SCORES] *= 2, p.ns[STAGE_ATTEND] *= 2;
        cr_assert_float_eq(profile_crossover(&p, which), cost_crossover(c, cached, 2), 1e-9);
    }
    model_free(m);
}

// Every allocation fails once: the failure is reported, and the leak checker finds nothing.
Test(profile, every_allocation_may_fail)
{
    int exit_code;
    memory_fail_at(0);
    cr_assert_null(
        passes_at_each(&(bench_options){.model = TINY}, balance_books, NULL, &exit_code));
    const size_t allocations = memory_fail_at(0);
    cr_assert_gt(allocations, 10);
    for (size_t n = 1; n <= allocations; n++) {
        memory_fail_at(n);
        cr_assert_not_null(
            passes_at_each(&(bench_options){.model = TINY}, balance_books, NULL, &exit_code),
            "allocation %zu of %zu", n, allocations);
    }
    memory_fail_at(0);
}

// What a command prints, run as a user runs it; returns its exit status.
static int run(const char *arguments, char *text, size_t size)
{
    char line[512];
    snprintf(line, sizeof line, "'" BUILD_DIR "/tested/bench' %s 2>&1", arguments);
    FILE *f = popen(line, "r");
    cr_assert_not_null(f, "%s", line);
    text[fread(text, 1, size - 1, f)] = '\0';
    return pclose(f) >> 8;
}

Test(count, command_prints_every_stage_of_every_pass)
{
    static char text[1 << 15];
    const char *const commands[] = {"count -m " TINY " -c 5,39",
                                    "profile -m " TINY " -c 5,39 -n 2"};
    const char *const lines[] = {", prefill of 5 tokens (kvcache)",
                                 ", step at 5 tokens (naive)",
                                 ", step at 39 tokens (kvcache)",
                                 "\n  embed ",
                                 "\n  softmax ",
                                 "\n  fcproj ",
                                 "\n  linear layers ",
                                 "\n  attention ",
                                 " attention overtakes the linear layers at ",
                                 "\n  everything "};
    for (size_t i = 0; i < 2; i++) {
        const int code = run(commands[i], text, sizeof text);
        cr_assert_eq(code, 0, "%s", text);
        for (size_t j = 0; j < sizeof lines / sizeof *lines; j++)
            cr_assert_not_null(strstr(text, lines[j]), "'%s' is not in\n%s", lines[j], text);
    }
}

Test(count, commands_refuse_what_they_cannot_do)
{
    static const struct {
        const char *arguments, *part;
        int code;
    } cases[] = {{"count -m " TINY " -c 40", "within 1 and 39", 2},
                 {"profile -m " TINY " -c 0", "within 1 and 39", 2},
                 {"count -m synthetic:L=1,C=4,H=1,T=1,V=3", "another model", 1},
                 {"count -n 3", "--help", 2},
                 {"profile -n x", "whole number", 2},
                 {"profile extra", "extra", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        const int code = run(cases[i].arguments, text, sizeof text);
        cr_assert(code == cases[i].code && strstr(text, cases[i].part), "bench %s exits %d: %s",
                  cases[i].arguments, code, text);
    }
}

Test(count, whole_numbers_in_threes)
{
    char text[FORMAT_ROOM];
    cr_assert_str_eq(format_whole(0, text), "0");
    cr_assert_str_eq(format_whole(999, text), "999");
    cr_assert_str_eq(format_whole(2097152, text), "2,097,152");
    cr_assert_str_eq(format_whole(UINT64_MAX, text), "18,446,744,073,709,551,615");
}
