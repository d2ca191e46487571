// The random walk of verify, and the inverse of it: for each kind of call a cache that goes wrong
// at that kind alone.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/verify/verification.h"
#include "bench/verify/verify.h"
#include "common/base/memory.h"
#include "common/file/file.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

#define MODEL "synthetic:L=1,C=16,H=2,T=300,V=600"
enum { ROOM = 301, CALLS = 2000 };

TestSuite(walk, .timeout = 120);

// A cache that takes too much for known: the cached decoder, given the ids that it was given before
// wherever `same` says that nothing has changed.
struct decoder {
    decoder *inner;
    int seen[ROOM], mixed[ROOM];
    size_t length;
    bool trusting; // the next text is taken to begin as the last one, unseen
    bool small;    // made for fewer tokens than the model takes
};

// What a broken cache does otherwise than a right one. `same`: whether the first n ids of two texts
// are the same to it.
typedef struct bug {
    const char *name;
    bool (*same)(const int *old, const int *now, size_t n);
    bool refused_is_seen;  // a text that was refused counts as seen
    bool anything_goes;    // wrong arguments are mended in silence
    bool shared;           // all decoders have one memory of what was seen
    bool kept_after_reset; // after a reset likewise
    bool old_logits;       // a call with as many ids as the last one gets that one's logits
    size_t rows;           // of a prompt into an empty cache only the last ones count; 0: all
    bool few_rows;         // of what is held already, no more than 8 rows of logits are right
    bool one_buffer;       // all decoders return their logits in one place
    bool needs_n_ctx;      // right only where it is made for as many tokens as the model takes
    bool far_ids;          // what is far from being an id is taken for one
    bool kept_at_end;      // a decoder that is made anew has seen what the last one has
} bug;
static const bug *broken;
static int all_seen[ROOM];
static size_t all_length;

static bool exactly(const int *old, const int *now, size_t n)
{
    return memcmp(old, now, n * sizeof *now) == 0;
}

static bool by_length(const int *old, const int *now, size_t n)
{
    (void)old, (void)now, (void)n;
    return true;
}

static bool by_last_id(const int *old, const int *now, size_t n)
{
    return n == 0 || old[n - 1] == now[n - 1];
}

static bool by_first_id(const int *old, const int *now, size_t n)
{
    return n == 0 || old[0] == now[0];
}

static bool by_low_bits(const int *old, const int *now, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((old[i] ^ now[i]) & 0xff)
            return false;
    return true;
}

static bool by_low_9_bits(const int *old, const int *now, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((old[i] ^ now[i]) & 0x1ff)
            return false;
    return true;
}

// A hash that is trusted, where the lengths are equal.
static bool by_hash(const int *old, const int *now, size_t n)
{
    unsigned a = 0, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = 31 * a + (unsigned)old[i];
        b = 31 * b + (unsigned)now[i];
    }
    return a == b;
}

// The same, but only of ids that stand behind the first 200.
static bool by_low_bits_later(const int *old, const int *now, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((old[i] ^ now[i]) & (i < 200 ? -1 : 0xff))
            return false;
    return true;
}

// One block of 16 in the middle of a long text is not looked at.
static bool but_one_block(const int *old, const int *now, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i / 16 != 13 && old[i] != now[i])
            return false;
    return true;
}

// Long texts are compared by their ends.
static bool by_both_ends(const int *old, const int *now, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((i < 100 || i + 100 > n) && old[i] != now[i])
            return false;
    return true;
}

static bool by_sum(const int *old, const int *now, size_t n)
{
    long sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += old[i] - now[i];
    return sum == 0;
}

// Sums of ids and of their squares: the same for the same ids in any order.
static bool by_multiset(const int *old, const int *now, size_t n)
{
    long squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (long)old[i] * old[i] * old[i] - (long)now[i] * now[i] * now[i];
    return squares == 0 && by_sum(old, now, n);
}

// One id out of all is not looked at.
static bool but_the_third(const int *old, const int *now, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i != 2 && old[i] != now[i])
            return false;
    return true;
}

// An id that has been deleted is not missed: its neighbour stands there.
static bool but_for_deleted(const int *old, const int *now, size_t n)
{
    size_t gone = 0;
    for (size_t i = 0; i < n; i++) {
        gone += gone == 0 && old[i] != now[i];
        if (i + gone < n && old[i + gone] != now[i])
            return false;
    }
    return true;
}

static const bug bugs[] = {
    {"the length alone", .same = by_length},
    {"the last id", .same = by_last_id},
    {"the first id", .same = by_first_id},
    {"all ids but the third", .same = but_the_third},
    {"the low 8 bits of ids", .same = by_low_bits},
    {"their low 8 bits, from 200 on", .same = by_low_bits_later},
    {"their low 9 bits", .same = by_low_9_bits},
    {"texts of one 31 h + id", .same = by_hash},
    {"all ids but a block of 16", .same = but_one_block},
    {"the first 100, the last 100", .same = by_both_ends},
    {"the sum of ids", .same = by_sum},
    {"ids in any order", .same = by_multiset},
    {"ids but for one deleted", .same = but_for_deleted},
    {"all after a refusal", .same = exactly, .refused_is_seen = true},
    {"wrong arguments and right", .same = exactly, .anything_goes = true},
    {"two decoders' texts", .same = by_length, .shared = true},
    {"all after a reset", .same = exactly, .kept_after_reset = true},
    {"texts of equal length", .same = exactly, .old_logits = true},
    {"rows before the last 128", .same = exactly, .rows = 128},
    {"rows asked for, beyond 8", .same = exactly, .few_rows = true},
    {"two decoders' logits", .same = exactly, .one_buffer = true},
    {"room and positions", .same = exactly, .needs_n_ctx = true},
    {"what is far from an id", .same = exactly, .far_ids = true},
    {"a decoder and the next one", .same = by_length, .kept_at_end = true},
};
enum { BUGS = sizeof bugs / sizeof *bugs };

static status create(const model *m, const decoder_options *o, decoder **out)
{
    *out = memory_array(1, sizeof **out);
    cr_assert(*out && o->T_max < ROOM);
    (*out)->small = o->T_max < m->config.T;
    if (broken->kept_at_end) {
        memcpy((*out)->seen, all_seen, sizeof all_seen);
        (*out)->length = all_length;
    }
    return kvcache_decoder.create(m, o, &(*out)->inner);
}

static void destroy(decoder *d)
{
    if (broken->kept_at_end) {
        memcpy(all_seen, d->seen, sizeof all_seen);
        all_length = d->length;
    }
    kvcache_decoder.destroy(d->inner);
    memory_free(d);
}

static int *seen(decoder *d)
{
    return broken->shared ? all_seen : d->seen;
}

static size_t *length(decoder *d)
{
    return broken->shared ? &all_length : &d->length;
}

static void see(decoder *d, const int *tokens, size_t T)
{
    *length(d) = T < ROOM ? T : 0;
    memcpy(seen(d), tokens, *length(d) * sizeof *tokens);
}

// A step on what this cache takes for the text.
static status mixed_step(decoder *d, const int *tokens, size_t T, size_t wanted,
                         const float **logits)
{
    size_t known = *length(d) < T - 1 ? *length(d) : T - 1;
    const size_t held = known;
    while (known > 0 && !d->trusting && !broken->same(seen(d), tokens, known))
        known--;
    memcpy(d->mixed, seen(d), known * sizeof *tokens);
    memcpy(d->mixed + known, tokens + known, (T - known) * sizeof *tokens);
    for (size_t i = 0; broken->rows && d->length == 0 && i + broken->rows < T; i++)
        d->mixed[i] = 0;
    if ((broken->few_rows && wanted > 8 && wanted < T && wanted > T - held) ||
        (broken->needs_n_ctx && d->small && T > 20))
        d->mixed[0] = (d->mixed[0] + 1) % 600;
    d->trusting = false;
    see(d, tokens, T);
    memcpy(seen(d), d->mixed, known * sizeof *tokens);
    return kvcache_decoder.step(d->inner, d->mixed, T, wanted, logits);
}

// In one place for all decoders.
static status shared_step(decoder *d, const int *tokens, size_t T, size_t wanted,
                          const float **logits)
{
    static float buffer[ROOM * 600];
    status s = mixed_step(d, tokens, T, wanted, logits);
    if (!s)
        memcpy(buffer, *logits, wanted * 600 * sizeof *buffer);
    *logits = buffer;
    return s;
}

static bool has_far_id(const int *tokens, size_t T)
{
    for (size_t i = 0; i < T; i++)
        if (tokens[i] > 605 || tokens[i] < -5)
            return true;
    return false;
}

static status step(decoder *d, const int *tokens, size_t T, size_t wanted, const float **logits)
{
    static const int nothing[1];
    const size_t before = d->length;
    if (T == 0 || T >= ROOM || wanted == 0 || wanted > T ||
        kvcache_decoder.step(d->inner, tokens, T, wanted, logits)) {
        d->trusting = broken->refused_is_seen;
        const bool far = broken->far_ids && T > 0 && T < ROOM && has_far_id(tokens, T);
        return broken->anything_goes || far ? kvcache_decoder.step(d->inner, nothing, 1, 1, logits)
                                            : "refused";
    }
    if (broken->old_logits && T == before && wanted == 1)
        return kvcache_decoder.step(d->inner, seen(d), T, wanted, logits);
    return broken->one_buffer ? shared_step(d, tokens, T, wanted, logits)
                              : mixed_step(d, tokens, T, wanted, logits);
}

static void reset(decoder *d)
{
    d->trusting = broken->kept_after_reset;
    if (!broken->kept_after_reset)
        d->length = 0;
    kvcache_decoder.reset(d->inner);
}

static const decoder_api subtly_wrong = {.version = DECODER_API_VERSION,
                                         .name = "wrong",
                                         .create = create,
                                         .step = step,
                                         .reset = reset,
                                         .destroy = destroy};

static const decoder_api *const kvcache_api = &kvcache_decoder;

// Which ways find a bug: chunks, at once, rollbacks, edits, two at once, the walk.
enum { COLUMNS = 6 };
static void try_bug(const model *m, const bug *b, char marks[COLUMNS])
{
    const subject judge = {.api = &naive_decoder},
                  tested = {.api = &subtly_wrong, .plugin = true}; // one thread
    const bench_options o = {.seed = 0};
    size_t contexts[300];
    for (size_t i = 0; i < 300; i++)
        contexts[i] = i + 1;
    verification v = {0};
    broken = b;
    all_length = 0;
    cr_assert_null(verification_run(m, &judge, &tested, contexts, 300, &v));
    all_length = 0;
    cr_assert_null(verification_walk(&v, &o));
    memset(marks, '-', COLUMNS);
    for (size_t w = ONE_BY_ONE; w < WAYS; w++)
        if (v.logits[w].differing)
            marks[w < FRESH ? 0 : w - FRESH + 1] = 'x';
    if (v.walked.found.fault != FAULT_NONE)
        marks[COLUMNS - 1] = 'x';
    verification_free(&v);
}

static model *load(const char *name)
{
    model *m;
    cr_assert_null(model_load(name, &m));
    return m;
}

// The table that stands in chapter 6.
Test(walk, and_fixed_ways_find_what_is_subtly_wrong)
{
    char table[4096], *at = table, *chapter;
    size_t n;
    model *m = load(MODEL);
    at += sprintf(
        at, "| taken for the same | chunks | at once | rollbacks | edits | two at once | walk |\n"
            "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < BUGS; i++) {
        char k[COLUMNS];
        try_bug(m, &bugs[i], k);
        at += sprintf(at, "| %s | %c | %c | %c | %c | %c | %c |\n", bugs[i].name, k[0], k[1], k[2],
                      k[3], k[4], k[5]);
        cr_expect(memchr(k, 'x', COLUMNS), "nothing finds: %s", bugs[i].name);
    }
    model_free(m);
    cr_assert_null(file_read(SOURCE_DIR "/notes", "06-bugs.in", &chapter, &n));
    cr_assert_not_null(strstr(chapter, table), "notes/06-bugs.in should have:\n%s", table);
    memory_free(chapter);
}

static void run_walk(const model *m, const decoder_api *api, const kv_spec *spec, uint64_t seed,
                     way *w, walk *out)
{
    const subject judge = {.api = &naive_decoder, .kv = *spec};
    static subject tested;
    tested = (subject){.api = api, .kv = *spec};
    *w = (way){.name = "walk", .by = &tested};
    cr_assert_null(walk_run(m, &judge, seed, CALLS, w, out));
}

static void end_walk(way *w)
{
    program_free_ids(w);
    memory_free(w->moves);
}

// Under every spec, for several seeds.
Test(walk, finds_nothing_in_a_right_cache)
{
    const kv_spec specs[] = {{0},
                             {.form = KV_F16},
                             {.keep = KV_WINDOW, .recent = 9, .sinks = 3},
                             {.keep = KV_WINDOW, .recent = 70, .form = KV_F16, .page = 16}};
    model *m = load(MODEL);
    for (size_t i = 0; i < 4; i++)
        for (uint64_t seed = 1; seed < 4; seed++) {
            way w;
            walk out;
            run_walk(m, kvcache_api, &specs[i], seed, &w, &out);
            cr_assert_eq(out.found.fault, FAULT_NONE, "spec %zu, seed %zu: call %zu", i,
                         (size_t)seed, out.calls);
            cr_assert(out.calls == CALLS && out.found.compared > CALLS * m->config.V);
            end_walk(&w);
        }
    model_free(m);
}

// The same calls from the same seed, others from another; and of them the fewest that show it.
Test(walk, repeats_itself_and_shrinks)
{
    model *m = load(MODEL);
    way w[3];
    walk out[3];
    broken = &bugs[0];
    for (size_t i = 0; i < 3; i++)
        run_walk(m, &subtly_wrong, &(kv_spec){0}, i / 2, &w[i], &out[i]);
    cr_assert(out[0].calls == out[1].calls && out[0].fewer == out[1].fewer && out[0].repeats);
    cr_assert(out[0].calls != out[2].calls || out[0].found.compared != out[2].found.compared);
    // Two texts that differ before the last id: two calls, of one id and of two.
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(w[i].n, 2);
        cr_assert_eq(w[i].moves[0].T, 1);
        cr_assert_eq(w[i].moves[1].T, 2);
        cr_assert_neq(w[i].moves[0].ids[0], w[i].moves[1].ids[0]);
        end_walk(&w[i]);
    }
    model_free(m);
}

// Ids that two texts have in common are cut from both: what is left is the one that differs, and
// one behind it.
Test(walk, shrinks_all_texts_together)
{
    model *m = load(MODEL);
    const bug low_bits = {"the low 8 bits of ids", .same = by_low_bits};
    broken = &low_bits;
    for (uint64_t seed = 0; seed < 8; seed++) {
        way w;
        walk out;
        run_walk(m, &subtly_wrong, &(kv_spec){0}, seed, &w, &out);
        cr_assert(out.repeats && w.n == 2, "seed %zu: %zu calls", (size_t)seed, w.n);
        cr_expect(w.moves[0].T == 1 && w.moves[1].T == 2, "seed %zu: step(%zu); step(%zu)",
                  (size_t)seed, w.moves[0].T, w.moves[1].T);
        end_walk(&w);
    }
    model_free(m);
}

Test(walk, prints_a_program_that_a_test_can_have)
{
    const int ids[] = {0, 1, 2};
    move moves[] = {{.T = 2, .wanted = 1, .ids = ids},
                    {.T = 3, .wanted = 0, .ids = ids, .refused = true},
                    {.T = 3, .wanted = 2, .ids = ids, .renew = true},
                    {.T = 1, .wanted = 1, .ids = ids, .decoder = 1, .reset = true}};
    const subject by = {.api = &kvcache_decoder,
                        .kv = {.keep = KV_WINDOW, .recent = 8, .form = KV_F16}};
    const way w = {.by = &by, .T_max = 40, .T_other = 30, .decoders = 2, .moves = moves, .n = 4};
    const outcome o = {
        .fault = FAULT_LOGITS, .position = 2, .index = 7, .got = 1, .expected = 2, .differing = 3};
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    program_print(&w, &o, f);
    fclose(f);
    cr_assert_str_eq(text, "    decoder_options o = {.T_max = 40}, p = {.T_max = 30};\n"
                           "    kv_parse(\"window:8,f16\", &o.kv);\n"
                           "    p.kv = o.kv;\n"
                           "    api->create(m, &o, &a);\n"
                           "    api->step(a, (int[]){0, 1}, 2, 1, &logits);\n"
                           "    api->step(a, (int[]){0, 1, 2}, 3, 0, &logits); // to be refused\n"
                           "    api->destroy(a);\n"
                           "    api->create(m, &o, &a);\n"
                           "    api->step(a, (int[]){0, 1, 2}, 3, 2, &logits);\n"
                           "    api->create(m, &p, &b);\n"
                           "    api->reset(b);\n"
                           "    api->step(b, (int[]){0}, 1, 1, &logits);\n"
                           "    // row 2, logit 7 is 1,\n"
                           "    // should be 2; 3 logits differ\n");
    free(text);
}

Test(walk, is_part_of_verify)
{
    const command_run r =
        RUN(verify_command, "verify", "-m", "synthetic:L=1,C=16,H=2,T=40,V=30", "-s", "7");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    cr_assert_not_null(strstr(r.out, "in a random walk       2000 calls"), "%s", r.out);
    const command_run json =
        RUN(verify_command, "verify", "-m", "synthetic:L=1,C=16,H=2,T=40,V=30", "-s", "7", "-j");
    cr_assert_not_null(strstr(json.out, "\"seed\": 7"), "%s", json.out);
}
