// The weights of a GPT-2: one table says which tensors there are, one loop streams each of them
// into its place.
#include "common/model/model.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/size.h"
#include "common/model/checkpoint.h"
#include "common/model/pack.h"
#include "common/model/synthetic.h"

enum {
    COLUMNS = 1 << 13, // of a row at a time at most,
    ROWS = 32,         // and rows at least: as many as may share a word, a scale or a panel
    CHUNK = 1 << 17,   // floats read at a time, but for that: half a megabyte stays in the
                       // second-level cache until it is packed
    NAME_SIZE = 64,    // bytes of a tensor's name, with its zero
};

static_assert(ROWS % PANEL_BLOCK == 0 && ROWS % LANES == 0 && COLUMNS % ROWS == 0,
              "what shares a word or a scale is packed at once");

// What a tensor is decides how it is packed, and how large synthetic values are.
typedef enum kind {
    CONV1D,    // (K, N): panels
    TOKENS,    // (N, K): panels, transposed
    POSITIONS, // (rows, columns): rows padded to whole cache lines
    BIAS,      // (columns): one such row
    GAIN,      // (columns): one such row
} kind;

typedef enum extent { ONE, C, QKV, F, V, T } extent;

typedef struct tensor {
    const char *name; // Hugging Face's, without "transformer." and "h.N."
    bool per_layer;
    kind kind;
    extent rows, columns; // as in the file; a vector is one row
    size_t place; // in a layer or the model: of a linear (CONV1D, TOKENS), else of a const float *
} tensor;

// A linear's weight stands before its bias: it sets the linear up, without one.
static const tensor TENSORS[] = {
    {"wte.weight", false, TOKENS, V, C, offsetof(model, wte)},
    {"wpe.weight", false, POSITIONS, T, C, offsetof(model, wpe)},
    {"ln_1.weight", true, GAIN, ONE, C, offsetof(layer, ln1.gain)},
    {"ln_1.bias", true, BIAS, ONE, C, offsetof(layer, ln1.bias)},
    {"attn.c_attn.weight", true, CONV1D, C, QKV, offsetof(layer, qkv)},
    {"attn.c_attn.bias", true, BIAS, ONE, QKV, offsetof(layer, qkv.bias)},
    {"attn.c_proj.weight", true, CONV1D, C, C, offsetof(layer, proj)},
    {"attn.c_proj.bias", true, BIAS, ONE, C, offsetof(layer, proj.bias)},
    {"ln_2.weight", true, GAIN, ONE, C, offsetof(layer, ln2.gain)},
    {"ln_2.bias", true, BIAS, ONE, C, offsetof(layer, ln2.bias)},
    {"mlp.c_fc.weight", true, CONV1D, C, F, offsetof(layer, fc)},
    {"mlp.c_fc.bias", true, BIAS, ONE, F, offsetof(layer, fc.bias)},
    {"mlp.c_proj.weight", true, CONV1D, F, C, offsetof(layer, fcproj)},
    {"mlp.c_proj.bias", true, BIAS, ONE, C, offsetof(layer, fcproj.bias)},
    {"ln_f.weight", false, GAIN, ONE, C, offsetof(model, lnf.gain)},
    {"ln_f.bias", false, BIAS, ONE, C, offsetof(model, lnf.bias)},
    {"lm_head.weight", false, TOKENS, V, C,
     offsetof(model, head)}, // the last: absent when tied to wte
};

enum { TENSOR_KINDS = sizeof TENSORS / sizeof *TENSORS };

// The value of a letter of a shape.
static size_t extent_size(const config *c, extent e)
{
    const size_t sizes[] = {[ONE] = 1,  [C] = c->C, [QKV] = c->C + 2 * config_kv_width(c),
                            [F] = c->F, [V] = c->V, [T] = c->T};
    return sizes[e];
}

static size_t tensor_kinds(bool tied)
{
    return TENSOR_KINDS - (tied ? 1 : 0);
}

static packing packing_of(const tensor *t, const config *c, element of)
{
    return (packing){.as = t->kind == CONV1D   ? PACK_MATRIX
                           : t->kind == TOKENS ? PACK_TRANSPOSED
                                               : PACK_ROWS,
                     .of = of,
                     .rows = extent_size(c, t->rows),
                     .columns = extent_size(c, t->columns)};
}

// A model in the making, and where its numbers come from.
typedef struct loader {
    model *m;
    bool tied;
    checkpoint *file; // NULL: synthetic
    uint64_t seed;
    element generated; // synthetic: what the numbers are rounded to
    float *chunk;      // (chunk_floats)
    uint16_t *narrow;  // as many
    size_t bytes;      // of all weights
    char *unused;      // what is left of the block
} loader;

// The tensor as its file stores it: a matrix (out, in) is packed as the embeddings are.
static tensor as_stored(const tensor *t, const config *c)
{
    tensor stored = *t;
    if (c->transposed && t->kind == CONV1D) {
        stored.kind = TOKENS;
        stored.rows = t->columns;
        stored.columns = t->rows;
    }
    return stored;
}

typedef status visitor(loader *l, const tensor *t, const char *name, size_t layer_index);

static status for_each_tensor(loader *l, visitor *visit)
{
    for (size_t i = 0; i < tensor_kinds(l->tied); i++) {
        const tensor stored = as_stored(&TENSORS[i], &l->m->config), *t = &stored;
        for (size_t n = 0; n < (t->per_layer ? l->m->config.L : 1); n++) {
            char name[NAME_SIZE];
            if (t->per_layer)
                snprintf(name, sizeof name, "h.%zu.%s", n, t->name);
            else
                snprintf(name, sizeof name, "%s", t->name);
            status s = visit(l, t, name, n);
            if (s)
                return s;
        }
    }
    return NULL;
}

static void synthesize(const loader *l, const tensor *t, const char *name, size_t first,
                       size_t count, float *to)
{
    size_t fan_in = extent_size(&l->m->config, t->rows);
    float scale = t->kind == CONV1D ? synthetic_matrix_scale(fan_in)
                  : t->kind == GAIN ? 0x1p-3f
                                    : 0x1p-5f;
    synthetic_fill(name, l->seed, t->kind == GAIN ? 1 : 0, scale, first, count, to);
}

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The exponent of infinities and NaN is all ones: one more step of it, and the sum reaches the
// sign's bit.
static bool all_finite(const float *values, size_t n)
{
    uint32_t overflow = 0;
#pragma omp simd reduction(| : overflow)
    for (size_t i = 0; i < n; i++)
        overflow |= (float_bits(values[i]) & 0x7FFFFFFFu) + 0x00800000u;
    return overflow >> 31 == 0;
}

static status check_finite(const char *path, const char *name, size_t first, size_t n,
                           const float *values)
{
    if (all_finite(values, n))
        return NULL;
    size_t i = 0;
    while (all_finite(&values[i], 1))
        i++;
    return status_fail("%s: tensor %s: element %zu is %f, but weights must be finite: fetch or "
                       "train the model again",
                       path, name, first + i, (double)values[i]);
}

// Where lm_head.weight is the only one of the two, it is wte as well.
static checkpoint_tensor *find_tensor(const checkpoint *file, const char *name)
{
    checkpoint_tensor *t = checkpoint_find(file, name);
    return t || strcmp(name, "wte.weight") != 0 ? t : checkpoint_find(file, "lm_head.weight");
}

// Elements first .. first + count - 1 of a tensor.
static status fetch(loader *l, const tensor *t, const char *name, size_t first, size_t count,
                    float *to)
{
    if (!l->file) {
        synthesize(l, t, name, first, count, to);
        if (l->generated != ELEMENT_F32)
            pack_round(l->generated, to, count, l->narrow);
        return NULL;
    }
    const checkpoint_tensor *from = find_tensor(l->file, name);
    status s = safetensors_read(from->file, from->is, first, count, to);
    return s ? s : check_finite(from->path, name, first, count, to);
}

// A part to the chunk: whole rows lie in one piece in the file.
static status fetch_part(loader *l, const tensor *t, const char *name, const packing *p,
                         pack_part part)
{
    const size_t once = part.columns == p->columns ? part.rows : 1;
    status s = NULL;
    for (size_t i = 0; !s && i < part.rows; i += once)
        s = fetch(l, t, name, (part.row + i) * p->columns + part.column, once * part.columns,
                  l->chunk + i * part.columns);
    return s;
}

// A magnitude that no block of form q8 can hold.
static status too_large(const loader *l, const char *name, size_t i)
{
    return status_fail("%s: tensor %s: %g is among numbers too large for --weights q8: load it "
                       "without",
                       l->m->name, name, (double)l->chunk[i]);
}

// Streams a tensor part by part into its place.
static status stream(loader *l, const tensor *t, const char *name, const packing *p)
{
    const size_t columns_once = size_min(p->columns, COLUMNS),
                 rows_once = size_max(CHUNK / columns_once / ROWS, 1) * ROWS;
    for (size_t row = 0; row < p->rows; row += rows_once)
        for (size_t column = 0; column < p->columns; column += columns_once) {
            const pack_part part = {row, size_min(rows_once, p->rows - row), column,
                                    size_min(columns_once, p->columns - column)};
            status s = fetch_part(l, t, name, p, part);
            if (s)
                return s;
            const size_t packed = pack_values(p, part, l->chunk, l->narrow);
            if (packed < part.rows * part.columns)
                return too_large(l, name, packed);
        }
    return NULL;
}

// As what a tensor's numbers are kept: vectors and positions always as binary32. It is in the file,
// where there is one.
static element kept_as(const loader *l, const tensor *t, const char *name)
{
    if (t->kind != CONV1D && t->kind != TOKENS)
        return ELEMENT_F32;
    if (l->m->weights == MODEL_Q8)
        return ELEMENT_Q8;
    if (!l->file)
        return l->generated;
    return safetensors_element(find_tensor(l->file, name)->is);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

// A tensor that is missing may be there behind a prefix of somebody's own.
static status missing(const checkpoint *file, const char *name)
{
    char dotted[NAME_SIZE + 1];
    const checkpoint_tensor *t;
    snprintf(dotted, sizeof dotted, ".%s", name);
    for (size_t i = 0; (t = checkpoint_at(file, i)) != NULL; i++)
        if (ends_with(t->name, dotted))
            return status_fail("%s: tensor %s is missing, but %.128s is there: save it without its "
                               "prefix",
                               t->path, name, t->is->name);
    return status_fail(
        "%s: tensor %s is missing: fetch the file again, or the config.json that belongs to it",
        checkpoint_path(file), name);
}

static status count_tensor(loader *l, const tensor *t, const char *name, size_t layer_index)
{
    if (!find_tensor(l->file, name))
        return missing(l->file, name);
    const packing p = packing_of(t, &l->m->config, kept_as(l, t, name));
    (void)layer_index; // it is in the name
    l->bytes = size_plus(l->bytes, pack_bytes(&p));
    return NULL;
}

// What all tensors take. Every layer of a synthetic model is as wide as its first.
static status count_bytes(loader *l)
{
    if (l->file)
        return for_each_tensor(l, count_tensor);
    for (const tensor *t = TENSORS; t < TENSORS + tensor_kinds(l->tied); t++) {
        const packing p = packing_of(t, &l->m->config, kept_as(l, t, t->name));
        l->bytes =
            size_plus(l->bytes, size_times(pack_bytes(&p), t->per_layer ? l->m->config.L : 1));
    }
    return NULL;
}

size_t model_packed_bytes(const config *c, bool tied)
{
    model m = {.config = *c};
    loader l = {.m = &m, .tied = tied, .generated = ELEMENT_F32};
    (void)count_bytes(&l); // of a file alone can it fail
    return l.bytes;
}

// Gives a tensor its piece of the block, and fills it.
static status load_tensor(loader *l, const tensor *t, const char *name, size_t layer_index)
{
    char *owner = t->per_layer ? (char *)&l->m->layers[layer_index] : (char *)l->m;
    packing p = packing_of(t, &l->m->config, kept_as(l, t, name));
    pack_begin(&p, l->unused);
    l->unused += pack_bytes(&p);
    if (p.as == PACK_ROWS)
        *(const float **)(void *)(owner + t->place) = p.numbers;
    else
        *(linear *)(void *)(owner + t->place) =
            (linear){.panels = p.numbers,
                     .scales = p.scales,
                     .of = p.of,
                     .K = p.as == PACK_MATRIX ? p.rows : p.columns,
                     .N = p.as == PACK_MATRIX ? p.columns : p.rows};
    return stream(l, t, name, &p);
}

// Prints the sizes of a shape, as "2, 3".
static const char *print_shape(const size_t *shape, size_t rank, char text[NAME_SIZE])
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < rank && n < NAME_SIZE; i++)
        n += (size_t)snprintf(text + n, NAME_SIZE - n, "%s%zu", i ? ", " : "", shape[i]);
    return text;
}

static status misshapen(const char *name, const checkpoint_tensor *found, const size_t *shape,
                        size_t rank)
{
    char is[NAME_SIZE], should_be[NAME_SIZE];
    return status_fail("%s: tensor %s has shape (%s) where config.json asks for (%s): fetch the "
                       "two files that belong together",
                       found->path, name, print_shape(found->is->shape, found->is->rank, is),
                       print_shape(shape, rank, should_be));
}

static status check_tensor(loader *l, const tensor *t, const char *name, size_t layer_index)
{
    (void)layer_index; // it is in the name
    const size_t wanted[] = {extent_size(&l->m->config, t->rows),
                             extent_size(&l->m->config, t->columns)};
    const size_t rank = t->rows == ONE ? 1 : 2;
    const size_t *shape = wanted + (2 - rank);
    checkpoint_tensor *found = find_tensor(l->file, name);
    if (!found)
        return missing(l->file, name);
    if (found->is->rank != rank || memcmp(found->is->shape, shape, rank * sizeof *shape) != 0)
        return misshapen(name, found, shape, rank);
    found->used = true;
    return NULL;
}

// Masks saved beside the weights. Everything else unknown is refused: a GPT-2 with more tensors
// than these (adapters, more layers than config.json says) would compute something else.
static status check_unused(const checkpoint *file)
{
    const checkpoint_tensor *t;
    for (size_t i = 0; (t = checkpoint_at(file, i)) != NULL; i++)
        if (!t->used && !ends_with(t->name, ".attn.bias") &&
            !ends_with(t->name, ".attn.masked_bias"))
            return status_fail("%s: tensor %.128s has no place in the GPT-2 of config.json: use a "
                               "plain GPT-2 checkpoint",
                               t->path, t->is->name);
    return NULL;
}

// The rows of wte decide V, if there are as many as V may be.
static void read_rows(const checkpoint *file, config *c)
{
    const checkpoint_tensor *wte = find_tensor(file, "wte.weight");
    if (wte && wte->is->rank == 2 && wte->is->shape[0] > 0 && wte->is->shape[0] <= CONFIG_LARGEST)
        c->V = wte->is->shape[0];
}

// Whether one tensor serves as wte and as head.
static bool is_tied(const checkpoint *file)
{
    return !checkpoint_find(file, "lm_head.weight") || !checkpoint_find(file, "wte.weight");
}

static status open_directory(loader *l)
{
    bool untied;
    status s = config_read(l->m->name, &l->m->config);
    if (!s)
        s = config_read_untied(l->m->name, &untied);
    if (!s)
        s = checkpoint_open(l->m->name, &l->file);
    if (s)
        return s;
    read_rows(l->file, &l->m->config);
    l->tied = is_tied(l->file);
    if (untied && !checkpoint_find(l->file, "lm_head.weight"))
        return status_fail(
            "%s: \"tie_word_embeddings\" is false in config.json, but lm_head.weight "
            "is missing: fetch the files that belong together",
            checkpoint_path(l->file));
    s = for_each_tensor(l, check_tensor);
    return s ? s : check_unused(l->file);
}

static status open_source(loader *l)
{
    model *m = l->m;
    m->synthetic = config_is_synthetic(m->name);
    if (!m->synthetic)
        return open_directory(l);
    l->tied = true;
    l->generated = config_synthetic_element(m->name);
    return config_parse_synthetic(m->name, &m->config, &l->seed);
}

// Floats of the largest part of a tensor: it is never larger than the whole model.
static size_t chunk_floats(const config *c)
{
    const size_t columns = size_min(COLUMNS, size_max(c->F, c->C + 2 * config_kv_width(c)));
    return size_max(CHUNK, ROWS * columns);
}

static status allocate(loader *l)
{
    model *m = l->m;
    const size_t chunk = chunk_floats(&m->config);
    status s = count_bytes(l);
    m->block_bytes = l->bytes;
    const size_t needed =
        size_plus(size_plus(m->block_bytes, size_times(m->config.L, sizeof *m->layers)),
                  chunk * (sizeof *l->chunk + sizeof *l->narrow));
    if (!s)
        s = quota_check_memory(m->name, needed);
    if (s)
        return s;
    m->layers = memory_array(m->config.L, sizeof *m->layers);
    m->block = memory_block(m->block_bytes);
    l->chunk = memory_array(chunk, sizeof *l->chunk);
    l->narrow = memory_array(chunk, sizeof *l->narrow);
    l->unused = (char *)m->block;
    return m->layers && m->block && l->chunk && l->narrow ? NULL : memory_failed(m->name);
}

static status load(loader *l, const char *name)
{
    l->m->name = memory_array(strlen(name) + 1, 1);
    l->m->label = memory_array(strlen(name) + sizeof MODEL_ROUNDED, 1);
    if (!l->m->name || !l->m->label)
        return memory_failed(name);
    strcpy(l->m->name, name);
    strcpy(l->m->label, name);
    if (l->m->weights == MODEL_Q8)
        strcat(l->m->label, MODEL_ROUNDED);
    status s = open_source(l);
    if (!s)
        s = allocate(l);
    if (!s)
        s = for_each_tensor(l, load_tensor);
    if (!s && l->tied)
        l->m->head = l->m->wte;
    return s;
}

status model_load(const char *name, model **out)
{
    return model_load_as(name, MODEL_AS_STORED, out);
}

status model_load_as(const char *name, model_weights weights, model **out)
{
    *out = NULL;
    loader *l = memory_array(1, sizeof *l);
    if (!l || !(l->m = memory_array(1, sizeof *l->m))) {
        memory_free(l);
        return memory_failed(name);
    }
    l->m->weights = weights;
    status s = load(l, name);
    if (s)
        model_free(l->m);
    else
        *out = l->m;
    checkpoint_close(l->file);
    memory_free(l->narrow);
    memory_free(l->chunk);
    memory_free(l);
    return s;
}

void model_free(model *m)
{
    if (!m)
        return;
    memory_free(m->block);
    memory_free(m->layers);
    memory_free(m->name);
    memory_free(m->label);
    memory_free(m);
}

status model_peek(const char *name, model_weights weights, config *out, size_t *bytes)
{
    model m = {.weights = weights};
    loader l = {.m = &m, .tied = true, .generated = config_synthetic_element(name)};
    const bool synthetic = config_is_synthetic(name);
    status s =
        synthetic ? config_parse_synthetic(name, &m.config, &l.seed) : config_read(name, &m.config);
    if (!s && !synthetic)
        s = checkpoint_open(name, &l.file);
    if (!s && !synthetic) {
        read_rows(l.file, &m.config);
        l.tied = is_tied(l.file);
    }
    if (!s)
        s = count_bytes(&l);
    checkpoint_close(l.file);
    *out = m.config;
    *bytes = l.bytes;
    return s;
}
