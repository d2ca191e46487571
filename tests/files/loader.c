// The loader: packed weights equal the file's numbers, read independently; synthetic weights equal
// their definition.
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/sanitized.h"
#include "common/model/model.h"
#include "common/model/safetensors.h"
#include "tests/support/support.h"

// Where a test finds what a tensor should hold: select one by Hugging Face's name, then ask for its
// elements.
typedef struct source {
    void (*select)(struct source *s, const char *name, const config *c);
    float (*value)(const struct source *s, size_t i);
    support_model *file; // for select_file
    const char *prefix;
    const json_t *header; // for select_raw
    unsigned char *data;
    support_tensor tensor; // the one selected
    uint64_t seed, state;  // for select_synthetic
    double offset, scale;
} source;

static uint32_t bits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static void expect(float is, float should_be, const char *name, size_t i)
{
    cr_assert_eq(bits(is), bits(should_be), "%s, element %zu: %a instead of %a", name, i,
                 (double)is, (double)should_be);
}

static void expect_vector(source *s, const config *c, const char *name, const float *packed,
                          size_t n)
{
    cr_assert_eq((uintptr_t)packed % 64, 0, "%s: not aligned", name);
    s->select(s, name, c);
    for (size_t i = 0; i < padded(n); i++)
        expect(packed[i], i < n ? s->value(s, i) : 0, name, i);
}

static void expect_linear(source *s, const config *c, const char *name, const linear *w, size_t K,
                          size_t N, bool transposed)
{
    cr_assert_eq(w->K, K, "%s: K is %zu", name, w->K);
    cr_assert_eq(w->N, N, "%s: N is %zu", name, w->N);
    cr_assert_eq((uintptr_t)w->panels % 64, 0, "%s: not aligned", name);
    s->select(s, name, c);
    for (size_t n = 0; n < padded(N); n++)
        for (size_t k = 0; k < K; k++) {
            size_t i = transposed ? n * K + k : k * N + n;
            expect(linear_weight(w, k, n), n < N ? s->value(s, i) : 0, name, i);
        }
}

static void expect_layer(source *s, const config *c, size_t n, const layer *l)
{
    char name[64];
    const struct {
        const char *name;
        const linear *w;
        size_t K, N;
    } linears[] = {{"attn.c_attn", &l->qkv, c->C, 3 * c->C},
                   {"attn.c_proj", &l->proj, c->C, c->C},
                   {"mlp.c_fc", &l->fc, c->C, c->F},
                   {"mlp.c_proj", &l->fcproj, c->F, c->C}};
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "h.%zu.%s.weight", n, linears[i].name);
        expect_linear(s, c, name, linears[i].w, linears[i].K, linears[i].N, false);
        snprintf(name, sizeof name, "h.%zu.%s.bias", n, linears[i].name);
        expect_vector(s, c, name, linears[i].w->bias, linears[i].N);
    }
    for (int i = 1; i <= 2; i++) {
        const norm *ln = i == 1 ? &l->ln1 : &l->ln2;
        snprintf(name, sizeof name, "h.%zu.ln_%d.weight", n, i);
        expect_vector(s, c, name, ln->gain, c->C);
        snprintf(name, sizeof name, "h.%zu.ln_%d.bias", n, i);
        expect_vector(s, c, name, ln->bias, c->C);
    }
}

// Every number of the model, padding included.
static void expect_model(source *s, const model *m)
{
    const config *c = &m->config;
    expect_linear(s, c, "wte.weight", &m->wte, c->C, c->V, true);
    s->select(s, "wpe.weight", c);
    for (size_t t = 0; t < c->T; t++)
        for (size_t i = 0; i < padded(c->C); i++)
            expect(m->wpe[t * padded(c->C) + i], i < c->C ? s->value(s, t * c->C + i) : 0,
                   "wpe.weight", t * c->C + i);
    for (size_t n = 0; n < c->L; n++)
        expect_layer(s, c, n, &m->layers[n]);
    expect_vector(s, c, "ln_f.weight", m->lnf.gain, c->C);
    expect_vector(s, c, "ln_f.bias", m->lnf.bias, c->C);
}

static float tensor_value(const source *s, size_t i)
{
    return support_tensor_value(&s->tensor, i);
}

static void select_file(source *s, const char *name, const config *c)
{
    char whole[128];
    (void)c;
    snprintf(whole, sizeof whole, "%s%s", s->prefix, name);
    const support_tensor *t = support_model_find(s->file, whole);
    cr_assert_not_null(t, "no tensor %s in the file", whole);
    s->tensor = *t;
}

static model *load(const char *name)
{
    model *m;
    status s = model_load(name, &m);
    cr_assert_null(s, "%s", s);
    return m;
}

static model *load_file(const support_model *file)
{
    char dir[SUPPORT_PATH];
    support_make_dir(dir);
    support_model_write(file, dir);
    model *m;
    status s = model_load(dir, &m);
    support_remove_dir(dir);
    cr_assert_null(s, "%s", s);
    return m;
}

// Bytes by which a matrix of 16-bit numbers is smaller, two rows of a panel to a word.
static size_t narrower(size_t K, size_t N)
{
    return padded(N) * (K * sizeof(float) - (K + 1) / 2 * sizeof(float));
}

static size_t saved(const config *c, bool narrow)
{
    const size_t C = c->C,
                 each = narrower(C, 3 * C) + narrower(C, C) + narrower(C, c->F) + narrower(c->F, C);
    return narrow ? c->L * each + narrower(C, c->V) : 0;
}

// Loads what support_model_make makes, and compares all of it.
static void expect_packed(config c, const char *dtype, const char *prefix)
{
    support_model *file = support_model_make(c, dtype, prefix);
    model *m = load_file(file);
    source s = {.select = select_file, .value = tensor_value, .file = file, .prefix = prefix};
    expect_model(&s, m);
    cr_assert_eq(m->head.panels, m->wte.panels, "not tied");
    cr_assert_eq(m->block_bytes,
                 model_packed_bytes(&c, true) - saved(&c, strcmp(dtype, "F32") != 0));
    cr_assert_eq(m->config.eps, c.eps);
    model_free(m);
    support_model_free(file);
}

Test(loader, packs_f32)
{
    expect_packed((config){2, 24, 3, 40, 37, 9, 1e-5f, 0, false}, "F32", "");
}

Test(loader, packs_f16_behind_a_prefix)
{
    expect_packed((config){1, 16, 1, 64, 16, 1, 1e-6f, 0, false}, "F16", "transformer.");
}

Test(loader, packs_bf16)
{
    expect_packed((config){3, 1, 1, 5, 1, 2, 1e-5f, 0, false}, "BF16", "");
}

// 2^17 numbers are read at a time: rows longer than that, and more rows than fit.
Test(loader, packs_what_does_not_fit_one_read)
{
    expect_packed((config){1, 3, 1, (2 << 17) + 7, 100001, 50001, 1e-5f, 0, false}, "F32", "");
    expect_packed((config){1, 2, 1, (1 << 17) + 1, 7, 3, 1e-5f, 0, false}, "BF16", "");
}

Test(loader, takes_a_head_of_its_own_and_skips_masks)
{
    config c = {1, 8, 2, 32, 19, 4, 1e-5f, 0, false};
    support_model *file = support_model_make(c, "F32", "transformer.");
    support_model_add(file, "lm_head.weight", "F16", 2, (size_t[]){c.V, c.C});
    support_model_add(file, "transformer.h.0.attn.bias", "U8", 4, (size_t[]){1, 1, c.T, c.T});
    support_model_add(file, "transformer.h.0.attn.masked_bias", "I32", 0, NULL);
    model *m = load_file(file);
    source s = {
        .select = select_file, .value = tensor_value, .file = file, .prefix = "transformer."};
    expect_model(&s, m);
    s.prefix = "";
    expect_linear(&s, &c, "lm_head.weight", &m->head, c.C, c.V, true);
    cr_assert_null(m->head.bias);
    cr_assert_eq(m->block_bytes, model_packed_bytes(&c, false) - narrower(c.C, c.V));
    model_free(m);
    support_model_free(file);
}

Test(loader, takes_the_vocabulary_size_from_wte)
{
    config c = {1, 4, 1, 16, 20, 4, 1e-5f, 0, false};
    support_model *file = support_model_make(c, "F32", "");
    file->config.V = 18;
    model *m = load_file(file);
    cr_assert_eq(m->config.V, 20, "V is %zu", m->config.V);
    model_free(m);
    support_model_free(file);
}

static void select_raw(source *s, const char *name, const config *c)
{
    (void)c;
    const json_t *entry = json_object_get(s->header, name);
    cr_assert_not_null(entry, "no tensor %s in the file", name);
    snprintf(s->tensor.dtype, sizeof s->tensor.dtype, "%s",
             json_string_value(json_object_get(entry, "dtype")));
    s->tensor.data =
        s->data + json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
}

static unsigned char *read_file(const char *dir, const char *name, size_t *n)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "cannot open %s", path);
    cr_assert_eq(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *bytes = malloc(*n);
    cr_assert_eq(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

Test(loader, embedded_model_equals_its_file)
{
    size_t n;
    unsigned char *file = read_file(model_default(), "model.safetensors", &n);
    size_t header_bytes = file[0] + 256u * file[1];
    json_t *header = json_loadb((const char *)file + 8, header_bytes, 0, NULL);
    source s = {.select = select_raw,
                .value = tensor_value,
                .header = header,
                .data = file + 8 + header_bytes};
    model *m = load(model_default());
    const config *c = &m->config;
    cr_assert(c->L == 6 && c->C == 192 && c->H == 3 && c->F == 768 && c->V == 2048 &&
              c->T == 1024 && c->eps == 1e-5f);
    cr_assert_not(m->synthetic);
    expect_model(&s, m);
    model_free(m);
    json_decref(header);
    free(file);
}

Test(loader, digest_is_that_of_the_file)
{
    char hex[65];
    model *m = load(model_default());
    cr_assert_null(model_digest(m, hex));
    cr_assert_str_eq(hex, "9a012ec68b1ae6bed951cfc89b90f67882630a6cf08f5e3711621395e220a173");
    model_free(m);
}

// All bit patterns of a 16-bit type, through the reader; NaN keep sign and payload.
static void expect_widened(const char *dtype, unsigned infinity, int fraction_bits)
{
    enum { ALL = 65536 };
    char dir[SUPPORT_PATH], path[SUPPORT_PATH + 16], header[128];
    static uint16_t patterns[ALL];
    static float values[ALL];
    for (unsigned i = 0; i < ALL; i++)
        patterns[i] = (uint16_t)i;
    support_make_dir(dir);
    snprintf(path, sizeof path, "%s/all", dir);
    snprintf(header, sizeof header,
             "{\"x\":{\"dtype\":\"%s\",\"shape\":[65536],\"data_offsets\":[0,131072]}}", dtype);
    support_write_safetensors(dir, "all", strlen(header), header, patterns, sizeof patterns);
    safetensors *file;
    status s = safetensors_open(path, &file);
    cr_assert_null(s, "%s", s);
    cr_assert_null(safetensors_read(file, safetensors_find(file, "x"), 0, 3, values));
    cr_assert_null(safetensors_read(file, safetensors_find(file, "x"), 3, ALL - 3, values + 3));
    safetensors_close(file);
    support_remove_dir(dir);
    support_tensor t = {.data = (unsigned char *)patterns};
    snprintf(t.dtype, sizeof t.dtype, "%s", dtype);
    for (unsigned i = 0; i < ALL; i++) {
        bool finite = (i & 0x7FFF) < infinity;
        uint32_t special = (i & 0x8000u) << 16 | 0x7F800000u |
                           (i & ((1u << fraction_bits) - 1)) << (23 - fraction_bits);
        uint32_t should_be = finite ? bits(support_tensor_value(&t, i)) : special;
        cr_assert_eq(bits(values[i]), should_be, "%s %04x: %08x instead of %08x", dtype, i,
                     bits(values[i]), should_be);
    }
}

Test(loader, widens_every_f16)
{
    expect_widened("F16", 0x7C00, 10);
}

Test(loader, widens_every_bf16)
{
    expect_widened("BF16", 0x7F80, 7);
}

static bool holds(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void select_synthetic(source *s, const char *name, const config *c)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *p = name; *p; p++)
        hash = (hash ^ (uint64_t)*p) * 1099511628211u;
    s->state = hash ^ s->seed;
    bool gain = holds(name, "ln_") && holds(name, ".weight"),
         matrix = holds(name, ".c_") && holds(name, ".weight");
    s->offset = gain ? 1 : 0;
    int e = gain ? 3 : 5;
    if (matrix)
        for (e = 0; 4 * pow(4, e) < (double)(holds(name, "mlp.c_proj") ? c->F : c->C);)
            e++;
    s->scale = ldexp(1, -e);
}

static float synthetic_value(const source *s, size_t i)
{
    uint64_t z = s->state + i + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (float)(s->offset + ((double)(z >> 40) - 8388608) / 8388608 * s->scale);
}

static void expect_synthetic(const char *name, config c, uint64_t seed)
{
    source s = {.select = select_synthetic, .value = synthetic_value, .seed = seed};
    model *m = load(name);
    cr_assert(m->synthetic);
    cr_assert_str_eq(m->name, name);
    const config *is = &m->config;
    cr_assert(is->L == c.L && is->C == c.C && is->H == c.H && is->F == c.F && is->V == c.V &&
              is->T == c.T && is->eps == c.eps);
    cr_assert_eq(m->head.panels, m->wte.panels, "not tied");
    expect_model(&s, m);
    model_free(m);
}

Test(loader, synthetic_weights_equal_their_definition)
{
    expect_synthetic("synthetic:L=2,C=20,H=5,T=7,V=33,F=65,seed=18446744073709551615",
                     (config){2, 20, 5, 65, 33, 7, 1e-5f, 0, false}, UINT64_MAX);
    expect_synthetic("synthetic:T=3,V=2,H=1,C=17,L=1",
                     (config){1, 17, 1, 68, 2, 3, 1e-5f, 0, false}, 0);
    // Fan-ins that are powers of 4, where the scale changes.
    expect_synthetic("synthetic:L=1,C=16,H=1,V=3,T=2",
                     (config){1, 16, 1, 64, 3, 2, 1e-5f, 0, false}, 0);
    expect_synthetic("synthetic:T=1,V=1,H=1,C=1,L=1,F=1,seed=0",
                     (config){1, 1, 1, 1, 1, 1, 1e-5f, 0, false}, 0);
}

// Its first element by hand: fnv1a64 and splitmix64 as published, so that the test above cannot
// share a mistake with the code.
Test(loader, synthetic_hash_is_the_published_one)
{
    source s = {.seed = 0};
    select_synthetic(&s, "a", &(config){0});
    cr_assert_eq(s.state, 0xAF63DC4C8601EC8Cu, "fnv1a64(\"a\") is %llx",
                 (unsigned long long)s.state);
    s.state = 0; // splitmix64 begins with e220a8397b1dcdaf from state 0
    s.offset = 0;
    s.scale = 1;
    cr_assert_eq((double)synthetic_value(&s, 0), (double)(0xE220A8 - 0x800000) / 0x800000);
}

static void expect_config(const char *name, config c, uint64_t seed)
{
    config is;
    uint64_t is_seed;
    status s = config_parse_synthetic(name, &is, &is_seed);
    cr_assert_null(s, "%s", s);
    cr_assert(is.L == c.L && is.C == c.C && is.H == c.H && is.F == c.F && is.V == c.V &&
                  is.T == c.T && is.eps == 1e-5f,
              "%s: L=%zu C=%zu H=%zu F=%zu V=%zu T=%zu", name, is.L, is.C, is.H, is.F, is.V, is.T);
    cr_assert_eq(is_seed, seed);
}

Test(loader, synthetic_names)
{
    expect_config("synthetic:124M", (config){12, 768, 12, 3072, 50257, 1024, 0, 0, false}, 0);
    expect_config("synthetic:355M", (config){24, 1024, 16, 4096, 50257, 1024, 0, 0, false}, 0);
    expect_config("synthetic:774M", (config){36, 1280, 20, 5120, 50257, 1024, 0, 0, false}, 0);
    expect_config("synthetic:1558M", (config){48, 1600, 25, 6400, 50257, 1024, 0, 0, false}, 0);
    expect_config("synthetic:seed=7", (config){12, 768, 12, 3072, 50257, 1024, 0, 0, false}, 7);
    expect_config("synthetic:L=4,C=64,H=1,T=8192,V=256,seed=1",
                  (config){4, 64, 1, 256, 256, 8192, 0, 0, false}, 1);
    expect_config("synthetic:F=16777216,T=16777216",
                  (config){12, 768, 12, 16777216, 50257, 16777216, 0, 0, false}, 0);
}

static void digest_of(const char *name, char hex[65])
{
    model *m = load(name);
    cr_assert_null(model_digest(m, hex));
    model_free(m);
}

Test(loader, synthetic_digest_names_the_weights)
{
    char a[65], b[65], other[65];
    digest_of("synthetic:L=1,C=8,H=2,T=4,V=5", a);
    digest_of("synthetic:V=5,T=4,H=2,C=8,L=1,F=32,seed=0", b);
    digest_of("synthetic:L=1,C=8,H=2,T=4,V=5,seed=1", other);
    cr_assert_str_eq(a, b);
    cr_assert_str_neq(a, other);
    // printf 'synthetic:L=1,C=8,H=2,F=32,V=5,T=4,seed=0' | sha256sum
    cr_assert_str_eq(a, "0d02aa6729bceb00437ea6fa27d21aff3c50ce791cbfd350285d2913b071cea6");
}

// 124 439 808 numbers, and the padding of 50257 tokens to 50272 and nothing else.
Test(loader, predicts_the_packed_bytes)
{
    config c = {12, 768, 12, 3072, 50257, 1024, 1e-5f, 0, false};
    cr_assert_eq(model_packed_bytes(&c, true), 4u * (124439808u + 15 * 768));
    cr_assert_eq(model_packed_bytes(&c, false), model_packed_bytes(&c, true) + 4u * 50272 * 768);
    c = (config){1 << 24, 1 << 24, 1, 1 << 26, 1 << 24, 1 << 24, 1e-5f, 0, false};
    cr_assert_eq(model_packed_bytes(&c, true), SIZE_MAX, "wraps around");
}

// The file descriptor that the next open will get: higher after a leak.
static int next_descriptor(void)
{
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

// Each allocation fails in turn; leaked memory is the sanitizer's business.
static void expect_clean_failures(const char *name)
{
    const int descriptor = next_descriptor();
    for (size_t n = 1;; n++) {
        model *m = (model *)1;
        memory_fail_at(n);
        status s = model_load(name, &m);
        memory_fail_at(0);
        if (!s) {
            cr_assert_gt(n, 4, "only %zu allocations seen", n - 1);
            model_free(m);
            return;
        }
        cr_assert_null(m, "allocation %zu: a model after a failure", n);
        cr_assert_eq(next_descriptor(), descriptor,
                     "allocation %zu: its failure leaves a file open", n);
        support_assert_refused(s, "out of memory");
    }
}

Test(loader, survives_every_failing_allocation)
{
    char dir[SUPPORT_PATH];
    support_model *file =
        support_model_make((config){1, 4, 1, 16, 6, 2, 1e-5f, 0, false}, "F16", "");
    support_make_dir(dir);
    support_model_write(file, dir);
    expect_clean_failures(dir);
    expect_clean_failures("synthetic:L=1,C=8,H=2,T=4,V=5");
    support_remove_dir(dir);
    support_model_free(file);
}

// The largest resident size, in KiB, of a child process that loads `name` (or nothing).
static long peak_kib(const char *name)
{
    int outcome;
    struct rusage usage;
    pid_t child = fork();
    if (child == 0) {
        model *m;
        _exit(name && model_load(name, &m) ? 1 : 0);
    }
    cr_assert_eq(wait4(child, &outcome, 0, &usage), child);
    cr_assert_eq(outcome, 0, "the child could not load %s", name);
#ifdef __APPLE__
    return usage.ru_maxrss / 1024; // which counts in bytes
#else
    return usage.ru_maxrss;
#endif
}

Test(loader, peaks_at_little_more_than_the_packed_weights)
{
    config c = {2, 512, 8, 2048, 40000, 64, 1e-5f, 0, false};
    char dir[SUPPORT_PATH];
    support_model *file = support_model_make(c, "BF16", "");
    support_make_dir(dir);
    support_model_write(file, dir);
    support_model_free(file);
    double file_kib = (double)model_packed_bytes(&c, true) / 2 / 1024;
    double kib = (double)(peak_kib(dir) - peak_kib(NULL));
    support_remove_dir(dir);
    cr_assert_lt(kib, (SANITIZED ? 1.3 : 1.15) * file_kib,
                 "%.0f KiB for %.0f KiB of 16-bit weights", kib, file_kib);
}
