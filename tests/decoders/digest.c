// One digest on every machine: the golden ones in this build, from the decoders and from the
// oracle; what they are digests of; and the floating-point environment they need.
#include "bench/verify/digest.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <math.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#    include <xmmintrin.h>
#endif

#include "bench/base/contexts.h"
#include "bench/subject/subject.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/number/numeric.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/oracle.h"
#include "tests/support/command.h"
#include "tests/support/subjects.h"
#include "tests/support/support.h"

#define GOLDEN SOURCE_DIR "/tests/golden.txt"

TestSuite(digest, .timeout = 120);

static model *load(const char *name)
{
    model *m = NULL;
    status s = model_load(strcmp(name, "embedded") == 0 ? model_default() : name, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

// (T) tokens of the fixed sequence.
static int *tokens(const model *m, size_t T)
{
    int *ids = memory_array(T, sizeof *ids);
    for (size_t i = 0; i < T; i++)
        ids[i] = fixed_token(i, m->config.V);
    return ids;
}

static void hash(const float *values, size_t n, char hex[DIGEST_HEX])
{
    uint8_t *bytes = memory_array(4 * n, 1);
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, values + i, sizeof u);
        for (size_t k = 0; k < 4; k++)
            bytes[4 * i + k] = (uint8_t)(u >> 8 * k);
    }
    SHA256Data(bytes, 4 * n, hex);
    memory_free(bytes);
}

static void assert_digest(const char *got, const char *expected, const char *what)
{
    cr_assert_str_eq(got, expected, "%s: %s, not %s", what, got, expected);
}

// The oracle's logits at each context, hashed by hand.
static void oracle_digest(const model *m, const size_t *contexts, size_t n, char hex[DIGEST_HEX])
{
    const size_t V = m->config.V;
    int *ids = tokens(m, contexts[n - 1]);
    float *logits = memory_array(n * V, sizeof *logits);
    for (size_t i = 0; i < n; i++)
        oracle_logits(m, &(kv_spec){0}, ids, contexts[i], 1, logits + i * V);
    hash(logits, n * V, hex);
    memory_free(ids), memory_free(logits);
}

static void check_golden(const char *name, const char *list, const char *golden)
{
    model *m = load(name);
    size_t *contexts, n;
    char hex[DIGEST_HEX];
    cr_assert_null(contexts_parse(list, m->config.T, &contexts, &n));
    for (size_t i = 0; i < 2; i++) {
        status s = digest_logits(&support_ours[i], m, contexts, n, hex);
        cr_assert_null(s, "%s", s);
        assert_digest(hex, golden, name);
    }
    oracle_digest(m, contexts, n, hex);
    assert_digest(hex, golden, "the oracle's");
    memory_free(contexts);
    model_free(m);
}

Test(digest, decoders_and_oracle_give_the_golden_ones)
{
    char name[128], list[128], golden[DIGEST_HEX], line[512];
    size_t checked = 0;
    FILE *f = fopen(GOLDEN, "r");
    cr_assert(f);
    while (fgets(line, sizeof line, f))
        if (*line != '#' && strncmp(line, BENCH_MODEL, strlen(BENCH_MODEL)) != 0) {
            cr_assert_eq(sscanf(line, "%127s %127s %64s", name, list, golden), 3, "%s", line);
            check_golden(name, list, golden);
            checked++;
        }
    fclose(f);
    cr_assert_geq(checked, 8, "only %zu golden digests", checked);
}

Test(digest, sees_every_context_and_every_weight)
{
    model *m = load("synthetic:L=1,C=20,H=2,V=33,T=8"),
          *other = load("synthetic:L=1,C=20,H=2,V=33,T=8,seed=1");
    const size_t both[] = {3, 8};
    char a[DIGEST_HEX], b[DIGEST_HEX], c[DIGEST_HEX];
    cr_assert_null(digest_logits(&support_ours[0], m, both, 2, a));
    cr_assert_null(digest_logits(&support_ours[0], m, both + 1, 1, b));
    cr_assert_null(digest_logits(&support_ours[0], other, both, 2, c));
    cr_assert_str_neq(a, b);
    cr_assert_str_neq(a, c);
    model_free(m), model_free(other);
}

// What one observer's call showed.
typedef struct shown {
    stage stage;
    int layer, head;
    size_t position, n;
    float values[64];
} shown;

enum { CALLS = 4096 };

typedef struct record {
    shown call[CALLS];
    size_t n;
    size_t digests; // of stages, compared so far
} record;

static void keep(void *user, stage s, int l, int head, size_t position, const float *values,
                 size_t n)
{
    record *r = user;
    cr_assert(r->n < CALLS && n <= 64);
    shown *call = &r->call[r->n++];
    *call = (shown){.stage = s, .layer = l, .head = head, .position = position, .n = n};
    memcpy(call->values, values, n * sizeof *values);
}

static int by_position_and_head(const void *a, const void *b)
{
    const shown *x = a, *y = b;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return (x->head > y->head) - (x->head < y->head);
}

// The calls are sorted by position and head: those of one stage and layer, one after the other, are
// what is hashed.
static void compare_stage(void *user, stage s, int l, const char *hex)
{
    record *r = user;
    float *values = memory_array(CALLS * 64, sizeof *values);
    char expected[DIGEST_HEX], what[64];
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->call[i].stage == s && r->call[i].layer == l) {
            memcpy(values + n, r->call[i].values, r->call[i].n * sizeof *values);
            n += r->call[i].n;
        }
    hash(values, n, expected);
    snprintf(what, sizeof what, "layer %d, %s", l, stage_name(s));
    assert_digest(hex, expected, what);
    r->digests++;
    memory_free(values);
}

Test(digest, stages_are_hashed_by_position_then_head)
{
    enum { T = 30, LAYERS = 2 };
    model *m = load("synthetic:L=2,C=20,H=4,G=2,F=36,V=33,T=30");
    int *ids = tokens(m, T);
    record *r = memory_array(1, sizeof *r);
    for (size_t i = 0; i < 2; i++) {
        decoder *d;
        const float *logits;
        *r = (record){0};
        cr_assert_null(support_ours[i].api->create(m, &(decoder_options){.T_max = T}, &d));
        support_ours[i].api->observe(d, keep, r);
        cr_assert_null(support_ours[i].api->step(d, ids, T, 1, &logits));
        support_ours[i].api->destroy(d);
        qsort(r->call, r->n, sizeof *r->call, by_position_and_head);
        status s = digest_stages(&support_ours[i], m, T, compare_stage, r);
        cr_assert_null(s, "%s", s);
        cr_assert_eq(r->digests, 3 + LAYERS * (STAGE_FCPROJ - STAGE_LN1 + 1), "%zu digests",
                     r->digests);
    }
    memory_free(r), memory_free(ids), model_free(m);
}

static void check_refused(const char *file, const char *parts)
{
    command_run r = RUN(digest_command, "digest", "--check", file);
    support_assert_refused(r.s, parts);
    cr_assert_eq(r.exit_code, 0); // bench makes 1 of it
}

Test(digest, bad_files_of_digests_are_refused)
{
    const char *const cases[][2] = {
        {"", "nothing to compare"},
        {"# only a remark\n", "nothing to compare"},
        {"embedded 1\n", "line 1|MODEL CONTEXTS SHA256"},
        {"# one\nembedded 1 ab cd\n", "line 2|MODEL CONTEXTS SHA256"},
        {"embedded 0 ab\n", "line 1|'0'"},
        {"/nonexistent 1 ab\n", "line 1|/nonexistent"},
    };
    char dir[SUPPORT_PATH], path[2 * SUPPORT_PATH];
    support_make_dir(dir);
    snprintf(path, sizeof path, "%s/golden.txt", dir);
    check_refused(path, "golden.txt|cannot be opened");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        support_write(dir, "golden.txt", cases[i][0], strlen(cases[i][0]));
        check_refused(path, cases[i][1]);
    }
    support_remove_dir(dir);
}

// A model too short for the usual contexts is looked at as far as it goes.
Test(digest, usual_contexts_fit_the_model)
{
    static const struct {
        const char *model, *contexts;
    } cases[] = {{"synthetic:L=1,C=8,H=1,V=9,T=1", "1"},
                 {"synthetic:L=1,C=8,H=1,V=9,T=16", "1,2,15-16"},
                 {"synthetic:L=1,C=8,H=1,V=9,T=20", "1,2,15-17,20"},
                 {"synthetic:L=1,C=8,H=1,V=9,T=33", "1,2,15-17,31-33"},
                 {"synthetic:L=1,C=8,H=1,V=9,T=99", "1,2,15-17,31-33,99"},
                 {"synthetic:L=1,C=8,H=1,V=9,T=200", "1,2,15-17,31-33,100"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "%s %s ", cases[i].model, cases[i].contexts);
        command_run usual = RUN(digest_command, "digest", "-m", cases[i].model);
        command_run named =
            RUN(digest_command, "digest", "-m", cases[i].model, "-c", cases[i].contexts);
        cr_assert(!usual.s && !named.s, "%s: %s", cases[i].model, usual.s ? usual.s : named.s);
        cr_assert(strncmp(usual.out, expected, strlen(expected)) == 0, "%s, not %s", usual.out,
                  expected);
        cr_assert_str_eq(usual.out, named.out);
        command_run whole = RUN(digest_command, "digest", "--stages", "-m", cases[i].model);
        cr_assert(!whole.s && strstr(whole.out, "logits"), "%s: %s", cases[i].model, whole.s);
    }
}

Test(digest, a_difference_is_exit_status_1)
{
    char dir[SUPPORT_PATH], path[2 * SUPPORT_PATH];
    const char wrong[] = "synthetic:L=1,C=8,H=1,V=9,T=4 1-4 0123\n";
    support_make_dir(dir);
    support_write(dir, "golden.txt", wrong, strlen(wrong));
    snprintf(path, sizeof path, "%s/golden.txt", dir);
    command_run r = RUN(digest_command, "digest", "--check", path);
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_eq(r.exit_code, 1);
    cr_assert(strncmp(r.out, "DIFFERS ", 8) == 0 && strstr(r.out, "0 equal, 1 differ, 0 skipped"),
              "%s", r.out);
    support_remove_dir(dir);
}

Test(numeric, software_fma_rounds_once)
{
    const float special[] = {0.0f,    1.0f,     FLT_TRUE_MIN, FLT_MIN,
                             FLT_MAX, INFINITY, NAN,          0x1.fffffep-1f};
    enum { SPECIAL = sizeof special / sizeof *special, TRIPLES = 5000000 };
    uint64_t state = 1;
    for (size_t i = 0; i < TRIPLES; i++) {
        numeric_bits32 x[3];
        for (size_t k = 0; k < 3; k++, state += RANDOM_GAMMA) {
            const uint64_t bits = random_splitmix64(state);
            x[k].u = (uint32_t)bits;
            if (i % 16 == 0)
                x[k].f = (bits >> 32 & 1 ? -1.0f : 1.0f) * special[(bits >> 33) % SPECIAL];
        }
        if (i % 4 == 1) // near the product, so that most of it cancels
            x[2].f = -x[0].f * x[1].f;
        if (i % 4 == 2) // an exponent near the product's
            x[2].f = x[0].f * x[1].f * (0.5f + (float)(x[2].u >> 9) * 0x1p-20f);
        float got = numeric_fma_software(x[0].f, x[1].f, x[2].f),
              expected = fmaf(x[0].f, x[1].f, x[2].f);
        cr_assert((isnan(got) && isnan(expected)) || memcmp(&got, &expected, sizeof got) == 0,
                  "fma(%a, %a, %a) is %a, not %a", (double)x[0].f, (double)x[1].f, (double)x[2].f,
                  (double)got, (double)expected);
    }
}

Test(numeric, a_rounding_mode_other_than_to_nearest_is_refused)
{
    cr_assert_null(numeric_ready("tests"));
    fesetround(FE_UPWARD);
    status s = numeric_ready("tests");
    fesetround(FE_TONEAREST);
    support_assert_refused(s, "rounding mode|remove");
}

#ifdef __SSE__
Test(numeric, flushed_subnormals_are_refused)
{
    const unsigned flush_results = 0x8000, flush_operands = 0x0040, saved = _mm_getcsr();
    _mm_setcsr(saved | flush_results);
    status s = numeric_ready("tests");
    _mm_setcsr(saved);
    support_assert_refused(s, "subnormal|-ffast-math");
    _mm_setcsr(saved | flush_operands);
    s = numeric_ready("tests");
    _mm_setcsr(saved);
    support_assert_refused(s, "subnormal|-ffast-math");
}
#endif
