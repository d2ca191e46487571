// bench digest: the logits of the fixed sequence, and every stage on the way to them, each as one
// SHA-256.
#include "bench/verify/digest.h"

#include <inttypes.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/cost/cost.h"
#include "bench/subject/subject.h"
#include "common/base/memory.h"
#include "common/kv/keep/keep.h"
#include "common/number/numeric.h"

static const char USAGE[] =
    "build/bench digest [options]: the SHA-256 of the logits, the same on every machine.\n"
    "Prints the model, the contexts and the digest, which all decoders must share: a line for "
    "tests/golden.txt.\n"
    "Exit status 0: done; 1: decoders or digests differ, or an error; 2: usage.\n"
    "\n"
    "  -m, --model DIR|synthetic:...  default: the embedded model\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -c, --contexts LIST            such as 1,2,15-17,100; default: 1,2,15-17,31-33,100, as far "
    "as\n"
    "                                 the model goes\n"
    "  -S, --stages                   instead, one digest a stage and layer of a pass over the "
    "longest context\n"
    "  -C, --check FILE               instead, compute every line of FILE and compare\n"
    "  -q, --quick                    with --check: leave out what takes more than 2e9 "
    "multiply-adds\n" SUBJECT_USAGE
    "                                 without either: naive and kvcache\n"
    "  -t, --timeout SECONDS          a plug-in's call that takes longer hangs; default: 60\n";

// The default model's name in a file of digests: its path differs from place to place.
#define EMBEDDED "embedded"
enum { LIST = 64 }; // room for the usual contexts

// Contexts around the panels' and tiles' ends, and one of several tiles: those up to T, or else T
// itself, as a list.
static void usual_contexts(size_t T, char text[LIST])
{
    static const size_t ranges[][2] = {{1, 1}, {2, 2}, {15, 17}, {31, 33}, {100, 100}};
    size_t done = 0;
    for (size_t i = 0, used = 0; done < T && i < sizeof ranges / sizeof *ranges; i++) {
        const size_t first = ranges[i][0] < T ? ranges[i][0] : T,
                     last = ranges[i][1] < T ? ranges[i][1] : T;
        used += (size_t)snprintf(text + used, LIST - used, first == last ? "%s%zu" : "%s%zu-%zu",
                                 done ? "," : "", first, last);
        done = last;
    }
}

static void hash_floats(SHA2_CTX *sha, const float *values, size_t n)
{
    uint8_t bytes[256 * sizeof *values];
    for (size_t i = 0, used = 0; i < n; i++) {
        const numeric_bits32 value = {.f = values[i]};
        for (unsigned shift = 0; shift < 32; shift += 8)
            bytes[used++] = (uint8_t)(value.u >> shift);
        if (used == sizeof bytes || i + 1 == n) {
            SHA256Update(sha, bytes, used);
            used = 0;
        }
    }
}

// The fixed sequence's first T tokens; free them with memory_free.
static int *fixed_tokens(const model *m, size_t T)
{
    int *ids = memory_array(T, sizeof *ids);
    for (size_t i = 0; ids && i < T; i++)
        ids[i] = fixed_token(i, m->config.V);
    return ids;
}

static status hash_logits(const decoder_api *api, decoder *d, const int *ids,
                          const size_t *contexts, size_t n, size_t V, SHA2_CTX *sha)
{
    for (size_t i = 0; i < n; i++) {
        const float *logits;
        status s = api->step(d, ids, contexts[i], 1, &logits);
        if (s)
            return s;
        hash_floats(sha, logits, V);
    }
    return NULL;
}

status digest_logits(const subject *of, const model *m, const size_t *contexts, size_t n,
                     char hex[DIGEST_HEX])
{
    SHA2_CTX sha;
    decoder *d = NULL;
    int *ids = fixed_tokens(m, contexts[n - 1]);
    status s = ids ? subject_create(of, m, contexts[n - 1], &d) : memory_failed("the tokens");
    SHA256Init(&sha);
    if (!s)
        s = hash_logits(of->api, d, ids, contexts, n, m->config.V, &sha);
    SHA256End(&sha, hex);
    if (d)
        of->api->destroy(d);
    memory_free(ids);
    return s;
}

// What one stage of one layer has shown so far. Heads come one after the other, and within a head
// its positions; they are hashed position by position: so the whole stage is kept until it is
// complete.
typedef struct gathered {
    float *values; // (total) in (position, head, element) order
    size_t received, total;
} gathered;

typedef struct stages {
    const config *c;
    size_t T;
    size_t *seen; // (T + 1): positions that all rows before this one see
    gathered of[STAGES];
    digest_sink *sink;
    void *user;
    bool strayed; // a value came that the stage has no place for
} stages;

// Values that stage s shows of all positions before t.
static size_t values_before(const stages *to, stage s, size_t t)
{
    const config *c = to->c;
    switch (s) {
    case STAGE_SEES:
        return config_kv_heads(c) * to->seen[t];
    case STAGE_SCORES:
    case STAGE_SOFTMAX:
        return c->H * to->seen[t];
    case STAGE_K:
    case STAGE_V:
    case STAGE_STORED_K:
    case STAGE_STORED_V:
        return t * config_kv_width(c);
    case STAGE_FC:
    case STAGE_GELU:
        return t * c->F;
    default:
        return t * c->C;
    }
}

static size_t stage_total(const stages *to, stage s)
{
    return s == STAGE_LNF ? to->c->C : s == STAGE_LOGITS ? to->c->V : values_before(to, s, to->T);
}

static void finish(stages *to, stage s, int l)
{
    SHA2_CTX sha;
    char hex[DIGEST_HEX];
    SHA256Init(&sha);
    hash_floats(&sha, to->of[s].values, to->of[s].total);
    SHA256End(&sha, hex);
    to->of[s].received = 0;
    to->sink(to->user, s, l, hex);
}

static void gather(void *user, stage s, int l, int head, size_t position, const float *values,
                   size_t n)
{
    stages *to = user;
    gathered *g = &to->of[s];
    const bool only_one = s == STAGE_LNF || s == STAGE_LOGITS;
    const size_t at =
        only_one ? 0 : values_before(to, s, position) + (head > 0 ? (size_t)head * n : 0);
    if (at > g->total || n > g->total - at || n > g->total - g->received) {
        to->strayed = true;
        return;
    }
    memcpy(g->values + at, values, n * sizeof *values);
    g->received += n;
    if (g->received == g->total)
        finish(to, s, l);
}

static status observe_step(const subject *of, const model *m, const int *ids, stages *to)
{
    decoder *d = NULL;
    const float *logits;
    const decoder_api *api = of->api;
    status s = subject_create(of, m, to->T, &d);
    if (s)
        return s;
    api->observe(d, gather, to);
    s = api->step(d, ids, to->T, 1, &logits);
    api->destroy(d);
    for (size_t i = 0; i < STAGES; i++)
        to->strayed |= to->of[i].received != 0;
    return s || !to->strayed
               ? s
               : status_fail("%s shows its observer other values than its stages have", of->name);
}

static void count_seen(const kv_spec *spec, stages *to)
{
    for (size_t t = 0; t < to->T; t++)
        to->seen[t + 1] = to->seen[t] + softmax_count(keep_of(spec)->sees(spec, t));
}

status digest_stages(const subject *of, const model *m, size_t T, digest_sink *sink, void *user)
{
    stages to = {.c = &m->config, .T = T, .sink = sink, .user = user};
    int *ids = fixed_tokens(m, T);
    to.seen = memory_array(T + 1, sizeof *to.seen);
    bool enough = ids && to.seen;
    if (to.seen)
        count_seen(&of->kv, &to);
    for (stage s = 0; to.seen && s < STAGES; s++) {
        to.of[s].total = stage_total(&to, s);
        to.of[s].values = memory_array(to.of[s].total, sizeof(float));
        enough = enough && to.of[s].values;
    }
    status s =
        enough ? observe_step(of, m, ids, &to) : memory_failed("the stages; name shorter contexts");
    for (size_t i = 0; i < STAGES; i++)
        memory_free(to.of[i].values);
    memory_free(to.seen);
    memory_free(ids);
    return s;
}

// To a FILE: while a plug-in calls an observer, `stdout` is that of the plug-in.
static void print_stage(void *user, stage s, int l, const char *hex)
{
    char place[16] = "-";
    if (l >= 0)
        snprintf(place, sizeof place, "%d", l);
    fprintf(user, "%-3s %-8s %s\n", place, stage_name(s), hex);
}

// The digest that all of them share.
static status common_digest(const subjects *who, const model *m, const size_t *contexts, size_t n,
                            char hex[DIGEST_HEX])
{
    status s = digest_logits(&who->at[0], m, contexts, n, hex);
    for (size_t i = 1; !s && i < who->n; i++) {
        char other[DIGEST_HEX];
        s = digest_logits(&who->at[i], m, contexts, n, other);
        if (!s && strcmp(hex, other) != 0)
            s = status_fail(
                "%s gives %s, but %s gives %s: build/bench verify finds where they part",
                who->at[0].name, hex, who->at[i].name, other);
    }
    return s;
}

// A model, and the contexts to look at.
typedef struct inspection {
    model *m;
    subjects who;
    const char *list;
    size_t *contexts, n; // (n), ascending
    char usual[LIST];
} inspection;

static void release(inspection *of)
{
    subjects_free(&of->who);
    memory_free(of->contexts);
    model_free(of->m);
}

// contexts: a list, or NULL for the usual ones. Release it after a failure too.
static status prepare(const bench_options *o, const char *name, const char *contexts,
                      inspection *out, int *exit_code)
{
    *out = (inspection){.list = contexts ? contexts : out->usual};
    name = strcmp(name, EMBEDDED) == 0 ? model_default() : name;
    status s = subjects_check_memory(
        o, &(subjects_need){.model = name, .contexts = contexts, .others = 1});
    if (!s)
        s = model_load_as(name, o->weights, &out->m);
    if (!s)
        s = subjects_open(o, NULL, &out->who);
    if (s)
        return s;
    if (!contexts)
        usual_contexts(out->m->config.T, out->usual);
    return bench_options_contexts(out->list, out->m->config.T, &out->contexts, &out->n, exit_code);
}

// One line of a file of digests.
typedef struct golden {
    const char *model, *contexts, *hex;
} golden;

// Whether a line is too much for a build without optimization or FMA. A synthetic model's size is
// in its name.
static bool takes_long(const golden *g)
{
    const double limit = 2e9; // multiply-adds
    config c;
    uint64_t seed;
    size_t *contexts = NULL, n = 0;
    double work = 0;
    if (config_parse_synthetic(g->model, &c, &seed) ||
        contexts_parse(g->contexts, c.T, &contexts, &n))
        return false;
    for (size_t i = 0; i < n; i++)
        work += cost_multiply_adds(&c, NULL, 0, contexts[i]);
    memory_free(contexts);
    return work > limit;
}

typedef struct tally {
    size_t equal, different, skipped;
} tally;

static status check_line(const bench_options *o, const golden *g, tally *count)
{
    char hex[DIGEST_HEX] = "-";
    const bool skipped = o->quick && takes_long(g);
    inspection of = {0};
    int ignored; // the file is wrong, not the usage
    status s = skipped ? NULL : prepare(o, g->model, g->contexts, &of, &ignored);
    if (!s && !skipped)
        s = common_digest(&of.who, of.m, of.contexts, of.n, hex);
    release(&of);
    if (s)
        return s;
    const bool equal = strcmp(hex, g->hex) == 0;
    ++*(skipped ? &count->skipped : equal ? &count->equal : &count->different);
    printf("%-8s %s %s %s\n",
           skipped ? "skipped"
           : equal ? "equal"
                   : "DIFFERS",
           g->model, g->contexts, hex);
    fflush(stdout);
    return NULL;
}

// The line's three words, in place. False if they are not three.
static bool parse_line(char *line, golden *out)
{
    const char *const space = " \t\r\n";
    char *rest = NULL;
    out->model = strtok_r(line, space, &rest);
    out->contexts = strtok_r(NULL, space, &rest);
    out->hex = strtok_r(NULL, space, &rest);
    return out->hex && !strtok_r(NULL, space, &rest);
}

static status check_lines(const bench_options *o, FILE *f, const char *path, tally *count)
{
    char line[512];
    for (size_t number = 1; fgets(line, sizeof line, f); number++) {
        golden g;
        if (*line == '#')
            continue;
        if (!parse_line(line, &g))
            return status_fail(
                "%s: line %zu should be MODEL CONTEXTS SHA256, as build/bench digest prints it",
                path, number);
        status s = check_line(o, &g, count);
        if (s)
            return status_fail("%s: line %zu: %s", path, number, s);
    }
    return ferror(f) ? status_fail("%s: cannot be read", path) : NULL;
}

static status check(const bench_options *o, const char *path, int *exit_code)
{
    tally count = {0};
    FILE *f = fopen(path, "r");
    if (!f)
        return status_fail(
            "%s: cannot be opened: give the file of golden digests, such as tests/golden.txt",
            path);
    status s = check_lines(o, f, path, &count);
    fclose(f);
    if (s)
        return s;
    printf("%zu equal, %zu differ, %zu skipped\n", count.equal, count.different, count.skipped);
    *exit_code = count.different > 0;
    return count.equal + count.different > 0 ? NULL : status_fail("%s: nothing to compare", path);
}

static status print_stages(const inspection *of)
{
    const subject *who = &of->who.at[0];
    if (!who->api->observe)
        return status_fail(
            "%s has no function `observe`: its stages cannot be seen (common/decoder.h)",
            who->name);
    return digest_stages(who, of->m, of->contexts[of->n - 1], print_stage, stdout);
}

static status print_digest(const char *name, const inspection *of)
{
    char hex[DIGEST_HEX];
    status s = common_digest(&of->who, of->m, of->contexts, of->n, hex);
    if (!s)
        printf("%s %s %s\n", name, of->list, hex);
    return s;
}

static status print(const bench_options *o, int *exit_code)
{
    const char *name = o->model_given ? o->model : EMBEDDED;
    inspection of;
    status s = prepare(o, name, o->contexts, &of, exit_code);
    if (!s)
        s = o->stages ? print_stages(&of) : print_digest(name, &of);
    release(&of);
    return s;
}

static status digest_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    status s = o->check ? check(o, o->check, exit_code) : print(o, exit_code);
    return plugin_checked(s);
}

status digest_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status s = bench_options_parse(argc, argv, "m:W:c:SC:qd:k:t:", USAGE, &o, exit_code);
    if (s || o.help)
        return s;
    if (o.stages && o.subjects > 1) {
        *exit_code = EXIT_USAGE;
        return status_fail("--stages shows one decoder: give one, and run it again for the other");
    }
    return subjects_contain(digest_body, &o, exit_code);
}
