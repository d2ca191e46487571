// Snapshots: what is restored is what computing it again gives, in every bit and without a row
// computed twice; what is not whole, or another's, is refused; and whatever ends the program, the
// file is the old one or the new one.
#include "kvcache/snapshot/snapshot.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/model/safetensors.h"
#include "kvcache/kvcache.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

TestSuite(snapshot, .init = support_enter_folder, .fini = support_leave_folder);

#define FILE_NAME "a.state"
#define DIGEST "0123456789abcdef"
enum { KINDS = 2 };

static void expect(status s)
{
    cr_assert_null(s, "%s", s);
}

static void step(decoder *d, const int *ids, size_t T)
{
    const float *logits;
    expect(kvcache_decoder.step(d, ids, T, 1, &logits));
}

static size_t load(decoder *d)
{
    size_t tokens;
    expect(snapshot_load(d, DIGEST, FILE_NAME, &tokens));
    return tokens;
}

// What both decoders hold is the same, bit for bit.
static void check_same_kv(const life *x, size_t T)
{
    float k[2][12], v[2][12];
    cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), kvcache_decoder.bytes(x->cached[1]), "%s",
                 x->what);
    for (size_t i = 0; i < 6 * T; i++) {
        const size_t l = i / T / 2, g = i / T % 2, t = i % T;
        const bool held = kvcache_decoder.holds(x->cached[0], l, g, t);
        cr_assert_eq(kvcache_decoder.holds(x->cached[1], l, g, t), held, "%s: %zu", x->what, t);
        for (size_t who = 0; held && who < 2; who++)
            expect(kvcache_decoder.read_kv(x->cached[who], l, g, t, k[who], v[who]));
        cr_assert(!held || memcmp(k[0], k[1], sizeof k[0]) == 0, "%s: key %zu", x->what, t);
        cr_assert(!held || memcmp(v[0], v[1], sizeof v[0]) == 0, "%s: value %zu", x->what, t);
    }
}

// Saved by one decoder after T tokens, loaded by the other: K and V, then the logits of naive with
// three rows computed for three more tokens, and another text, behind them and behind the load.
static void check_round_trip(life *x, size_t T, bool hidden)
{
    life_check(x, 0, x->texts[0], T, 1);
    expect(snapshot_save(x->cached[0], DIGEST, hidden, FILE_NAME));
    cr_assert_eq(load(x->cached[1]), T);
    check_same_kv(x, T);
    const size_t computed = snapshot.computed(x->cached[1]);
    cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], T + 3, 2), 3, "%s: %zu tokens", x->what, T);
    cr_assert_eq(snapshot.computed(x->cached[1]) - computed, 3);
    life_check_held(x, 1, T + 3);
    life_check(x, 1, x->texts[2], T, 1);
    cr_assert_eq(load(x->cached[1]), T);
    life_check(x, 1, x->texts[2], T, 1);
}

Test(snapshot, a_restored_decoder_is_the_one_that_was_saved)
{
    static const struct {
        const char *spec;
        int first; // kind: 1 where keys and values come with scales
    } specs[] = {{"all", 0},
                 {"f16", 0},
                 {"bf16", 0},
                 {"fp8", 0},
                 {"window:7", 0},
                 {"window:20+4,f16", 0},
                 {"window:20+4,fp8", 0},
                 {"file:.", 0},
                 {"bf16,file:.", 0},
                 {"q8", 1},
                 {"window:20+4,q4", 1},
                 {"kivi4:32", 1},
                 {"window:20+4,kivi2:16", 1},
                 {"kivi2:16,file:.", 1}};
    static const size_t lengths[] = {1, 15, 16, 17, 64, 65, 130, 227};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (size_t P = 16; P <= 64; P *= 4) {
            life *x = life_begin(specs[i].spec, P, false);
            for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++)
                for (int hidden = specs[i].first; hidden < KINDS; hidden++)
                    check_round_trip(x, lengths[j], hidden);
            life_end(x);
        }
}

Test(snapshot, a_text_that_parts_from_the_saved_one_uses_the_common_prefix)
{
    for (int hidden = 0; hidden < KINDS; hidden++) {
        life *x = life_begin("all", 16, false);
        life_check(x, 0, x->texts[0], 200, 1);
        expect(snapshot_save(x->cached[0], DIGEST, hidden, FILE_NAME));
        for (size_t i = 1; i < LIFE_TEXTS; i++) {
            static const size_t common[LIFE_TEXTS] = {0, 20, 70, 140};
            cr_assert_eq(load(x->cached[1]), 200);
            cr_assert_eq(life_rows_of_step(x, 1, x->texts[i], 210, 1), 210 - common[i]);
        }
        cr_assert_eq(load(x->cached[1]), 200);
        cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], 150, 1), 1); // the last, for its logits
        life_end(x);
    }
}

// What the file must be, read without the snapshot's own code: a safetensors file, layer by layer
// the keys and values of the decoder, and the hash of all bytes but its own.
static const safetensor *find(const safetensors *file, const char *name, size_t rank, size_t T)
{
    const safetensor *t = safetensors_find(file, name);
    cr_assert_not_null(t, "no tensor %s", name);
    cr_assert_eq(t->rank, rank);
    cr_assert_eq(t->shape[rank - 2], T);
    return t;
}

static void check_kv_tensors(const life *x, size_t T)
{
    safetensors *file;
    float stored[2 * 40 * 12], k[12], v[12];
    char name[64];
    expect(safetensors_open(FILE_NAME, &file));
    for (size_t l = 0; l < 3; l++)
        for (int values = 0; values < 2; values++) {
            snprintf(name, sizeof name, "layer.%zu.%c", l, values ? 'v' : 'k');
            const safetensor *t = find(file, name, 3, T);
            expect(safetensors_read(file, t, 0, 2 * T * 12, stored));
            for (size_t i = 0; i < 2 * T; i++) {
                expect(kvcache_decoder.read_kv(x->cached[0], l, i / T, i % T, k, v));
                cr_assert_eq(memcmp(stored + i * 12, values ? v : k, sizeof k), 0, "%s row %zu",
                             name, i);
            }
        }
    safetensors_close(file);
}

typedef struct inputs {
    float x[40][48]; // of layer 0
} inputs;

static void see_embedded(void *user, stage s, int l, int head, size_t t, const float *values,
                         size_t n)
{
    (void)l, (void)head;
    if (s == STAGE_EMBED)
        memcpy(((inputs *)user)->x[t], values, n * sizeof *values);
}

static void check_hidden_tensors(life *x, size_t T)
{
    safetensors *file;
    inputs embedded;
    float stored[40 * 48];
    kvcache_decoder.reset(x->cached[1]);
    kvcache_decoder.observe(x->cached[1], see_embedded, &embedded);
    step(x->cached[1], x->texts[0], T);
    kvcache_decoder.observe(x->cached[1], NULL, NULL);
    expect(safetensors_open(FILE_NAME, &file));
    for (size_t l = 3; l-- > 0;) {
        char name[64];
        snprintf(name, sizeof name, "layer.%zu.hidden", l);
        expect(safetensors_read(file, find(file, name, 2, T), 0, T * 48, stored));
    }
    cr_assert_eq(memcmp(stored, embedded.x, sizeof *embedded.x * T), 0,
                 "layer 0 takes what is embedded");
    safetensors_close(file);
}

static void check_hash(void)
{
    size_t n;
    char *file = support_read(".", FILE_NAME, &n), said[33] = "", hash[33];
    char *at = strstr(file + 8, "\"xxh3_128\":\"") + strlen("\"xxh3_128\":\"");
    memcpy(said, at, 32);
    memset(at, '0', 32);
    const XXH128_hash_t h = XXH3_128bits(file, n);
    snprintf(hash, sizeof hash, "%016llx%016llx", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
    cr_assert_str_eq(said, hash);
    free(file);
}

Test(snapshot, the_file_is_safetensors_and_its_hash_covers_every_other_byte)
{
    life *x = life_begin("all", 16, false);
    step(x->cached[0], x->texts[0], 40);
    expect(snapshot_save(x->cached[0], DIGEST, false, FILE_NAME));
    check_kv_tensors(x, 40);
    check_hash();
    expect(snapshot_save(x->cached[0], DIGEST, true, FILE_NAME));
    check_hidden_tensors(x, 40);
    check_hash();
    life_end(x);
}

// ---- what is refused ----

static void assert_load_refused(decoder *d, const char *digest, const char *parts)
{
    size_t tokens = 1;
    support_assert_refused(snapshot_load(d, digest, FILE_NAME, &tokens), parts);
    cr_assert_eq(tokens, 0);
    cr_assert_eq(kvcache_decoder.bytes(d), 0, "a refused snapshot leaves rows");
}

// A decoder that has seen 5 tokens of a model with two layers.
static decoder *make_small(const char *name, const char *spec, size_t T_max, model **m)
{
    static const int ids[] = {3, 1, 4, 1, 2};
    decoder *d;
    expect(model_load(name, m));
    decoder_options o = {.T_max = T_max};
    expect(kv_parse(spec, &o.kv));
    expect(kvcache_decoder.create(*m, &o, &d));
    step(d, ids, 5);
    return d;
}

#define SMALL "synthetic:L=2,C=6,H=2,T=8,V=5,F=3"

// An infinite input has keys that fp16 cannot hold: it is the file's damage, not the form's.
Test(snapshot, damage_that_a_form_cannot_hold_is_damage)
{
    model *m;
    size_t n, tokens;
    const float infinite = INFINITY;
    decoder *d = make_small(SMALL, "f16", 8, &m);
    expect(snapshot_save(d, DIGEST, true, FILE_NAME));
    char *whole = support_read(".", FILE_NAME, &n);
    memcpy(whole + n - sizeof infinite, &infinite, sizeof infinite);
    support_write(".", FILE_NAME, whole, n);
    support_assert_refused(snapshot_load(d, DIGEST, FILE_NAME, &tokens),
                           FILE_NAME "|its bytes are not those that were saved");
    free(whole);
    kvcache_decoder.destroy(d);
    model_free(m);
}

Test(snapshot, every_flipped_missing_or_further_byte_is_refused)
{
    for (int hidden = 0; hidden < KINDS; hidden++) {
        model *m;
        size_t n;
        decoder *d = make_small(SMALL, "all", 8, &m);
        expect(snapshot_save(d, DIGEST, hidden, FILE_NAME));
        char *whole = support_read(".", FILE_NAME, &n);
        for (size_t i = 0; i < n; i++)
            for (int bit = 0; bit < 8; bit++) {
                whole[i] = (char)(whole[i] ^ 1 << bit);
                support_write(".", FILE_NAME, whole, n);
                assert_load_refused(d, DIGEST, FILE_NAME);
                whole[i] = (char)(whole[i] ^ 1 << bit);
            }
        for (size_t some = 0; some < n; some++) {
            support_write(".", FILE_NAME, whole, some);
            assert_load_refused(d, DIGEST, FILE_NAME);
        }
        support_write(".", FILE_NAME, whole, n + 1); // support_read's zero
        assert_load_refused(d, DIGEST, FILE_NAME "|appended|save it anew");
        support_write(".", FILE_NAME, whole, n);
        cr_assert_eq(load(d), 5);
        free(whole);
        kvcache_decoder.destroy(d);
        model_free(m);
    }
}

static void check_other(const char *name, const char *spec, size_t T_max, const char *digest,
                        const char *parts)
{
    model *m;
    decoder *d = make_small(name, spec, T_max, &m);
    assert_load_refused(d, digest, parts);
    kvcache_decoder.destroy(d);
    model_free(m);
}

Test(snapshot, another_models_specs_or_contexts_is_refused_by_name)
{
    model *m;
    size_t tokens;
    decoder *d = make_small(SMALL, "all", 8, &m);
    expect(snapshot_save(d, DIGEST, false, FILE_NAME));
    check_other(SMALL, "all", 8, "another", FILE_NAME "|model|another|" DIGEST "|load it with");
    check_other("synthetic:L=2,C=6,H=3,T=8,V=5,F=3", "all", 8, DIGEST, "config|H=2|H=3");
    check_other("synthetic:L=2,C=6,H=2,G=1,T=8,V=5,F=3", "all", 8, DIGEST, "config|G=2|G=1");
    check_other(SMALL, "f16", 8, DIGEST, "spec is 'all'|f16|--kv");
    check_other(SMALL, "window:3", 8, DIGEST, "spec is 'all'|window:3|--kv");
    check_other(SMALL, "heavy:2+2", 8, DIGEST, "spec is 'all'|heavy:2+2|--kv");
    support_assert_refused(snapshot_load(d, DIGEST, "none", &tokens),
                           "none|No such file|--save-state");
    const int longer[] = {3, 1, 4, 1, 2, 0, 1};
    step(d, longer, 7);
    expect(snapshot_save(d, DIGEST, false, FILE_NAME));
    check_other(SMALL, "all", 6, DIGEST, "7 tokens|context of 6");
    support_assert_refused(snapshot_load(d, DIGEST, ".", &tokens), "regular file");
    step(d, longer, 7);
    support_assert_refused(snapshot_save(d, DIGEST, false, "."), "regular file");
    support_assert_refused(snapshot_save(d, DIGEST, false, "no/where"), "no/where|No such file");
    kvcache_decoder.reset(d);
    support_assert_refused(snapshot_save(d, DIGEST, false, FILE_NAME), "nothing|generate");
    kvcache_decoder.destroy(d);
    model_free(m);
}

Test(snapshot, heavy_is_refused_in_both_kinds)
{
    model *m;
    decoder *d = make_small(SMALL, "heavy:2+2", 8, &m);
    for (int hidden = 0; hidden < KINDS; hidden++)
        support_assert_refused(snapshot_save(d, DIGEST, hidden, FILE_NAME),
                               "heavy:2+2|scores|window");
    kvcache_decoder.destroy(d);
    model_free(m);
}

Test(snapshot, a_window_of_groups_that_pages_cut_is_refused)
{
    life *x = life_begin("window:20+4,kivi2:32", 16, false);
    step(x->cached[0], x->texts[0], 100);
    support_assert_refused(snapshot_save(x->cached[0], DIGEST, true, FILE_NAME),
                           "window:20+4,kivi2|pages of 16|groups of 32|multiple");
    cr_assert_eq(support_count("."), 0);
    life_end(x);
}

// Keys and values with scales have no tensors of their own: their layers' inputs are the cure.
Test(snapshot, forms_with_scales_are_saved_as_hidden_states_only)
{
    static const char *const specs[] = {"q8", "q4", "kivi4:16", "window:3,kivi2:16"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        model *m;
        decoder *d = make_small(SMALL, specs[i], 8, &m);
        char parts[128];
        snprintf(parts, sizeof parts, "--save-state|%s|scales|" FILE_NAME ",hidden", specs[i]);
        support_assert_refused(snapshot_save(d, DIGEST, false, FILE_NAME), parts);
        cr_assert_eq(support_count("."), 0);
        expect(snapshot_save(d, DIGEST, true, FILE_NAME));
        cr_assert_eq(load(d), 5);
        remove(FILE_NAME);
        kvcache_decoder.destroy(d);
        model_free(m);
    }
}

// ---- what ends a save ----

Test(snapshot, failing_allocations_leave_the_old_file_and_an_empty_decoder)
{
    model *m;
    for (int hidden = 0; hidden < KINDS; hidden++) {
        decoder *d = make_small(SMALL, "all", 8, &m);
        expect(snapshot_save(d, DIGEST, hidden, FILE_NAME));
        status s = "";
        for (size_t n = 1; s; n++) {
            memory_fail_at(n);
            s = snapshot_save(d, DIGEST, hidden, FILE_NAME);
            memory_fail_at(0);
            if (s)
                support_assert_refused(s, "out of memory");
            cr_assert_eq(support_count("."), 1, "allocation %zu", n);
            cr_assert_lt(n, 200);
        }
        s = "";
        for (size_t n = 1, tokens; s; n++) {
            memory_fail_at(n);
            s = snapshot_load(d, DIGEST, FILE_NAME, &tokens);
            memory_fail_at(0);
            if (s)
                assert_load_refused(d, "another", "model");
            cr_assert_lt(n, 200);
        }
        cr_assert_gt(kvcache_decoder.bytes(d), 0);
        kvcache_decoder.destroy(d);
        model_free(m);
    }
}

// A disk that is full after so many bytes.
static void limit_files(rlim_t bytes)
{
    struct rlimit most;
    getrlimit(RLIMIT_FSIZE, &most);
    most.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &most), 0);
}

Test(snapshot, a_full_disk_leaves_the_old_file)
{
    model *m;
    size_t n, m2;
    decoder *d = make_small(SMALL, "all", 8, &m);
    expect(snapshot_save(d, DIGEST, false, FILE_NAME));
    char *old = support_read(".", FILE_NAME, &n);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t room = 0; room < n; room += 97) {
        limit_files(room);
        const status s = snapshot_save(d, DIGEST, false, FILE_NAME);
        limit_files(RLIM_INFINITY);
        support_assert_refused(s, FILE_NAME "|cannot write|free some space");
        char *now = support_read(".", FILE_NAME, &m2);
        cr_assert(m2 == n && memcmp(now, old, n) == 0);
        cr_assert_eq(support_count("."), 1, "%zu bytes", room);
        free(now);
    }
    free(old);
    kvcache_decoder.destroy(d);
    model_free(m);
}

// Says by a byte that the first save is done.
static void save_for_ever(decoder *const d[2], int ready)
{
    for (size_t i = 0;; i++) {
        expect(snapshot_save(d[i % 2], DIGEST, false, FILE_NAME));
        if (i == 0)
            cr_assert_eq(write(ready, "", 1), 1);
    }
}

// A child saves 100 and 200 tokens in turn, and is killed: the file is one of both, whole.
Test(snapshot, killed_at_any_moment_the_file_is_the_old_or_the_new)
{
    enum { KILLS = 60 };
    life *x = life_begin("all", 16, false);
    size_t seen[2] = {0};
    decoder *const d[2] = {x->cached[0], life_make(&kvcache_decoder, x)};
    step(d[0], x->texts[0], 200);
    step(d[1], x->texts[0], 100);
    for (size_t i = 0; i < KILLS; i++) {
        int ready[2];
        char byte;
        cr_assert_eq(pipe(ready), 0);
        const pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
            save_for_ever(d, ready[1]);
        close(ready[1]);
        cr_assert_eq(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        usleep((useconds_t)life_below(x, 5000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        const size_t tokens = load(x->cached[1]);
        cr_assert(tokens == 100 || tokens == 200, "%zu tokens", tokens);
        seen[tokens / 200]++;
        cr_assert_eq(life_rows_of_step(x, 1, x->texts[0], tokens + 1, 1), 1);
    }
    cr_assert_gt(support_count("."), 1, "no kill came while a file was being written");
    cr_assert(seen[0] > 0 && seen[1] > 0);
    kvcache_decoder.destroy(d[1]);
    life_end(x);
}
