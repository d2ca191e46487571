// What tests share: temporary directories, model files made to order, checks of messages. Nothing
// here uses the loader.
#include "tests/support/support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

// A disk may take 20 ms to replace a file, where another program writes to it, and some tests
// replace thousands: memory if there is plenty.
static const char *usual_parent(void)
{
    struct statvfs memory;
    const char *in_memory = "/dev/shm";
    bool roomy =
        statvfs(in_memory, &memory) == 0 && (double)memory.f_bavail * (double)memory.f_frsize > 4e9;
    return roomy && access(in_memory, W_OK) == 0 ? in_memory : "/tmp";
}

void support_make_dir(char dir[SUPPORT_PATH])
{
    const char *wanted = getenv("TMPDIR");
    snprintf(dir, SUPPORT_PATH, "%s/lockstep-test-XXXXXX", wanted ? wanted : usual_parent());
    cr_assert_not_null(mkdtemp(dir), "cannot make %s", dir);
}

void support_remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0); // "." and ".." stay: they are directories
    if (d)
        closedir(d);
    rmdir(dir);
}

char support_folder[SUPPORT_PATH];

void support_enter_folder(void)
{
    support_make_dir(support_folder);
    cr_assert_eq(chdir(support_folder), 0);
}

void support_leave_folder(void)
{
    support_remove_dir(support_folder);
}

static FILE *create(const char *dir, const char *name)
{
    char path[2 * SUPPORT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path); // to overwrite it instead makes some file systems wait for the disk, each time
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f, "cannot write %s", path);
    return f;
}

static void append(FILE *f, const void *bytes, size_t n)
{
    cr_assert_eq(fwrite(bytes, 1, n, f), n, "cannot write %zu bytes", n);
}

void support_write(const char *dir, const char *name, const void *bytes, size_t n)
{
    FILE *f = create(dir, name);
    append(f, bytes, n);
    fclose(f);
}

char *support_read(const char *dir, const char *name, size_t *n)
{
    char path[2 * SUPPORT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "there is no %s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    cr_assert(bytes && fread(bytes, 1, *n, f) == *n, "cannot read %s", path);
    bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

size_t support_count(const char *dir)
{
    DIR *d = opendir(dir);
    cr_assert_not_null(d, "cannot open %s", dir);
    size_t files = 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        files += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return files;
}

void support_assert_refused(status s, const char *parts)
{
    cr_assert_not_null(s, "accepted, but should be refused with \"%s\"", parts);
    cr_assert_null(strchr(s, '\n'), "more than one line: \"%s\"", s);
    for (const char *part = parts; *part;) {
        int n = (int)strcspn(part, "|");
        char wanted[256];
        snprintf(wanted, sizeof wanted, "%.*s", n, part);
        cr_assert_not_null(strstr(s, wanted), "\"%s\" does not say \"%s\"", s, wanted);
        part += part[n] == '|' ? n + 1 : n;
    }
}

static void append_length(FILE *f, uint64_t length)
{
    for (int i = 0; i < 8; i++)
        fputc((int)(length >> 8 * i & 0xFF), f);
}

void support_write_safetensors(const char *dir, const char *name, uint64_t length,
                               const char *header, const void *data, size_t data_bytes)
{
    FILE *f = create(dir, name);
    append_length(f, length);
    append(f, header, strlen(header));
    append(f, data, data_bytes);
    fclose(f);
}

static size_t element_bytes(const char *dtype)
{
    if (strcmp(dtype, "U8") == 0)
        return 1;
    return strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0 ? 2 : 4;
}

// Arbitrary bytes, but the top exponent bit of every number is 0: finite in all three formats.
static void fill(support_tensor *t, uint32_t state)
{
    const size_t size = element_bytes(t->dtype);
    for (size_t i = 0; i < t->bytes; i++) {
        state = state * 1664525u + 1013904223u;
        unsigned byte = state >> 24;
        t->data[i] = (unsigned char)(i % size == size - 1 ? byte & 0xBFu : byte);
    }
}

support_tensor *support_model_add(support_model *m, const char *name, const char *dtype,
                                  size_t rank, const size_t *shape)
{
    cr_assert_lt(m->count, SUPPORT_TENSORS, "too many tensors for a test");
    support_tensor *t = &m->tensors[m->count++];
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    t->rank = rank;
    t->bytes = element_bytes(dtype);
    for (size_t i = 0; i < rank; i++)
        t->bytes *= t->shape[i] = shape[i];
    t->data = malloc(t->bytes + 1);
    cr_assert_not_null(t->data);
    fill(t, (uint32_t)m->count);
    return t;
}

typedef struct maker {
    support_model *m;
    const char *dtype, *prefix;
} maker;

static void add(const maker *k, const char *name, size_t rows, size_t columns)
{
    char whole[SUPPORT_NAME];
    const size_t shape[] = {rows, columns};
    snprintf(whole, sizeof whole, "%s%s", k->prefix, name);
    support_model_add(k->m, whole, k->dtype, rows ? 2 : 1, rows ? shape : shape + 1);
}

static void add_layer(const maker *k, size_t layer, const config *c)
{
    const struct {
        const char *name;
        size_t rows, columns; // rows 0: a vector
    } tensors[] = {{"ln_1.weight", 0, c->C},
                   {"ln_1.bias", 0, c->C},
                   {"attn.c_attn.weight", c->C, 3 * c->C},
                   {"attn.c_attn.bias", 0, 3 * c->C},
                   {"attn.c_proj.weight", c->C, c->C},
                   {"attn.c_proj.bias", 0, c->C},
                   {"ln_2.weight", 0, c->C},
                   {"ln_2.bias", 0, c->C},
                   {"mlp.c_fc.weight", c->C, c->F},
                   {"mlp.c_fc.bias", 0, c->F},
                   {"mlp.c_proj.weight", c->F, c->C},
                   {"mlp.c_proj.bias", 0, c->C}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[SUPPORT_NAME];
        snprintf(name, sizeof name, "h.%zu.%s", layer, tensors[i].name);
        add(k, name, tensors[i].rows, tensors[i].columns);
    }
}

support_model *support_model_make(config c, const char *dtype, const char *prefix)
{
    support_model *m = calloc(1, sizeof *m);
    cr_assert_not_null(m);
    const maker k = {m, dtype, prefix};
    m->config = c;
    for (size_t i = 0; i < c.L; i++)
        add_layer(&k, i, &c);
    add(&k, "ln_f.weight", 0, c.C);
    add(&k, "ln_f.bias", 0, c.C);
    add(&k, "wpe.weight", c.T, c.C);
    add(&k, "wte.weight", c.V, c.C);
    return m;
}

void support_model_free(support_model *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->tensors[i].data);
    free(m);
}

support_tensor *support_model_find(support_model *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

void support_model_drop(support_model *m, const char *name)
{
    support_tensor *t = support_model_find(m, name);
    cr_assert_not_null(t, "no tensor %s to drop", name);
    free(t->data);
    *t = m->tensors[--m->count];
}

void support_spell(unsigned char byte, char out[3])
{
    int code = 256;
    for (int b = 0; b <= byte; b++) {
        bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && visible)
            code = b;
        else if (b < byte && !visible)
            code++;
    }
    snprintf(out, 3, code < 128 ? "%c" : "%c%c", code < 128 ? code : 0xC0 | code >> 6,
             0x80 | (code & 0x3F));
}

// Numbers the tokens that the lines "a b" make, each once; other lines make none.
static void number_merges(json_t *ids, const char *merges)
{
    char *lines = strdup(merges), *rest = lines;
    for (char *line; (line = strtok_r(rest, "\n", &rest));) {
        char left[128], right[128], made[256];
        if (*line == '#' || sscanf(line, "%127[^ \r] %127[^ \r]", left, right) != 2)
            continue;
        snprintf(made, sizeof made, "%s%s", left, right);
        if (!json_object_get(ids, made))
            json_object_set_new(ids, made, json_integer((json_int_t)json_object_size(ids)));
    }
    free(lines);
}

char *support_vocabulary(const char *merges)
{
    json_t *ids = json_object();
    for (int hidden = 0; hidden < 2; hidden++)
        for (int byte = 0; byte < 256; byte++) {
            char spelled[3];
            support_spell((unsigned char)byte, spelled);
            if (((unsigned char)spelled[0] >= 0xC4) == hidden)
                json_object_set_new(ids, spelled, json_integer((json_int_t)json_object_size(ids)));
        }
    number_merges(ids, merges);
    json_object_set_new(ids, "<|endoftext|>", json_integer((json_int_t)json_object_size(ids)));
    char *text = json_dumps(ids, 0);
    cr_assert_not_null(text);
    json_decref(ids);
    return text;
}

void support_write_tokenizer(const char *dir, const char *merges)
{
    char *vocabulary = support_vocabulary(merges);
    support_write(dir, "merges.txt", merges, strlen(merges));
    support_write(dir, "vocab.json", vocabulary, strlen(vocabulary));
    free(vocabulary);
}

static void write_config(const config *c, const char *dir)
{
    FILE *f = create(dir, "config.json");
    fprintf(f,
            "{\"model_type\": \"gpt2\", \"activation_function\": \"gelu_new\", \"n_layer\": %zu, "
            "\"n_embd\": %zu,\n"
            " \"n_head\": %zu, \"n_inner\": %zu, \"vocab_size\": %zu, \"n_positions\": %zu, "
            "\"layer_norm_epsilon\": "
            "%.9g}\n",
            c->L, c->C, c->H, c->F, c->V, c->T, (double)c->eps);
    fclose(f);
}

// One tensor's entry in the header, at `begin`.
static void print_entry(FILE *header, const support_tensor *t, size_t begin)
{
    fprintf(header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype);
    for (size_t i = 0; i < t->rank; i++)
        fprintf(header, "%s%zu", i ? "," : "", t->shape[i]);
    fprintf(header, "],\"data_offsets\":[%zu,%zu]}", begin, begin + t->bytes);
}

void support_model_write_weights(const support_model *m, const char *dir, const char *name)
{
    char *text = NULL;
    size_t n = 0, begin = 0;
    FILE *header = open_memstream(&text, &n);
    cr_assert_not_null(header);
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", header);
    for (size_t i = 0; i < m->count; begin += m->tensors[i++].bytes)
        print_entry(header, &m->tensors[i], begin);
    fputs("}", header);
    fclose(header);
    FILE *f = create(dir, name);
    append_length(f, n);
    append(f, text, n);
    for (size_t i = 0; i < m->count; i++)
        append(f, m->tensors[i].data, m->tensors[i].bytes);
    fclose(f);
    free(text);
}

void support_model_write(const support_model *m, const char *dir)
{
    support_model_write_weights(m, dir, "model.safetensors");
    write_config(&m->config, dir);
}

// sign * fraction * 2^exponent from the fields of a 16-bit float with `fraction_bits`.
static float small_float(unsigned bits, int fraction_bits)
{
    const int exponent_bits = 15 - fraction_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits & ((1u << exponent_bits) - 1));
    int fraction = (int)(bits & ((1u << fraction_bits) - 1));
    double hidden = exponent == 0 ? 0 : 1 << fraction_bits;
    double magnitude =
        ldexp(hidden + fraction, (exponent == 0 ? 1 : exponent) - bias - fraction_bits);
    return (float)(bits & 0x8000u ? -magnitude : magnitude);
}

float support_tensor_value(const support_tensor *t, size_t i)
{
    float value;
    if (element_bytes(t->dtype) == 2)
        return small_float(t->data[2 * i] | (unsigned)t->data[2 * i + 1] << 8,
                           strcmp(t->dtype, "F16") == 0 ? 10 : 7);
    memcpy(&value, t->data + 4 * i, sizeof value);
    return value;
}

// Bytes of whole pages that hold these.
static size_t whole_pages(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

void *support_guarded(size_t n, size_t size)
{
    const size_t pages = whole_pages(n * size), page = whole_pages(1);
    char *at = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(at != MAP_FAILED);
    cr_assert_eq(mprotect(at + pages, page, PROT_NONE), 0);
    return at + pages - n * size;
}

void support_guarded_free(void *array, size_t n, size_t size)
{
    const size_t pages = whole_pages(n * size);
    munmap((char *)array + n * size - pages, pages + whole_pages(1));
}
