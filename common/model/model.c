// The weights of a GPT-2: one table says which tensors there are, one loop streams each of them
// into its place.
#include "common/model/model.h"

#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/model/checkpoint.h"
#include "common/model/synthetic.h"

enum {
    CHUNK = 1 << 17, // floats read at a time: half a megabyte stays in the second-level cache until
                     // it is packed
    NAME_SIZE = 64,  // bytes of a tensor's name, with its zero
};

// What a tensor is decides how it is packed, and how large synthetic values are.
typedef enum kind {
    CONV1D,    // (K, N): panels
    TOKENS,    // (N, K): panels, transposed
    POSITIONS, // (rows, columns): rows padded to whole cache lines
    BIAS,      // (columns): one such row
    GAIN,      // (columns): one such row
} kind;

typedef enum extent { ONE, C, C3, F, V, T } extent;

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
    {"attn.c_attn.weight", true, CONV1D, C, C3, offsetof(layer, qkv)},
    {"attn.c_attn.bias", true, BIAS, ONE, C3, offsetof(layer, qkv.bias)},
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
    const size_t sizes[] = {
        [ONE] = 1, [C] = c->C, [C3] = 3 * c->C, [F] = c->F, [V] = c->V, [T] = c->T};
    return sizes[e];
}

static size_t tensor_kinds(bool tied)
{
    return TENSOR_KINDS - (tied ? 1 : 0);
}

// Floats a tensor takes when packed: always whole cache lines.
static size_t packed_floats(const tensor *t, const config *c)
{
    size_t rows = extent_size(c, t->rows), columns = extent_size(c, t->columns);
    return t->kind == TOKENS ? size_times(padded(rows), columns)
                             : size_times(rows, padded(columns));
}

size_t model_packed_bytes(const config *c, bool tied)
{
    size_t floats = 0;
    for (size_t i = 0; i < tensor_kinds(tied); i++)
        floats = size_plus(
            floats, size_times(packed_floats(&TENSORS[i], c), TENSORS[i].per_layer ? c->L : 1));
    return size_times(floats, sizeof(float));
}

// A model in the making, and where its numbers come from.
typedef struct loader {
    model *m;
    bool tied;
    checkpoint *file; // NULL: synthetic
    uint64_t seed;
    float *chunk;  // (CHUNK)
    float *unused; // what is left of the block
} loader;

typedef status visitor(loader *l, const tensor *t, const char *name, size_t layer_index);

static status for_each_tensor(loader *l, visitor *visit)
{
    for (size_t i = 0; i < tensor_kinds(l->tied); i++) {
        const tensor *t = &TENSORS[i];
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

// A piece of a tensor that lies in one piece in the file: whole rows, or a part of one row.
typedef struct rectangle {
    size_t row, rows, column, columns;
} rectangle;

// `width` floats and zeros up to a whole cache line.
static inline void copy_lanes(float *to, const float *from, size_t width)
{
    if (width == LANES) {
        memcpy(to, from, LANES * sizeof *to); // of constant size: one instruction
        return;
    }
    memcpy(to, from, width * sizeof *to);
    memset(to + width, 0, (LANES - width) * sizeof *to);
}

// Row k of a (K, N) matrix is row k of every panel.
static void pack_conv1d(float *panels, size_t K, rectangle r, const float *values)
{
    for (size_t c = 0; c < r.columns; c += LANES) {
        float *to = panels + ((r.column + c) / LANES * K + r.row) * LANES;
        for (size_t i = 0; i < r.rows; i++)
            copy_lanes(to + i * LANES, values + i * r.columns + c, size_min(LANES, r.columns - c));
    }
}

// Row v of an (N, K) matrix is lane v % 16 of panel v / 16.
static void pack_tokens(float *panels, size_t K, rectangle r, const float *values)
{
    for (size_t i = 0, lanes; i < r.rows; i += lanes) {
        size_t v = r.row + i;
        float *to = panels + (v / LANES * K + r.column) * LANES + v % LANES;
        lanes = size_min(LANES - v % LANES, r.rows - i);
        for (size_t k = 0; k < r.columns; k++)
            for (size_t lane = 0; lane < lanes; lane++)
                to[k * LANES + lane] = values[(i + lane) * r.columns + k];
    }
}

// Rows stay rows, `stride` floats apart.
static void pack_rows(float *rows, size_t stride, rectangle r, const float *values)
{
    for (size_t i = 0; i < r.rows; i++)
        for (size_t c = 0; c < r.columns; c += LANES)
            copy_lanes(rows + (r.row + i) * stride + r.column + c, values + i * r.columns + c,
                       size_min(LANES, r.columns - c));
}

static void pack(const tensor *t, size_t rows, size_t columns, float *to, rectangle r,
                 const float *values)
{
    if (t->kind == CONV1D)
        pack_conv1d(to, rows, r, values);
    else if (t->kind == TOKENS)
        pack_tokens(to, columns, r, values);
    else
        pack_rows(to, padded(columns), r, values);
}

static void synthesize(const loader *l, const tensor *t, const char *name, size_t first,
                       size_t count)
{
    size_t fan_in = extent_size(&l->m->config, t->rows);
    float scale = t->kind == CONV1D ? synthetic_matrix_scale(fan_in)
                  : t->kind == GAIN ? 0x1p-3f
                                    : 0x1p-5f;
    synthetic_fill(name, l->seed, t->kind == GAIN ? 1 : 0, scale, first, count, l->chunk);
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

static status check_finite(const loader *l, const char *path, const char *name, size_t first,
                           size_t n)
{
    if (all_finite(l->chunk, n))
        return NULL;
    size_t i = 0;
    while (all_finite(&l->chunk[i], 1))
        i++;
    return status_fail("%s: tensor %s: element %zu is %f, but weights must be finite: fetch or "
                       "train the model again",
                       path, name, first + i, (double)l->chunk[i]);
}

// Where lm_head.weight is the only one of the two, it is wte as well.
static checkpoint_tensor *find_tensor(const checkpoint *file, const char *name)
{
    checkpoint_tensor *t = checkpoint_find(file, name);
    return t || strcmp(name, "wte.weight") != 0 ? t : checkpoint_find(file, "lm_head.weight");
}

// Elements first .. first + count - 1 of a tensor to the chunk.
static status fetch(loader *l, const tensor *t, const char *name, size_t first, size_t count)
{
    if (!l->file) {
        synthesize(l, t, name, first, count);
        return NULL;
    }
    const checkpoint_tensor *from = find_tensor(l->file, name);
    status s = safetensors_read(from->file, from->is, first, count, l->chunk);
    return s ? s : check_finite(l, from->path, name, first, count);
}

// Streams a tensor chunk by chunk into its place, `to`.
static status stream(loader *l, const tensor *t, const char *name, float *to)
{
    const size_t rows = extent_size(&l->m->config, t->rows),
                 columns = extent_size(&l->m->config, t->columns);
    const size_t columns_once = size_min(columns, CHUNK), fit = CHUNK / columns_once;
    const size_t rows_once =
        fit < LANES ? fit : fit / LANES * LANES; // whole panels of tokens where possible
    if (t->kind == TOKENS) // its last panel is written lane by lane: begin with zeros
        memset(to + (panels_for(rows) - 1) * columns * LANES, 0, columns * LANES * sizeof *to);
    for (size_t row = 0; row < rows; row += rows_once)
        for (size_t column = 0; column < columns; column += columns_once) {
            rectangle r = {row, size_min(rows_once, rows - row), column,
                           size_min(columns_once, columns - column)};
            status s = fetch(l, t, name, row * columns + column, r.rows * r.columns);
            if (s)
                return s;
            pack(t, rows, columns, to, r, l->chunk);
        }
    return NULL;
}

// Gives a tensor its piece of the block, and fills it.
static status load_tensor(loader *l, const tensor *t, const char *name, size_t layer_index)
{
    const config *c = &l->m->config;
    char *owner = t->per_layer ? (char *)&l->m->layers[layer_index] : (char *)l->m;
    float *to = l->unused;
    l->unused += packed_floats(t, c);
    size_t rows = extent_size(c, t->rows), columns = extent_size(c, t->columns);
    if (t->kind == CONV1D)
        *(linear *)(void *)(owner + t->place) = (linear){to, NULL, rows, columns};
    else if (t->kind == TOKENS)
        *(linear *)(void *)(owner + t->place) = (linear){to, NULL, columns, rows};
    else
        *(const float **)(void *)(owner + t->place) = to;
    return stream(l, t, name, to);
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
    const bool head = checkpoint_find(l->file, "lm_head.weight");
    l->tied = !head || !checkpoint_find(l->file, "wte.weight");
    if (untied && !head)
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
    return config_parse_synthetic(m->name, &m->config, &l->seed);
}

static status allocate(loader *l)
{
    model *m = l->m;
    const uint64_t available = memory_available();
    m->block_bytes = model_packed_bytes(&m->config, l->tied);
    const size_t needed =
        size_plus(size_plus(m->block_bytes, size_times(m->config.L, sizeof *m->layers)),
                  CHUNK * sizeof *l->chunk);
    if (available != 0 && needed > available)
        return status_fail("%s: needs %.1f GiB of memory, and %.1f GiB are available: use a "
                           "smaller model, or close other programs",
                           m->name, (double)needed * 0x1p-30, (double)available * 0x1p-30);
    m->layers = memory_array(m->config.L, sizeof *m->layers);
    m->block = memory_block(m->block_bytes);
    l->chunk = memory_array(CHUNK, sizeof *l->chunk);
    l->unused = m->block;
    return m->layers && m->block && l->chunk ? NULL : memory_failed(m->name);
}

static status load(loader *l, const char *name)
{
    l->m->name = memory_array(strlen(name) + 1, 1);
    if (!l->m->name)
        return memory_failed(name);
    strcpy(l->m->name, name);
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
    *out = NULL;
    loader *l = memory_array(1, sizeof *l);
    if (!l || !(l->m = memory_array(1, sizeof *l->m))) {
        memory_free(l);
        return memory_failed(name);
    }
    status s = load(l, name);
    if (s)
        model_free(l->m);
    else
        *out = l->m;
    checkpoint_close(l->file);
    memory_free(l->chunk);
    memory_free(l);
    return s;
}

const char *model_label(const model *m)
{
    const size_t root = sizeof SOURCE_DIR "/" - 1;
    return strncmp(m->name, SOURCE_DIR "/", root) == 0 ? m->name + root : m->name;
}

void model_free(model *m)
{
    if (!m)
        return;
    memory_free(m->block);
    memory_free(m->layers);
    memory_free(m->name);
    memory_free(m);
}

const char *model_default(void)
{
    return SOURCE_DIR "/common/models/shakespeare";
}

// Every key spelled out, so that two ways of naming the same weights have one digest.
static status digest_synthetic(const model *m, char hex[65])
{
    config c;
    uint64_t seed;
    char text[256];
    status s = config_parse_synthetic(m->name, &c, &seed);
    if (s)
        return s;
    int n = snprintf(text, sizeof text, "synthetic:L=%zu,C=%zu,H=%zu,F=%zu,V=%zu,T=%zu,seed=%llu",
                     c.L, c.C, c.H, c.F, c.V, c.T, (unsigned long long)seed);
    SHA256Data((const uint8_t *)text, (size_t)n, hex);
    return NULL;
}

status model_digest(const model *m, char hex[65])
{
    return m->synthetic ? digest_synthetic(m, hex) : checkpoint_digest(m->name, hex);
}

status model_peek(const char *dir, config *out)
{
    checkpoint *file;
    status s = config_read(dir, out);
    if (!s)
        s = checkpoint_open(dir, &file);
    if (s)
        return s;
    read_rows(file, out);
    checkpoint_close(file);
    return NULL;
}
