// bench count: what each stage computes and fetches.
#include "bench/cost/count.h"

#include <stdbool.h>
#include <stdio.h>

#include "bench/cost/cost.h"
#include "common/base/format.h"
#include "common/math/kernel.h"
#include "common/number/form.h"

static const char usage[] =
    "build/bench count [options]: multiply-adds, exps and bytes of every stage, counted from what "
    "is computed\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -c, --contexts 64,100-103      tokens of context, below the model's limit (default: "
    "64,1000)\n";

enum { FLOAT = sizeof(float) };

count count_begin(const model *m, const kv_spec *spec)
{
    return (count){.m = m, .width = form_of(spec)->width, .last = STAGES};
}

// The matrix whose product a stage shows; NULL if there is none.
static const linear *matrix(const model *m, stage s, int l)
{
    switch (s) {
    case STAGE_Q:
    case STAGE_K:
    case STAGE_V:
        return &m->layers[l].qkv;
    case STAGE_PROJ:
        return &m->layers[l].proj;
    case STAGE_FC:
        return &m->layers[l].fc;
    case STAGE_FCPROJ:
        return &m->layers[l].fcproj;
    case STAGE_LOGITS:
        return &m->head;
    default:
        return NULL;
    }
}

// A row of n outputs of a matrix. The weights come with the first row of a pass.
static void count_product(count *c, stage s, const linear *by, size_t n, bool first)
{
    c->of[s].multiply_adds += n * by->K;
    if (first)
        c->of[s].weight_bytes += linear_bytes(by, n) + (by->bias ? n * FLOAT : 0);
    if (s != STAGE_K && s != STAGE_V) // q, k and v are one product
        c->lanes += padded(by->N) * by->K;
}

// A row of n scores, or of n probabilities: a multiply-add for each of them and each channel of a
// head. The first row fetches all its keys, or values; each row after it that of its own position.
static void count_keys(count *c, stage s, int head, size_t position, size_t n)
{
    const config *of = &c->m->config;
    const size_t D = config_head_size(of), group = of->H / config_kv_heads(of);
    c->of[s].multiply_adds += n * D;
    if ((size_t)head % group == 0) // the other heads of its group read the same
        c->of[s].kv_read_bytes += (position == c->first ? n : 1) * D * c->width;
}

static void count_scores(count *c, int head, size_t position, size_t n)
{
    // Row r of its tile, whose rows all go as far as the last one's panel, where every row is kept.
    const size_t r = (position - c->first) % TILE_ROWS;
    count_keys(c, STAGE_SCORES, head, position, n);
    c->lanes += ((r + 1) * padded(n) - r * padded(n - 1)) * config_head_size(&c->m->config);
}

static void count_probabilities(count *c, int head, size_t position, size_t n)
{
    c->of[STAGE_SOFTMAX].exps += n;
    count_keys(c, STAGE_ATTEND, head, position, n);
    c->lanes += padded(config_head_size(&c->m->config)) * n;
}

void count_row(void *user, stage s, int l, int head, size_t position, const float *values, size_t n)
{
    count *c = user;
    const bool begins = s != c->last || l != c->layer; // a pass over all rows
    const linear *by = matrix(c->m, s, l);
    (void)values;
    if (s == STAGE_SEES) // a list of positions is no work
        return;
    if (s == STAGE_EMBED && begins)
        c->first = position;
    c->last = s;
    c->layer = l;
    c->of[s].values += n;
    if (by)
        count_product(c, s, by, n, begins);
    else if (s == STAGE_SCORES)
        count_scores(c, head, position, n);
    else if (s == STAGE_SOFTMAX)
        count_probabilities(c, head, position, n);
    else if (s == STAGE_STORED_K || s == STAGE_STORED_V)
        c->of[s].kv_written_bytes += n * c->width;
    else if (s == STAGE_GELU)
        c->of[s].exps += n;
    else if (s == STAGE_EMBED) // a row of wte and of wpe
        c->of[s].weight_bytes += linear_bytes(&c->m->wte, 1) + n * FLOAT;
    else if (s != STAGE_ATTEND && begins) // a norm's gain and bias
        c->of[s].weight_bytes += 2 * n * FLOAT;
}

work count_sum(const count *c, unsigned stages)
{
    work sum = {0};
    for (stage s = 0; s < STAGES; s++) {
        const work *w = &c->of[s];
        if (!(stages >> s & 1))
            continue;
        sum.values += w->values;
        sum.multiply_adds += w->multiply_adds;
        sum.exps += w->exps;
        sum.weight_bytes += w->weight_bytes;
        sum.kv_read_bytes += w->kv_read_bytes;
        sum.kv_written_bytes += w->kv_written_bytes;
    }
    return sum;
}

uint64_t count_bytes(const work *w)
{
    return w->weight_bytes + w->kv_read_bytes + w->kv_written_bytes;
}

static void print_work(const char *name, const work *w)
{
    char text[6][FORMAT_ROOM];
    printf("  %-14s %14s %18s %14s %14s %13s %12s", name, format_whole(w->values, text[0]),
           format_whole(w->multiply_adds, text[1]), format_whole(w->exps, text[2]),
           format_whole(w->weight_bytes, text[3]), format_whole(w->kv_read_bytes, text[4]),
           format_whole(w->kv_written_bytes, text[5]));
    if (w->multiply_adds)
        printf(" %9.1f\n", 2 * (double)w->multiply_adds / (double)count_bytes(w));
    else
        printf(" %9s\n", "-");
}

static void print_count(const passes *p, const count *c, pass which, size_t t)
{
    char name[PASS_NAME];
    const work linear_layers = count_sum(c, COUNT_LINEAR),
               attention = count_sum(c, COUNT_ATTENTION),
               everything = count_sum(c, COUNT_EVERYTHING);
    printf("\n%s, %s\n  %-14s %14s %18s %14s %14s %13s %12s %9s\n", model_label(c->m),
           passes_name(p, which, t, name), "stage", "values", "multiply-adds", "exps",
           "weight bytes", "KV read", "KV written", "FLOP/byte");
    for (stage s = 0; s < STAGES; s++)
        if (s != STAGE_SEES)
            print_work(stage_name(s), &c->of[s]);
    print_work("linear layers", &linear_layers);
    print_work("attention", &attention);
    print_work("everything", &everything);
    printf("  padding lanes: %.2f %% more multiply-adds\n",
           100 * ((double)c->lanes / (double)everything.multiply_adds - 1));
    printf("  by counts, attention overtakes the linear layers at %.0f tokens\n",
           cost_crossover(&c->m->config, which == PASS_CACHED_STEP, 1));
}

status count_pass(passes *p, pass which, size_t t, count *out)
{
    *out = count_begin(p->m, &p->by[which]->kv);
    status s = passes_prepare(p, which, t);
    return s ? s : passes_run(p, which, t, count_row, out);
}

static status count_passes(passes *p, size_t t, void *user)
{
    (void)user;
    status s = NULL;
    for (pass i = 0; i < PASSES && !s; i++) {
        count c;
        s = count_pass(p, i, t, &c);
        if (!s)
            print_count(p, &c, i, t);
    }
    return s;
}

status count_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status s = bench_options_parse(argc, argv, "m:W:c:", usage, &o, exit_code);
    return s || o.help ? s : passes_at_each(&o, count_passes, NULL, exit_code);
}
