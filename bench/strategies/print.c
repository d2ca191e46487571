// What bench strategies shows: tables, strategies.csv, strategies.json.
#include <math.h>
#include <string.h>

#include "bench/base/results.h"
#include "bench/strategies/strategies.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/text/utf8.h"

const char *strategies_name(const subject *of)
{
    static const char ours[] = "kvcache";
    const size_t n = strlen(ours);
    if (strcmp(of->name, ours) == 0)
        return "plain";
    return strncmp(of->name, ours, n) == 0 && of->name[n] == ':' ? of->name + n + 1 : of->name;
}

double strategies_token_bytes(const loss *l)
{
    return (double)l->bytes / (double)l->window;
}

static int name_width(const strategies *s)
{
    size_t width = strlen("spec");
    for (size_t d = 0; d < s->of.n; d++)
        width = size_max(width, strlen(strategies_name(&s->of.at[d])));
    return (int)width;
}

// A ratio, or a dash where there is none; a ~ behind one whose interval has 1 in it.
static void print_ratio(estimate ratio)
{
    if (isnan(ratio.lo))
        printf("  %7s ", "-");
    else
        printf("  %7.3f%c", ratio.median, ratio.lo < 1 && 1 < ratio.hi ? '~' : ' ');
}

// One row of the first table: loss, and the step at each model's longest context.
static status print_row(const strategies *s, size_t d, int width)
{
    const loss *l = &s->losses[d];
    char text[FORMAT_ROOM];
    if (l->tokens == 0)
        return NULL;
    printf("  %-*s  %9.1f  %9s  %7.4f  %10.3f  %9.3g  %9.3g  %6.2f %%  %8.3g", width,
           strategies_name(&s->of.at[d]), strategies_token_bytes(l),
           format_bytes((double)l->bytes, text), l->nll, exp(l->nll), l->kl_mean, l->kl_99,
           100 * l->top1, l->largest);
    for (size_t k = 0; k < s->times.sites; k++) {
        const times_site *at = &s->times.site[k];
        estimate ratio;
        status failed = times_ratio(&s->times, at, d, at->contexts - 1, TIMES_STEP, &ratio);
        if (failed)
            return failed;
        print_ratio(ratio);
    }
    printf("\n");
    return NULL;
}

static void print_heading(const strategies *s, int width)
{
    char text[FORMAT_ROOM];
    printf("Loss read through the cache: %s, %s tokens of bench/strategies/val.txt in windows of "
           "%zu\n",
           model_label(s->m), format_whole(s->text.n - 1, text), s->m->config.T);
    for (size_t k = 0; k < s->times.sites; k++) {
        const times_site *at = &s->times.site[k];
        printf("Step %zu: %s at %zu tokens, times plain's (~: perhaps the same)\n", k + 1,
               model_label(at->m), at->context[at->contexts - 1]);
    }
    printf("\n  %-*s  %9s  %9s  %7s  %10s  %9s  %9s  %8s  %8s", width, "spec", "B/token", "K/V",
           "NLL", "perplexity", "KL mean", "KL 99 %", "top-1", "largest");
    for (size_t k = 0; k < s->times.sites; k++)
        printf("  step %zu ", k + 1);
    printf("\n");
}

// The trap: a figure that no spec can change beside those that are read through the cache.
static void print_trap(const strategies *s)
{
    double least = INFINITY, most = 0;
    for (size_t d = 0; d < s->of.n; d++)
        if (s->losses[d].tokens > 0) {
            least = fmin(least, exp(s->losses[d].nll));
            most = fmax(most, exp(s->losses[d].nll));
        }
    if (most > 0 && s->one_pass > 0)
        printf("\nThe one-pass trap: read through the cache, perplexity is %.3f to %.3f; from one "
               "pass over each window, which\nnever reads it, it is %.3f for every spec above, "
               "and says nothing of any.\n",
               least, most, exp(s->one_pass));
}

// The last columns: at the longest context, in times of plain.
static status print_ratios(const strategies *s, const times_site *at, size_t d)
{
    for (times_metric k = TIMES_TTFT; k <= TIMES_STEP; k++) {
        estimate ratio;
        char text[64] = "-";
        status failed = times_ratio(&s->times, at, d, at->contexts - 1, k, &ratio);
        if (failed)
            return failed;
        if (!isnan(ratio.lo))
            snprintf(text, sizeof text, "%.3f (%.3f to %.3f)", ratio.median, ratio.lo, ratio.hi);
        printf(k == TIMES_TTFT ? "  %-24s" : "  %s\n", text);
    }
    return NULL;
}

// A spec's medians at each context, and its bytes at the longest.
static status print_times_row(const strategies *s, const times_site *at, size_t d)
{
    const times *t = &s->times;
    const size_t last = at->contexts - 1;
    char text[FORMAT_ROOM], bytes[FORMAT_ROOM] = "-";
    for (size_t i = 0; i < at->contexts; i++)
        for (times_metric k = TIMES_TTFT; k <= TIMES_STEP; k++)
            printf("  %11s", times_known(t, at, d, i)
                                 ? format_ns(times_of(t, at, d, i, k).median, text)
                                 : "-");
    if (times_known(t, at, d, last))
        format_bytes(times_of(t, at, d, last, TIMES_BYTES).median, bytes);
    printf("  %9s", bytes);
    return print_ratios(s, at, d);
}

// TTFT and step of one model: a row for each spec, two columns for each context.
static status print_times(const strategies *s, const times_site *at, int width)
{
    status failed = NULL;
    printf("\n%s: medians of %zu rounds%s\n  %-*s", model_label(at->m), s->times.rounds.whole,
           s->times.rounds.partial ? ", PARTIAL" : "", width, "spec");
    for (size_t i = 0; i < at->contexts; i++)
        printf("  TTFT %6zu  step %6zu", at->context[i], at->context[i]);
    printf("  %9s  %-24s  %s\n", "K/V", "TTFT, times plain's", "step, times plain's");
    for (size_t d = 0; d < s->of.n && !failed; d++) {
        printf("  %-*s", width, strategies_name(&s->of.at[d]));
        failed = print_times_row(s, at, d);
    }
    return failed;
}

// Names the specs on whose figures nobody has held the check: a wrong cache loses, too.
static void print_unverified(const strategies *s)
{
    char key[SUBJECT_KEY];
    size_t n = 0;
    for (size_t d = 0; d < s->of.n; d++)
        if (results_verified(s->m, subject_key(&s->of.at[d], key)) + 1 < s->m->config.T)
            printf("%s%s",
                   n++ == 0 ? "\nNot verified by this build on this model, so what is said "
                              "of them may be a bug's: "
                            : ", ",
                   strategies_name(&s->of.at[d]));
    if (n > 0) {
        printf(".\nbuild/bench verify");
        bench_options_print_model(stdout, model_label(s->m));
        printf(" --kv SPEC does it.\n");
    }
}

status strategies_print(const strategies *s)
{
    const int width = name_width(s);
    status failed = NULL;
    print_heading(s, width);
    for (size_t d = 0; d < s->of.n && !failed; d++)
        failed = print_row(s, d, width);
    if (failed)
        return failed;
    print_trap(s);
    printf("\nB/token: bytes of K/V, scales included, a token of a full window; K/V: all that is "
           "held then. KL, NLL: nats.\nLargest: difference of a logit. The figures are of this "
           "text and this model.\n");
    for (size_t k = 0; k < s->times.sites && !failed; k++)
        failed = print_times(s, &s->times.site[k], width);
    if (!failed)
        print_unverified(s);
    return failed;
}

status strategies_print_csv(FILE *f, const void *what)
{
    const strategies *s = what;
    fputs("model,decoder,tokens,window,kv_bytes,bytes_per_token,nll,perplexity,kl_mean,kl_99,top1,"
          "largest_difference\n",
          f);
    for (size_t d = 0; d < s->of.n; d++) {
        const loss *l = &s->losses[d];
        if (l->tokens == 0)
            continue;
        results_csv_text(f, model_label(s->m));
        fputc(',', f);
        results_csv_text(f, s->of.at[d].name);
        fprintf(f, ",%zu,%zu,%zu,%.6g,%.9g,%.9g,%.6g,%.6g,%.6g,%.6g\n", l->tokens, l->window,
                l->bytes, strategies_token_bytes(l), l->nll, exp(l->nll), l->kl_mean, l->kl_99,
                l->top1, l->largest);
    }
    return NULL;
}

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static status describe_losses(const strategies *s, json_t *list)
{
    for (size_t d = 0; d < s->of.n; d++) {
        const loss *l = &s->losses[d];
        if (l->tokens == 0)
            continue;
        json_t *one = json_pack("{s:o, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
                                "decoder", utf8_text(s->of.at[d].name), "tokens",
                                (json_int_t)l->tokens, "window", (json_int_t)l->window, "bytes",
                                (json_int_t)l->bytes, "bytes_per_token", strategies_token_bytes(l),
                                "nll", l->nll, "perplexity", exp(l->nll), "kl_mean", l->kl_mean,
                                "kl_99", l->kl_99, "top1", l->top1, "largest", l->largest);
        if (json_array_append_new(list, one) != 0)
            return memory_failed("the losses");
    }
    return NULL;
}

static status describe_cell(const strategies *s, const times_site *at, size_t d, size_t i,
                            json_t *list)
{
    estimate ratio;
    status failed = times_ratio(&s->times, at, d, i, TIMES_STEP, &ratio);
    if (failed || !times_known(&s->times, at, d, i))
        return failed;
    const estimate ttft = times_of(&s->times, at, d, i, TIMES_TTFT),
                   step = times_of(&s->times, at, d, i, TIMES_STEP);
    json_t *one = json_pack("{s:o, s:o, s:I, s:I, s:[o, o, o], s:[o, o, o], s:[o, o, o]}", "model",
                            utf8_text(model_label(at->m)), "decoder", utf8_text(s->of.at[d].name),
                            "context", (json_int_t)at->context[i], "kv_bytes",
                            (json_int_t)times_of(&s->times, at, d, i, TIMES_BYTES).median,
                            "ttft_ns", real(ttft.median), real(ttft.lo), real(ttft.hi), "step_ns",
                            real(step.median), real(step.lo), real(step.hi), "step_of_plain",
                            real(ratio.median), real(ratio.lo), real(ratio.hi));
    return json_array_append_new(list, one) == 0 ? NULL : memory_failed("the times");
}

static status describe_times(const strategies *s, json_t *about)
{
    json_t *cells = json_array();
    status failed =
        json_object_set_new(about, "cells", cells) == 0 ? NULL : memory_failed("the times");
    for (size_t k = 0; k < s->times.sites; k++)
        for (size_t d = 0; d < s->of.n; d++)
            for (size_t i = 0; i < s->times.site[k].contexts && !failed; i++)
                failed = describe_cell(s, &s->times.site[k], d, i, cells);
    return failed ? failed : rounds_describe(&s->times.rounds, about);
}

status strategies_describe(const strategies *s, json_t *about)
{
    json_t *losses = json_array(), *timed = json_object();
    status failed = losses && timed ? describe_losses(s, losses) : memory_failed("the results");
    if (!failed)
        failed = describe_times(s, timed);
    if (!failed && (json_object_set(about, "loss", losses) != 0 ||
                    json_object_set(about, "times", timed) != 0 ||
                    json_object_set_new(about, "one_pass_nll", json_real(s->one_pass)) != 0))
        failed = memory_failed("the results");
    json_decref(losses);
    json_decref(timed);
    return failed;
}
