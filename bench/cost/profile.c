// bench profile: time, arithmetic and bytes per second of every stage.
#include "bench/cost/profile.h"

#include <stdio.h>

#include "bench/base/machine.h"
#include "bench/base/stats.h"
#include "bench/cost/cost.h"
#include "bench/measure/disturbance.h"
#include "common/base/clock.h"
#include "common/base/format.h"
#include "common/base/memory.h"

static const char usage[] =
    "build/bench profile [options]: where the time goes in a prefill, a naive step and a cached "
    "step\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -c, --contexts 64,100-103      tokens of context, below the model's limit (default: "
    "64,1000)\n"
    "  -n, --samples N                passes of each kind, whose median is shown (default 5, and "
    "50 cached steps)\n" SUBJECT_USAGE
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n";

enum { ROUNDS = 5, STEPS = 50 };

// The stage whose time a call of this one ends. K and V come with Q, the stored values with the
// stored keys.
static stage timed(stage s)
{
    return s == STAGE_K || s == STAGE_V ? STAGE_Q : s == STAGE_STORED_V ? STAGE_STORED_K : s;
}

// All rows of a stage have been computed when its first is shown. What a row sees is computed for
// the observer alone.
static void watch(void *user, stage s, int l, int head, size_t position, const float *values,
                  size_t n)
{
    stopwatch *w = user;
    const uint64_t now = clock_ns();
    const bool computed = timed(s) != w->at && s != STAGE_SEES;
    (void)l, (void)head, (void)position, (void)values, (void)n;
    *(computed ? &w->ns[timed(s)] : &w->showing_ns) += now - w->since;
    w->since = now;
    w->at = timed(s);
    w->calls++;
}

status profile_watch(passes *p, pass which, size_t t, stopwatch *out)
{
    status s = passes_prepare(p, which, t);
    const uint64_t begin = clock_ns();
    *out = (stopwatch){.since = begin, .at = STAGES};
    if (!s)
        s = passes_run(p, which, t, watch, out);
    const uint64_t end = clock_ns();
    out->rest_ns = end - out->since;
    out->whole_ns = end - begin;
    return s;
}

// One pass nobody watches, and one before the stopwatch.
static status take_round(passes *p, pass which, size_t t, stopwatch *w, double *unwatched_ns)
{
    status s = passes_prepare(p, which, t);
    uint64_t begin = clock_ns();
    if (!s)
        s = passes_run(p, which, t, NULL, NULL);
    *unwatched_ns = (double)(clock_ns() - begin);
    return s ? s : profile_watch(p, which, t, w);
}

// samples: (STAGES + 3, rounds).
static status take_rounds(passes *p, pass which, size_t t, size_t rounds, double *samples,
                          profile *out)
{
    stopwatch w = {0};
    double *watched = samples + STAGES * rounds, *unwatched = watched + rounds,
           *showing = unwatched + rounds;
    status s = count_pass(p, which, t, &out->done);
    for (size_t i = 0; i < rounds && !s; i++) {
        s = take_round(p, which, t, &w, &unwatched[i]);
        watched[i] = (double)w.whole_ns;
        showing[i] = (double)w.showing_ns;
        for (stage j = 0; j < STAGES; j++)
            samples[j * rounds + i] = (double)w.ns[j];
    }
    if (s)
        return s;
    for (stage j = 0; j < STAGES; j++)
        out->ns[j] = stats_median(samples + j * rounds, rounds).median;
    out->watched_ns = stats_median(watched, rounds).median;
    out->unwatched_ns = stats_median(unwatched, rounds).median;
    out->showing_ns = stats_median(showing, rounds).median;
    out->calls = w.calls;
    return NULL;
}

status profile_take(passes *p, pass which, size_t t, size_t rounds, profile *out)
{
    double *samples = memory_array((STAGES + 3) * rounds, sizeof *samples);
    status s =
        samples ? take_rounds(p, which, t, rounds, samples, out) : memory_failed("the times");
    memory_free(samples);
    return s;
}

double profile_ns(const profile *p, unsigned stages)
{
    double sum = 0;
    for (stage s = 0; s < STAGES; s++)
        sum += stages >> s & 1 ? p->ns[s] : 0;
    return sum;
}

// Nanoseconds of a multiply-add, exps and all.
static double pace(const profile *p, unsigned stages)
{
    return profile_ns(p, stages) / (double)count_sum(&p->done, stages).multiply_adds;
}

double profile_crossover(const profile *p, pass which)
{
    return cost_crossover(&p->done.m->config, which == PASS_CACHED_STEP,
                          pace(p, COUNT_ATTENTION) / pace(p, COUNT_LINEAR));
}

static void print_rate(double amount, double ns)
{
    if (amount > 0)
        printf(" %9.1f", amount / ns);
    else
        printf(" %9s", "-");
}

static void print_stage(const char *name, double ns, double share, const work *w)
{
    char text[FORMAT_ROOM];
    printf("  %-14s %10s %6.1f %%", name, format_ns(ns, text), 100 * share);
    print_rate(2 * (double)w->multiply_adds, ns);
    print_rate((double)count_bytes(w), ns);
    print_rate(w->multiply_adds == 0 ? (double)w->exps : 0, ns);
    printf("\n");
}

// What the time of a pass is spent on, each stage in one of these.
static const struct {
    const char *name;
    unsigned stages;
} shares[] = {
    {"embed", 1 << STAGE_EMBED},
    {"ln1, residual", 1 << STAGE_LN1},
    {"q k v", COUNT_QKV},
    {"store k v", COUNT_STORED},
    {"scores", 1 << STAGE_SCORES},
    {"softmax", 1 << STAGE_SOFTMAX},
    {"attend", 1 << STAGE_ATTEND},
    {"proj", 1 << STAGE_PROJ},
    {"ln2, residual", 1 << STAGE_LN2},
    {"fc", 1 << STAGE_FC},
    {"gelu", 1 << STAGE_GELU},
    {"fcproj", 1 << STAGE_FCPROJ},
    {"lnf, residual", 1 << STAGE_LNF},
    {"logits", 1 << STAGE_LOGITS},
};

static void print_group(const profile *p, const char *name, unsigned stages)
{
    const work done = count_sum(&p->done, stages);
    const double ns = profile_ns(p, stages);
    print_stage(name, ns, ns / profile_ns(p, COUNT_EVERYTHING), &done);
}

static void print_profile(const passes *of, const profile *p, pass which, size_t t)
{
    char name[PASS_NAME];
    char calls[FORMAT_ROOM], text[FORMAT_ROOM], other[FORMAT_ROOM];
    const double sum = profile_ns(p, COUNT_EVERYTHING);
    printf("\n%s, %s\n  %-14s %10s %8s %9s %9s %9s\n", model_label(p->done.m),
           passes_name(of, which, t, name), "stage", "time", "share", "GFLOP/s", "GB/s", "Gexp/s");
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        print_group(p, shares[i].name, shares[i].stages);
    print_group(p, "linear layers", COUNT_LINEAR);
    print_group(p, "attention", COUNT_ATTENTION);
    print_group(p, "everything", COUNT_EVERYTHING);
    if (kv_is_plain(&of->by[which]->kv))
        printf("  at these rates, attention overtakes the linear layers at %.0f tokens\n",
               profile_crossover(p, which));
    printf("  everything and %s of showing it in %s calls: %.2f %% of %s by the clock\n",
           format_ns(p->showing_ns, text), format_whole(p->calls, calls),
           100 * (sum + p->showing_ns) / p->watched_ns, format_ns(p->watched_ns, other));
    printf("  the pass takes %s when nobody watches\n", format_ns(p->unwatched_ns, text));
}

static size_t rounds(pass which, const bench_options *o)
{
    return o->samples ? o->samples : which == PASS_CACHED_STEP ? STEPS : ROUNDS;
}

static status profile_passes(passes *p, size_t t, void *user)
{
    const bench_options *o = user;
    const disturbance before = disturbance_so_far();
    status s = NULL;
    for (pass i = 0; i < PASSES && !s; i++) {
        profile taken;
        s = profile_take(p, i, t, rounds(i, o), &taken);
        if (!s)
            print_profile(p, &taken, i, t);
        fflush(stdout);
    }
    disturbance_warn_throttled(before);
    return s;
}

static status profile_body(void *options, int *exit_code)
{
    return passes_at_each(options, profile_passes, options, exit_code);
}

status profile_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status s = bench_options_parse(argc, argv, "m:W:c:n:d:k:t:", usage, &o, exit_code);
    if (s || o.help)
        return s;
    machine_warn_if_busy();
    return subjects_contain(profile_body, &o, exit_code);
}
