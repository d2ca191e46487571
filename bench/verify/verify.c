// bench verify: every way of reaching a context must give the same logits, and the cache must hold
// what a recompute computes.
#include "bench/verify/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "bench/verify/locate.h"
#include "bench/verify/verification.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/math/numeric.h"
#include "naive/naive.h"

static const char USAGE[] =
    "build/bench verify [options]: compares a decoder with a recompute under the same spec, bit "
    "for bit, and says where they part.\n"
    "Exit status 0: no difference; 1: a difference, or an error; 2: usage.\n"
    "\n"
    "  -m, --model DIR|synthetic:...  default: the embedded model\n"
    "  -c, --contexts LIST            such as 1,2,15-17,1023; default: all of a small model, a "
    "selection of a large one\n" SUBJECT_USAGE "                                 default: kvcache\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n"
    "  -J, --judge SUBJECT            compare with this one's recompute (default: naive), under "
    "the spec of the other\n"
    "  -w, --work                     rows that are computed again are a failure too\n"
    "  -j, --json                     print one JSON object for each decoder instead\n";

// Contexts at which tiles, panels and chunks begin and end; or all, where that takes less than
// about half a minute.
static status select_contexts(const config *c, size_t **list, size_t *n)
{
    const double cheap = 4e12; // multiply-adds
    double work = 0;
    for (size_t t = 1; t <= c->T; t++)
        work += cost_multiply_adds(c, 0, t);
    char text[512];
    int used = snprintf(text, sizeof text, "1-%zu", work <= cheap || c->T < 4 ? c->T : 2);
    for (size_t t = 16; work > cheap && t + 1 < c->T; t *= 2)
        used += snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", t - 1, t + 1);
    if (work > cheap)
        snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", c->T > 3 ? c->T - 1 : c->T,
                 c->T);
    return contexts_parse(text, c->T, list, n);
}

static void print_line(const char *who, const char *how, size_t contexts, const finding *f,
                       const char *what)
{
    char compared[FORMAT_ROOM], differing[FORMAT_ROOM];
    printf("  %-8s %-22s %5zu %-8s  %12s %s, %s differ\n", who, how, contexts,
           contexts == 1 ? "context" : "contexts", format_whole(f->compared, compared), what,
           format_whole(f->differing, differing));
}

static void print_first(const verification *v, size_t w, const finding *f)
{
    numeric_bits32 a = {.f = f->expected}, b = {.f = f->got};
    const bool logit = f == &v->logits[w];
    printf("first difference: context %zu, reached %s, %s %zu: recomputed %.9g (0x%08" PRIx32
           "), %s %.9g (0x%08" PRIx32 "), %" PRIu64 " ulp apart\n",
           logit ? f->position + 1 : v->ways[w].moves[f->move].T, v->ways[w].name,
           logit ? "logit" : "channel of a key or value", f->index, (double)f->expected, a.u,
           v->tested->name, (double)f->got, b.u, numeric_ulps(f->expected, f->got));
}

// The verdict in one line: whether it passed, and why not.
static void print_verdict(const verification *v, bool passed)
{
    char a[FORMAT_ROOM], b[FORMAT_ROOM];
    const finding logits = verification_total(v->logits), cache = verification_total(v->cache);
    printf("verdict: %s: %s of %s logits", passed ? "PASS" : "FAIL",
           format_whole(logits.differing, a), format_whole(logits.compared, b));
    if (cache.compared)
        printf(" and %s of %s keys and values differ", format_whole(cache.differing, a),
               format_whole(cache.compared, b));
    else
        printf(" differ; keys and values are not shown");
    printf("%s%s%s\n", v->lengths[0] ? "; rows are held wrongly" : "",
           v->logits[RECOMPUTED].differing ? "; the judge does not agree with itself" : "",
           plugin_complaint() ? "; the floating-point environment was changed" : "");
    if (verification_work(v) > 1)
        printf("  but %s rows were computed one by one where %s were needed: %s\n",
               format_whole(v->rows_computed, a), format_whole(v->ways[ONE_BY_ONE].n, b),
               v->rows_computed == v->ways[ONE_BY_ONE].n * (v->ways[ONE_BY_ONE].n + 1) / 2
                   ? "this cache never hits"
                   : "some are computed again");
}

static void print_report(const verification *v, bool passed)
{
    char a[FORMAT_ROOM], b[FORMAT_ROOM];
    const size_t V = v->m->config.V;
    const finding cache = verification_total(v->cache);
    printf("verify %s on %s: contexts up to %zu, every bit of every number\n", v->tested->name,
           model_label(v->m), v->last);
    print_line(v->judge->api->name, "recomputed, the judge", v->logits[RECOMPUTED].compared / V,
               &v->logits[RECOMPUTED], "logits");
    for (size_t w = RECOMPUTED + 1; w < WAYS; w++)
        print_line(v->tested->api->name, v->ways[w].name, v->logits[w].compared / V, &v->logits[w],
                   "logits");
    if (cache.compared)
        print_line(v->tested->api->name, "keys and values held", v->last, &cache, "numbers");
    else
        printf("  %-8s does not show its keys and values: logits only\n", v->tested->api->name);
    if (v->rows_computed)
        printf("  %-8s %-22s %12s computed, %s needed\n", v->tested->api->name, "rows, one by one",
               format_whole(v->rows_computed, a), format_whole(v->ways[ONE_BY_ONE].n, b));
    else
        printf("  %-8s does not show which rows it computes\n", v->tested->api->name);
    printf("  SHA-256 of the recomputed logits: %s\n", v->digest);
    print_verdict(v, passed);
}

// Everything as one object: documented in notes/07-your-own-cache.md.
static json_t *report_json(const verification *v, bool passed, const location *l)
{
    json_t *ways = json_array();
    char spec[KV_NAME];
    for (size_t w = RECOMPUTED + 1; w < WAYS; w++)
        json_array_append_new(ways, json_pack("{s:s, s:I, s:I, s:I}", "reached", v->ways[w].name,
                                              "contexts",
                                              (json_int_t)(v->logits[w].compared / v->m->config.V),
                                              "compared", (json_int_t)v->logits[w].compared,
                                              "differing", (json_int_t)v->logits[w].differing));
    const finding cache = verification_total(v->cache);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:o, s:{s:I, s:I}, s:{s:I, s:I}, s:s?, s:s?, s:s, s:o}", "model",
        model_label(v->m), "judge", v->judge->api->name, "decoder", v->tested->api->name, "kv",
        kv_name(&v->tested->kv, spec), "identical", passed, "ways", ways, "cache", "compared",
        (json_int_t)cache.compared, "differing", (json_int_t)cache.differing, "rows", "computed",
        (json_int_t)v->rows_computed, "needed", (json_int_t)v->ways[ONE_BY_ONE].n, "length",
        v->lengths[0] ? v->lengths : NULL, "environment", plugin_complaint(),
        "sha256_of_recomputed_logits", v->digest, "located", l ? location_json(l) : json_null());
}

static status print_json(const verification *v, bool passed, const location *l)
{
    json_t *report = report_json(v, passed, l);
    bool printed = report && json_dumpf(report, stdout, JSON_INDENT(2)) == 0;
    json_decref(report);
    printf("\n");
    return printed ? NULL
                   : status_fail("cannot print the report: standard output is closed or full");
}

// Metadata first, then the cache's content and the stages: notes/06-bugs.md says why in this order.
static void print_findings(const verification *v, size_t w, const finding *f, const location *l)
{
    if (v->lengths[0])
        printf(
            "length: %s\n  looks like: a count that is not reset or trimmed, or not in every layer "
            "(notes/06-bugs.md)\n",
            v->lengths);
    if (plugin_complaint())
        printf("environment: %s\n", plugin_complaint());
    if (f)
        print_first(v, w, f);
    if (l)
        location_print(l, stdout);
}

static status report(const verification *v, bool json, bool work, bool *passed)
{
    const finding *f;
    location l;
    const size_t w = verification_first(v, &f);
    status s = NULL;
    *passed = !f && !v->lengths[0] && !plugin_complaint() && (!work || verification_work(v) <= 1);
    if (f)
        s = locate(v->m, v->judge, &v->ways[w], f->move, f == &v->logits[w] ? f->apart : 0, &l);
    if (s)
        return s;
    if (json)
        return print_json(v, *passed, f ? &l : NULL);
    print_report(v, *passed);
    print_findings(v, w, f, f ? &l : NULL);
    return NULL;
}

// For build/results/verified.json.
static status record(const verification *v, bool passed)
{
    const finding logits = verification_total(v->logits), cache = verification_total(v->cache);
    char key[SUBJECT_KEY];
    const verification_record found = {.decoder = v->tested->name,
                                       .subject = subject_key(v->tested, key),
                                       .passed = passed,
                                       .contexts = v->n,
                                       .longest = v->last,
                                       .logits = logits.compared,
                                       .logits_differing = logits.differing,
                                       .kv = cache.compared,
                                       .kv_differing = cache.differing,
                                       .logits_sha256 = v->digest};
    return results_record_verified(v->m, &found);
}

// The judge of a subject is naive, or whom --judge names, under the subject's spec.
static status verify(const model *m, const subject *tested, const bench_options *o,
                     const size_t *contexts, size_t n, bool *passed)
{
    subject judge;
    verification v = {0};
    status s = subject_open(o->judge ? o->judge : naive_decoder.name, &m->config, &judge);
    judge.kv = tested->kv;
    if (!s)
        s = verification_run(m, &judge, tested, contexts, n, &v);
    if (!s)
        s = report(&v, o->json, o->work, passed);
    if (!s && !o->judge && !o->work) // the record tells of naive as the judge, and of bits alone
        s = record(&v, *passed);
    verification_free(&v);
    return s;
}

static status verify_model(const bench_options *o, const model *m, int *exit_code)
{
    size_t *contexts = NULL, n = 0;
    bool passed = false;
    subject tested;
    status s = o->contexts
                   ? bench_options_contexts(o->contexts, m->config.T, &contexts, &n, exit_code)
                   : select_contexts(&m->config, &contexts, &n);
    if (!s)
        s = subject_open(o->subject[0], &m->config, &tested);
    plugin_guard_weights(m, true);
    if (!s)
        s = verify(m, &tested, o, contexts, n, &passed);
    plugin_guard_weights(m, false);
    memory_free(contexts);
    if (!s && !passed)
        *exit_code = 1;
    return s;
}

// Verifies the one subject of these options.
static status verify_body(void *options, int *exit_code)
{
    const bench_options *o = options;
    model *m;
    status s = model_load(o->model, &m);
    if (s)
        return s;
    s = verify_model(o, m, exit_code);
    model_free(m);
    return s;
}

// One subject after the other, a plug-in in a process of its own.
status verify_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    size_t failed = 0;
    status s = bench_options_parse(argc, argv, "m:c:d:k:t:jwJ:", USAGE, &o, exit_code);
    if (s || o.help)
        return s;
    if (o.subjects == 0)
        snprintf(o.subject[o.subjects++], OPTIONS_SUBJECT, "kvcache");
    for (size_t i = 0; !s && i < o.subjects; i++) {
        bench_options one = o;
        int code = 0;
        one.subjects = 1;
        memcpy(one.subject[0], o.subject[i], OPTIONS_SUBJECT);
        if (i > 0 && !o.json)
            printf("\n");
        s = subjects_contain(verify_body, &one, &code);
        failed += code == 1;
        if (code)
            *exit_code = code;
    }
    if (!s && o.subjects > 1 && !o.json)
        printf("\nverdict: %s: %zu of %zu decoders differ from their recompute\n",
               failed ? "FAIL" : "PASS", failed, o.subjects);
    return s;
}
