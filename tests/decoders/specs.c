// Specs: each equals the oracle's plain loops bit for bit; binary16 number by number; softmax with
// holes; and how a spec is read and written.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/kv/form.h"
#include "common/math/lanes.h"
#include "common/math/numeric.h"
#include "common/math/softmax.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/oracle.h"
#include "tests/support/support.h"

static const char *const SPECS[] = {
    "all",
    "f16",
    "window:1",
    "window:1+1",
    "window:7",
    "window:16+16",
    "window:40",
    "window:200",
    "window:200+4",
    "window:5+200",
    "window:5+3",
    "window:3+70",
    "window:9+16",
    "window:20+64",
    "window:150+1",
    "window:8,f16",
    "f16,window:20+4",
};
enum { SPEC_COUNT = sizeof SPECS / sizeof *SPECS, TOKENS = 150 };

static kv_spec parse(const char *text, const model *m)
{
    kv_spec spec;
    status s = kv_parse(text, &m->config, &spec);
    cr_assert_null(s, "%s", s);
    return spec;
}

// A decoder's last `wanted` rows of T tokens against the oracle's, which has all rows of them.
static void check_rows(const decoder_api *api, decoder *d, const char *what, const int *ids,
                       size_t T, size_t wanted, size_t V, const float *oracle)
{
    const float *logits;
    status s = api->step(d, ids, T, wanted, &logits);
    cr_assert_null(s, "%s", s);
    for (size_t i = 0; i < wanted * V; i++)
        cr_assert_eq(memcmp(logits + i, oracle + (T - wanted) * V + i, sizeof *logits), 0,
                     "%s, %s, %zu tokens, row %zu, logit %zu: %a, not %a", api->name, what, T,
                     T - wanted + i / V, i % V, (double)logits[i],
                     (double)oracle[(T - wanted) * V + i]);
}

static void check_spec(const model *m, const char *text, size_t page, const int *ids)
{
    static const decoder_api *const apis[] = {&naive_decoder, &kvcache_decoder};
    const size_t V = m->config.V;
    decoder_options o = {.T_max = TOKENS, .kv = parse(text, m)};
    o.kv.page = page;
    float *oracle = memory_array(TOKENS * V, sizeof *oracle);
    oracle_logits(m, &o.kv, ids, TOKENS, TOKENS, oracle);
    for (size_t i = 0; i < 2; i++) {
        decoder *d;
        cr_assert_null(apis[i]->create(m, &o, &d));
        for (size_t T = 1; T <= TOKENS; T++)
            check_rows(apis[i], d, text, ids, T, 1, V, oracle);
        check_rows(apis[i], d, text, ids, TOKENS, TOKENS, V, oracle);
        apis[i]->destroy(d);
    }
    memory_free(oracle);
}

Test(specs, equal_the_oracle_at_every_length_and_in_every_row)
{
    static const char *const shapes[] = {"synthetic:L=2,C=36,H=3,T=150,V=16,F=30",
                                         "synthetic:L=3,C=20,H=1,T=150,V=11,F=8,seed=5"};
    for (size_t i = 0; i < 2; i++) {
        model *m;
        int ids[TOKENS];
        cr_assert_null(model_load(shapes[i], &m));
        for (size_t t = 0; t < TOKENS; t++)
            ids[t] = (int)((t * t * 7 + t * 3 + 1) % m->config.V);
        for (size_t s = 0; s < SPEC_COUNT; s++)
            check_spec(m, SPECS[s], i ? 16 : 0, ids);
        model_free(m);
    }
}

// ---- binary16 ----

static void assert_half(float x, float expected)
{
    uint16_t half;
    float got;
    cr_assert_eq(form_f16.write(&x, 1, &half), 1, "%a is refused", (double)x);
    form_f16.read(&half, 1, &got);
    cr_assert_eq(memcmp(&got, &expected, sizeof got), 0, "%a becomes %a, not %a", (double)x,
                 (double)got, (double)expected);
}

Test(specs, f16_reads_each_of_its_65536_numbers_exactly)
{
    for (uint32_t first = 0; first < 65536; first += LANES) {
        uint16_t half[LANES];
        float scalar[LANES], lanes[LANES];
        for (size_t j = 0; j < LANES; j++)
            half[j] = (uint16_t)(first + j);
        form_f16.read(half, LANES, scalar);
        lanes_widen_f16(half, lanes);
        for (size_t j = 0; j < LANES; j++) {
            const float expected = (float)oracle_half(half[j]);
            cr_assert_eq(memcmp(scalar + j, &expected, sizeof expected), 0, "0x%04x is %a, not %a",
                         half[j], (double)scalar[j], (double)expected);
            cr_assert_eq(memcmp(lanes + j, &expected, sizeof expected), 0,
                         "0x%04x in a lane is %a, not %a", half[j], (double)lanes[j],
                         (double)expected);
        }
    }
}

Test(specs, f16_rounds_to_nearest_even)
{
    for (uint64_t u = 0; u <= UINT32_MAX; u += 4099) {
        const numeric_bits32 x = {.u = (uint32_t)u};
        if (fabsf(x.f) < 65520.0f)
            assert_half(x.f, oracle_as_half(x.f));
    }
    for (uint16_t half = 0; half < 0x7bff; half++) { // ties, and the numbers beside them
        const float tie = (float)((oracle_half(half) + oracle_half((uint16_t)(half + 1))) / 2);
        assert_half(tie, (float)oracle_half((uint16_t)(half + half % 2)));
        assert_half(-tie, -(float)oracle_half((uint16_t)(half + half % 2)));
        assert_half(nextafterf(tie, 0), (float)oracle_half(half));
        assert_half(nextafterf(tie, INFINITY), (float)oracle_half((uint16_t)(half + 1)));
    }
}

Test(specs, f16_refuses_what_it_cannot_hold)
{
    const float beyond[] = {65520, -65520, 70000, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        const float three[] = {1, beyond[i], beyond[i]};
        uint16_t half[3];
        cr_assert_eq(form_f16.write(three, 3, half), 1, "%a", (double)beyond[i]);
    }
    assert_half(nextafterf(65520, 0), 65504);
    assert_half(-nextafterf(65520, 0), -65504);
}

// ---- softmax with holes ----

// The same by position, one at a time; `x` holds NaN where nothing is seen.
static void expect_softmax(const float *x, visible see, float scale, float *p)
{
    float max = -INFINITY, partial[LANES] = {0};
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            max = fmaxf(max, x[s] * scale);
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            partial[s % LANES] += p[s] = numeric_exp(x[s] * scale - max);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            partial[j] += partial[j + half];
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            p[s] *= 1 / partial[0];
}

static void check_softmax(visible see)
{
    enum { ROOM = 128 };
    float x[ROOM], p[ROOM], expected[ROOM];
    for (size_t s = 0; s < ROOM; s++) {
        const bool seen = s < see.to && (s < see.sinks || s >= see.from);
        x[s] = seen ? (float)(s * 37 % 101) * 0.37f - 9 : NAN;
        p[s] = x[s];
    }
    expect_softmax(x, see, 0.3f, expected);
    softmax_row(p, see, softmax_scale(p, see, 0.3f));
    for (size_t s = 0; s < see.to; s++)
        if (s < see.sinks || s >= see.from)
            cr_assert_eq(memcmp(p + s, expected + s, sizeof *p), 0,
                         "%zu sinks, %zu to %zu, position %zu: %a, not %a", see.sinks, see.from,
                         see.to, s, (double)p[s], (double)expected[s]);
}

Test(specs, softmax_with_holes_sums_by_position_and_never_reads_what_is_unseen)
{
    for (size_t to = 1; to <= 100; to++)
        for (size_t from = 0; from < to; from++) {
            check_softmax((visible){0, from, to});
            for (size_t sinks = 1; sinks < from; sinks += sinks < 18 ? 1 : 7)
                check_softmax((visible){sinks, from, to});
        }
}

// ---- as text ----

Test(specs, are_written_as_they_are_read)
{
    static const char *const names[][2] = {
        {"all", "all"},
        {"f32", "all"},
        {"f32,all", "all"},
        {"f16", "f16"},
        {"all,f16", "f16"},
        {"window:256", "window:256"},
        {"window:256+0", "window:256"},
        {"f16,window:256+4", "window:256+4,f16"},
        {"window:1+1,f32", "window:1+1"},
    };
    char text[KV_NAME];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        kv_spec spec, again;
        cr_assert_null(kv_parse(names[i][0], NULL, &spec));
        cr_assert_str_eq(kv_name(&spec, text), names[i][1]);
        cr_assert_null(kv_parse(text, NULL, &again));
        cr_assert(spec.keep == again.keep && spec.form == again.form &&
                      spec.recent == again.recent && spec.sinks == again.sinks,
                  "%s", names[i][0]);
    }
}

Test(specs, that_make_no_sense_are_refused_with_what_can_stand_there)
{
    static const char *const window = "give the rows that are seen, at least 1|window:256+4";
    const struct {
        const char *text, *parts;
    } cases[] = {
        {"", "--kv : ''|is no way to keep keys and values|window:W[+S]"},
        {"q8", "'q8' is no way to keep keys and values|f32 or f16"},
        {"f16,", "--kv f16,: ''|is no way"},
        {"F16", "'F16' is no way"},
        {"window", "'window' is no way"},
        {"window:", window},
        {"window:0", window},
        {"window:0+4", window},
        {"window:4+", window},
        {"window:+4", window},
        {"window:4+4+4", window},
        {"window:-4", window},
        {"window:99999999999999999999", window},
        {"f16,f16", "'f16' is a second word for the form of a row: give one"},
        {"f16,f32", "'f32' is a second word for the form of a row"},
        {"all,window:4", "'window:4' is a second word for the rows that are kept: give one"},
    };
    kv_spec spec;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        support_assert_refused(kv_parse(cases[i].text, NULL, &spec), cases[i].parts);
    char endless[1000];
    memset(endless, 'w', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    support_assert_refused(kv_parse(endless, NULL, &spec), "999 characters are more than any spec");
    support_assert_refused(kv_check(&(kv_spec){.page = 24}), "page of 24|multiple of 16");
    support_assert_refused(kv_check(&(kv_spec){.keep = KV_WINDOW}), "window of no rows");
}
