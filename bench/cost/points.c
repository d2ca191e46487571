// Points under the roof: takes the samples, and says what they show.
#include "bench/cost/points.h"

#include <stdio.h>

#include "bench/base/results.h"
#include "bench/base/stats.h"
#include "common/base/format.h"
#include "common/base/memory.h"

enum { STEPS = 5 }; // of which the fastest is a sample

static const struct {
    const char *name;
    unsigned stages;
} shown[] = {
    {"qkv", COUNT_QKV},
    {"scores", 1 << STAGE_SCORES},
    {"attend", 1 << STAGE_ATTEND},
    {"proj", 1 << STAGE_PROJ},
    {"fc", 1 << STAGE_FC},
    {"fcproj", 1 << STAGE_FCPROJ},
    {"logits", 1 << STAGE_LOGITS},
    {"linear", COUNT_LINEAR},
    {"attention", COUNT_ATTENTION},
    {"everything", COUNT_EVERYTHING},
};
enum { SHOWN = sizeof shown / sizeof *shown };

typedef struct point {
    work done;
    double intensity; // FLOP per byte
    estimate ns;
    double flops, roof; // FLOP/s
    double best;        // share of the roof: the fastest sample, over the best probes of all rounds
} point;

double limits_roof(const limits *l, double intensity)
{
    return intensity * l->memory < l->peak ? intensity * l->memory : l->peak;
}

status points_create(passes *p, const size_t *context, size_t n, size_t rounds, points *out)
{
    const size_t cells = n * PASSES;
    *out = (points){.p = p, .context = context, .n = n, .rounds = rounds};
    out->done = memory_array(cells, sizeof *out->done);
    out->taken = memory_array(cells * rounds, sizeof *out->taken);
    out->scratch = memory_array(rounds, sizeof *out->scratch);
    status s = out->done && out->taken && out->scratch ? NULL : memory_failed("the stages' times");
    for (size_t cell = 0; cell < cells && !s; cell++)
        s = count_pass(p, cell % PASSES, context[cell / PASSES], &out->done[cell]);
    return s;
}

void points_free(points *p)
{
    memory_free(p->done);
    memory_free(p->taken);
    memory_free(p->scratch);
    *p = (points){0};
}

status points_take(points *p, size_t i, size_t k)
{
    status s = NULL;
    for (pass j = 0; j < PASSES; j++) {
        stopwatch *fastest = &p->taken[(i * PASSES + j) * p->rounds + k];
        for (size_t n = 0; n < (j == PASS_CACHED_STEP ? STEPS : 1) && !s; n++) {
            stopwatch w;
            s = profile_watch(p->p, j, p->context[i], &w);
            *fastest = n == 0 || w.whole_ns < fastest->whole_ns ? w : *fastest;
        }
    }
    return s;
}

// Median time of a set of stages. Leaves all of them sorted in scratch.
static estimate time_of(const points *p, size_t cell, unsigned stages)
{
    const stopwatch *taken = &p->taken[cell * p->rounds];
    for (size_t k = 0; k < p->rounds; k++) {
        p->scratch[k] = 0;
        for (stage s = 0; s < STAGES; s++)
            p->scratch[k] += stages >> s & 1 ? (double)taken[k].ns[s] : 0;
    }
    return stats_median(p->scratch, p->rounds);
}

static point find(const points *p, const limits *l, size_t cell, size_t which)
{
    const work done = count_sum(&p->done[cell], shown[which].stages);
    const estimate ns = time_of(p, cell, shown[which].stages);
    const double flop = 2 * (double)done.multiply_adds,
                 intensity = flop / (double)count_bytes(&done);
    const limits best = {.peak = l->best_peak, .memory = l->best_memory};
    return (point){done,
                   intensity,
                   ns,
                   flop / (ns.median * 1e-9),
                   limits_roof(l, intensity),
                   flop / (p->scratch[0] * 1e-9) / limits_roof(&best, intensity)};
}

typedef struct picture {
    const points *p;
    const limits *l;
} picture;

static status print_points(FILE *f, const void *what)
{
    const picture *of = what;
    fputs("model,decoder,pass,context,stage,multiply_adds,bytes,intensity,median_ns,ci_lo_ns,ci_hi_"
          "ns,gflops,"
          "roof_gflops,share\n",
          f);
    for (size_t i = 0; i < of->p->n * PASSES * SHOWN; i++) {
        const size_t cell = i / SHOWN;
        const pass which = cell % PASSES;
        const point at = find(of->p, of->l, cell, i % SHOWN);
        results_csv_text(f, model_label(of->p->p->m));
        fputc(',', f);
        results_csv_text(f, passes_decoder(of->p->p, which));
        fprintf(f, ",%s,%zu,%s,%llu,%llu,%.6g,%.0f,%.0f,%.0f,%.6g,%.6g,%.6g\n",
                which == PASS_PREFILL ? "prefill" : "step", of->p->context[cell / PASSES],
                shown[i % SHOWN].name, (unsigned long long)at.done.multiply_adds,
                (unsigned long long)count_bytes(&at.done), at.intensity, at.ns.median, at.ns.lo,
                at.ns.hi, at.flops * 1e-9, at.roof * 1e-9, at.flops / at.roof);
    }
    return NULL;
}

static status print_limits(FILE *f, const void *what)
{
    const limits *l = what;
    fprintf(f, "kind,value,unit\npeak,%.6g,GFLOP/s\nmemory,%.6g,GB/s\n", l->peak * 1e-9,
            l->memory * 1e-9);
    for (size_t i = 0; i < MACHINE_CACHES; i++)
        if (l->caches[i] > 0)
            fprintf(f, "L%zu,%.6g,GB/s\n", i + 1, l->caches[i] * 1e-9);
    return NULL;
}

status points_write(const points *p, const limits *l, const char *dir)
{
    status s = results_write(dir, "roofs.csv", print_limits, l);
    return s ? s : results_write(dir, "roofline.csv", print_points, &(picture){p, l});
}

static void print_pass(const points *p, const limits *l, size_t cell)
{
    char name[PASS_NAME], text[FORMAT_ROOM];
    const stopwatch *w = &p->taken[cell * p->rounds];
    unsigned idle = 0;
    printf("\n%s\n  %-14s %10s %10s %9s %9s %8s %8s\n",
           passes_name(p->p, cell % PASSES, p->context[cell / PASSES], name), "stage", "time",
           "FLOP/byte", "GFLOP/s", "roof", "share", "best");
    for (size_t i = 0; i < SHOWN; i++) {
        const point at = find(p, l, cell, i);
        printf("  %-14s %10s %10.1f %9.1f %9.1f %6.1f %% %6.1f %%\n", shown[i].name,
               format_ns(at.ns.median, text), at.intensity, at.flops * 1e-9, at.roof * 1e-9,
               100 * at.flops / at.roof, 100 * at.best);
    }
    for (stage s = 0; s < STAGES; s++)
        idle |= p->done[cell].of[s].multiply_adds == 0 ? 1U << s : 0;
    printf("  stages without multiply-adds: %.1f %% of the time; showing them all: %.2f %%\n",
           100 * time_of(p, cell, idle).median / time_of(p, cell, COUNT_EVERYTHING).median,
           100 * (double)w->showing_ns / (double)w->whole_ns);
}

// Nanoseconds of a pass whose every stage reaches its roof.
static double least_ns(const points *p, const limits *l, size_t cell)
{
    double sum = 0;
    for (stage s = 0; s < STAGES; s++) {
        const work *w = &p->done[cell].of[s];
        const double computing = 2 * (double)w->multiply_adds / l->peak,
                     reading = (double)count_bytes(w) / l->memory;
        sum += 1e9 * (computing > reading ? computing : reading);
    }
    return sum;
}

static void print_ratio(double naive_ns, double cached_ns, bool verified)
{
    char text[FORMAT_ROOM], other[FORMAT_ROOM];
    printf("  %10s %10s", format_ns(naive_ns, text), format_ns(cached_ns, other));
    if (verified)
        printf(" %9.1f", naive_ns / cached_ns);
    else
        printf(" %9s", "-");
}

static void print_speedups(const points *p, const limits *l)
{
    char key[SUBJECT_KEY];
    const subject *tested = p->p->by[PASS_CACHED_STEP];
    const size_t verified = results_verified(p->p->m, subject_key(tested, key));
    printf("\n%-9s  %31s  %31s\n%9s", "one step", "all at their roofs", "measured", "context");
    for (int i = 0; i < 2; i++)
        printf("  %10s %10s %9s", "naive", "cached", "speed-up");
    printf("\n");
    for (size_t i = 0; i < p->n; i++) {
        const size_t naive = i * PASSES + PASS_NAIVE_STEP, cached = i * PASSES + PASS_CACHED_STEP;
        printf("%9zu", p->context[i]);
        print_ratio(least_ns(p, l, naive), least_ns(p, l, cached), true);
        print_ratio(time_of(p, naive, COUNT_EVERYTHING).median,
                    time_of(p, cached, COUNT_EVERYTHING).median, p->context[i] < verified);
        printf("\n");
    }
    if (p->context[p->n - 1] >= verified) {
        printf("A speed-up is shown where this build has passed `build/bench verify");
        bench_options_print_model(stdout, model_label(p->p->m));
        printf(" -d %s`: so far %zu tokens.\n", tested->text, verified);
    }
}

void points_print(const points *p, const limits *l)
{
    printf("\nroofs: %.1f GFLOP/s; %.1f GB/s from memory", l->peak * 1e-9, l->memory * 1e-9);
    for (size_t i = MACHINE_CACHES; i-- > 0;)
        if (l->caches[i] > 0)
            printf(", %.1f from L%zu", l->caches[i] * 1e-9, i + 1);
    printf("\nmemory is the limit below %.1f FLOP/byte, arithmetic above\n", l->peak / l->memory);
    for (size_t cell = 0; cell < p->n * PASSES; cell++)
        print_pass(p, l, cell);
    print_speedups(p, l);
}
