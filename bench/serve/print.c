// Tables for people, CSV for pictures, JSON for programs.
#include "bench/serve/print.h"

#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/text/utf8.h"

static double per_second(double n, double ns)
{
    return ns > 0 ? n / (ns * 1e-9) : 0;
}

// ---- a mix ----

static const load_result *result(const serve *s, size_t cache, size_t i)
{
    return &s->results[cache * s->counts + i];
}

static const char *decoder_name(size_t cache)
{
    return cache ? "prompt cache" : "no prompt cache";
}

static void print_mix(const serve *s)
{
    char text[7][FORMAT_ROOM];
    printf("%s, mix %s, seed %llu: texts of up to %zu tokens, pages of %s in all\n",
           model_label(s->m), s->mix.name, (unsigned long long)s->o.seed, s->mix.T,
           format_bytes((double)s->budget, text[0]));
    for (size_t cache = 0; cache < 2; cache++) {
        printf("\n  %s\n  %5s %10s %9s %7s  %-26s  %-26s %6s %9s %9s\n",
               cache ? "With a prompt cache" : "Without a prompt cache", "users", "requests/s",
               "tokens/s", "of one", "TTFT: half, 90 %, 99 %", "TPOT: half, 90 %, 99 %", "hits",
               "K/V", "preempted");
        const double one =
            per_second((double)result(s, cache, 0)->generated, result(s, cache, 0)->ns);
        for (size_t i = 0; i < s->counts; i++) {
            const load_result *n = result(s, cache, i);
            const double tokens = per_second((double)n->generated, n->ns);
            printf("  %5zu %10.3g %9.1f %7.2f  %8s %8s %8s  %8s %8s %8s %4.0f %% %9s %9zu\n",
                   s->users[i], per_second((double)n->requests, n->ns), tokens, tokens / one,
                   format_ns(n->ttft_ns[0], text[0]), format_ns(n->ttft_ns[1], text[1]),
                   format_ns(n->ttft_ns[2], text[2]), format_ns(n->tpot_ns[0], text[3]),
                   format_ns(n->tpot_ns[1], text[4]), format_ns(n->tpot_ns[2], text[5]),
                   100 * (double)n->cached / (double)n->prompt,
                   format_bytes((double)n->kv_peak, text[6]), n->preemptions);
        }
    }
}

// Empty for NaN: no answer had a second token.
static void print_cell(FILE *f, double ns)
{
    if (ns == ns)
        fprintf(f, ",%.0f", ns);
    else
        fputc(',', f);
}

static status print_mix_csv(FILE *f, const void *what)
{
    const serve *s = what;
    fputs("model,decoder,users,mix,seed,requests,prompt_tokens,cached_tokens,generated_tokens,"
          "passes,rows,recomputed_rows,preemptions,seconds,requests_per_s,tokens_per_s,"
          "ttft_p50_ns,ttft_p90_ns,ttft_p99_ns,tpot_p50_ns,tpot_p90_ns,tpot_p99_ns,kv_peak_bytes,"
          "kv_budget_bytes\n",
          f);
    for (size_t i = 0; i < 2 * s->counts; i++) {
        const load_result *n = &s->results[i];
        results_csv_text(f, model_label(s->m));
        fprintf(f, ",%s,%zu,", decoder_name(i / s->counts), s->users[i % s->counts]);
        results_csv_text(f, s->mix.name);
        fprintf(f, ",%llu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%.6g,%.6g,%.6g",
                (unsigned long long)s->o.seed, n->requests, n->prompt, n->cached, n->generated,
                n->passes, n->rows, n->recomputed, n->preemptions, n->ns * 1e-9,
                per_second((double)n->requests, n->ns), per_second((double)n->generated, n->ns));
        for (size_t k = 0; k < 2 * LOAD_PERCENTILES; k++)
            print_cell(f, k < LOAD_PERCENTILES ? n->ttft_ns[k] : n->tpot_ns[k - LOAD_PERCENTILES]);
        fprintf(f, ",%zu,%zu\n", n->kv_peak, s->budget);
    }
    return NULL;
}

// NaN, where no answer had a second token, has no place in JSON.
static json_t *number(double x)
{
    return x == x ? json_real(x) : json_null();
}

static json_t *percentiles_json(const double ns[LOAD_PERCENTILES])
{
    return json_pack("[o, o, o]", number(ns[0]), number(ns[1]), number(ns[2]));
}

static json_t *result_json(const serve *s, size_t i)
{
    const load_result *n = &s->results[i];
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:I}",
        "decoder", decoder_name(i / s->counts), "users", (json_int_t)s->users[i % s->counts],
        "requests", (json_int_t)n->requests, "prompt_tokens", (json_int_t)n->prompt,
        "cached_tokens", (json_int_t)n->cached, "generated_tokens", (json_int_t)n->generated,
        "passes", (json_int_t)n->passes, "rows", (json_int_t)n->rows, "recomputed_rows",
        (json_int_t)n->recomputed, "preemptions", (json_int_t)n->preemptions, "seconds",
        n->ns * 1e-9, "requests_per_s", per_second((double)n->requests, n->ns), "tokens_per_s",
        per_second((double)n->generated, n->ns), "ttft_p50_p90_p99_ns",
        percentiles_json(n->ttft_ns), "tpot_p50_p90_p99_ns", percentiles_json(n->tpot_ns),
        "kv_peak_bytes", (json_int_t)n->kv_peak);
}

// ---- passes ----

static double throughput(const serve *s, size_t c, size_t i)
{
    return per_second((double)s->users[i], s->passes.ns[c * s->counts + i].median);
}

static void print_passes(const serve *s)
{
    char text[4][FORMAT_ROOM];
    printf("%s: a pass with one row of each user, medians of %zu; the weights are %s\n\n  %8s "
           "%5s %10s %25s %9s %7s %10s\n",
           model_label(s->m), s->passes.samples, format_bytes((double)s->m->block_bytes, text[0]),
           "context", "users", "pass", "95 % interval", "tokens/s", "of one", "K/V");
    for (size_t c = 0; c < s->contexts; c++)
        for (size_t i = 0; i < s->counts; i++) {
            const estimate ns = s->passes.ns[c * s->counts + i];
            printf("  %8zu %5zu %10s %11s to %10s %9.1f %7.2f %10s\n", s->context[c], s->users[i],
                   format_ns(ns.median, text[0]), format_ns(ns.lo, text[1]),
                   format_ns(ns.hi, text[2]), throughput(s, c, i),
                   throughput(s, c, i) / throughput(s, c, 0),
                   format_bytes((double)(s->users[i] * cost_kv_bytes(&s->m->config, s->context[c])),
                                text[3]));
        }
}

static status print_passes_csv(FILE *f, const void *what)
{
    const serve *s = what;
    fputs("model,decoder,context,users,median_ns,ci_lo_ns,ci_hi_ns,tokens_per_s,of_one\n", f);
    for (size_t i = 0; i < s->contexts * s->counts; i++) {
        const size_t c = i / s->counts, k = i % s->counts;
        const estimate ns = s->passes.ns[i];
        results_csv_text(f, model_label(s->m));
        fprintf(f, ",context %zu,%zu,%zu,%.0f,%.0f,%.0f,%.6g,%.6g\n", s->context[c], s->context[c],
                s->users[k], ns.median, ns.lo, ns.hi, throughput(s, c, k),
                throughput(s, c, k) / throughput(s, c, 0));
    }
    return NULL;
}

static json_t *pass_json(const serve *s, size_t i)
{
    const size_t c = i / s->counts, k = i % s->counts;
    const estimate ns = s->passes.ns[i];
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "context", (json_int_t)s->context[c],
                     "users", (json_int_t)s->users[k], "median_ns", ns.median, "ci_lo_ns", ns.lo,
                     "ci_hi_ns", ns.hi, "tokens_per_s", throughput(s, c, k), "of_one",
                     throughput(s, c, k) / throughput(s, c, 0));
}

// ---- both ----

void serve_print(const serve *s)
{
    if (s->context)
        print_passes(s);
    else
        print_mix(s);
}

status serve_print_csv(FILE *f, const void *what)
{
    return ((const serve *)what)->context ? print_passes_csv(f, what) : print_mix_csv(f, what);
}

status serve_describe(const serve *s, json_t *about)
{
    status failed = NULL;
    const size_t n = s->context ? s->contexts * s->counts : 2 * s->counts;
    json_t *list = json_array();
    for (size_t i = 0; !failed && i < n; i++)
        if (json_array_append_new(list, s->context ? pass_json(s, i) : result_json(s, i)) != 0)
            failed = memory_failed("the results");
    if (!failed && (json_object_set_new(about, "seed", json_integer((json_int_t)s->o.seed)) != 0 ||
                    json_object_set(about, s->context ? "passes" : "results", list) != 0))
        failed = memory_failed("the results");
    if (!failed && !s->context &&
        (json_object_set_new(about, "mix", utf8_text(s->mix.name)) != 0 ||
         json_object_set_new(about, "kv_budget_bytes", json_integer((json_int_t)s->budget)) != 0))
        failed = memory_failed("the results");
    json_decref(list);
    return failed;
}
