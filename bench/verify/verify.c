// bench verify: every way of reaching a context must give the same logits, and the cache must hold
// what a recompute computes.
#include "bench/verify/verify.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/base/contexts.h"
#include "bench/base/results.h"
#include "bench/cost/cost.h"
#include "bench/locate/locate.h"
#include "bench/verify/verification.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/streams.h"
#include "common/number/numeric.h"
#include "common/text/utf8.h"
#include "naive/naive.h"

static const char CHANGED[] =
    "the model's weights are not what they were before the plug-in ran: work on a copy";

static const char USAGE[] =
    "build/bench verify [options]: compares a decoder with a recompute under the same spec, bit "
    "for bit, and says where they part.\n"
    "Exit status 0: no difference; 1: a difference, or an error; 2: usage.\n"
    "\n"
    "  -m, --model DIR|synthetic:...  default: the embedded model\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -c, --contexts LIST            such as 1,2,15-17,1023; default: all of a small model, a "
    "selection of a large one\n" SUBJECT_USAGE
    "                                 without either: kvcache\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n"
    "  -l, --limit SECONDS            how long all calls together, and what is compared, may take\n"
    "                                 (default: 100 times that)\n"
    "  -J, --judge SUBJECT            compare with this one's recompute (default: naive), under "
    "the spec of the other\n"
    "  -s, --seed N                   of the random walk (default 0)\n"
    "  -b, --budget CALLS             of the random walk (default: 50 to 2000, by the model)\n"
    "  -w, --work                     rows that are computed again are a failure too\n"
    "  -j, --json                     print one JSON object for each decoder instead\n";

// Contexts at which tiles, panels and chunks begin and end; or all, where that takes less than
// about half a minute.
static status select_contexts(const config *c, size_t **list, size_t *n)
{
    const double cheap = 4e12; // multiply-adds
    double work = 0;
    for (size_t t = 1; t <= c->T; t++)
        work += cost_multiply_adds(c, NULL, 0, t);
    char text[512];
    int used = snprintf(text, sizeof text, "1-%zu", work <= cheap || c->T < 4 ? c->T : 2);
    for (size_t t = 16; work > cheap && t + 1 < c->T; t *= 2)
        used += snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", t - 1, t + 1);
    if (work > cheap)
        snprintf(text + used, sizeof text - (size_t)used, ",%zu-%zu", c->T > 3 ? c->T - 1 : c->T,
                 c->T);
    return contexts_parse(text, c->T, list, n);
}

// "differ" in few characters: the number up to 999, then the share.
static const char *differing_text(const finding *f, char text[FORMAT_ROOM])
{
    const double share = 100 * (double)f->differing / (double)f->compared;
    if (f->differing < 1000)
        snprintf(text, FORMAT_ROOM, "%" PRIu64, f->differing);
    else if (f->differing == f->compared)
        snprintf(text, FORMAT_ROOM, "all");
    else if (share < 1)
        snprintf(text, FORMAT_ROOM, "<1 %%");
    else
        snprintf(text, FORMAT_ROOM, "%.0f %%", share < 99 ? share : 99.0);
    return text;
}

static void print_line(const char *who, const char *how, size_t n, const char *of, const finding *f,
                       const char *what)
{
    char compared[FORMAT_ROOM], differing[FORMAT_ROOM];
    printf("  %-8.8s %-21s %5zu %-8s %11s %s, %s differ\n", who, how, n, of,
           format_whole(f->compared, compared), what, differing_text(f, differing));
}

static void print_first(const verification *v, size_t w, const finding *f)
{
    const numeric_bits32 a = {.f = f->expected}, b = {.f = f->got};
    char line[512];
    const bool logit = f == &v->logits[w];
    printf("first difference: context %zu, reached %s, %s %zu\n",
           logit ? f->position + 1 : v->ways[w].moves[f->move].T, v->ways[w].name,
           logit ? "logit" : "key/value channel", f->index);
    snprintf(line, sizeof line, "recomputed %.9g (0x%08" PRIx32 "), %s %.9g (0x%08" PRIx32 ")",
             (double)f->expected, a.u, v->tested->name, (double)f->got, b.u);
    format_wrapped(stdout, " ", 4, line);
}

// What the ways that differ have in common; NULL: nothing that is known. The walk goes all ways, so
// it counts only where it is alone.
static const char *common_to_ways(const verification *v)
{
    bool wrong[WAYS], chunks = false;
    size_t n = 0;
    for (size_t w = 0; w < WAYS; w++) {
        wrong[w] = v->logits[w].differing > 0;
        n += wrong[w] && w != RANDOM_WALK;
        chunks = chunks || (wrong[w] && w > ONE_BY_ONE && w < FRESH);
    }
    if (wrong[ONE_BY_ONE] && v->logits[ONE_BY_ONE].position == 0)
        return "at context 1 already: what one row alone computes, stores and sees, with no "
               "other row before it";
    if (n == 1 && wrong[BESIDE_ANOTHER])
        return "beside another decoder only: the two share state";
    if (n == 2 && wrong[ROLLED_BACK] && wrong[EDITED])
        return "after rollbacks and edits only: where the text changes, not where it grows";
    if (n == 1 && wrong[ROLLED_BACK])
        return "after rollbacks only: where rows are taken back, not where the text grows";
    if (n == 1 && wrong[EDITED])
        return "after edits only: ids that changed in one place were taken for the same";
    if (n == 0 && wrong[RANDOM_WALK])
        return "in the random walk only: see its program of calls";
    if (chunks && !wrong[ONE_BY_ONE])
        return "not one by one: where one step computes several rows";
    if (wrong[ONE_BY_ONE] && !wrong[FRESH])
        return "not at once: where rows are used again, not where all are new";
    return NULL;
}

// The verdict: whether it passed, and why not.
static void print_verdict(const verification *v, bool passed)
{
    char a[FORMAT_ROOM], b[FORMAT_ROOM], c[FORMAT_ROOM], d[FORMAT_ROOM], text[512], kv[96];
    const finding logits = verification_total(v->logits), cache = verification_total(v->cache);
    if (cache.compared)
        snprintf(kv, sizeof kv, " and %s of %s keys and values differ",
                 format_whole(cache.differing, c), format_whole(cache.compared, d));
    snprintf(text, sizeof text, "%s: %s of %s logits%s%s%s%s%s%s", passed ? "PASS" : "FAIL",
             format_whole(logits.differing, a), format_whole(logits.compared, b),
             cache.compared ? kv : " differ; no keys and values were compared",
             v->lengths[0] ? "; rows are held wrongly" : "",
             v->walked.found.fault == FAULT_ACCEPTED ? "; wrong arguments were not refused"
             : v->walked.found.fault == FAULT_FAILED ? "; a call failed in the random walk"
             : v->walked.found.fault == FAULT_SHARED ? "; a call changed another decoder's logits"
                                                     : "",
             v->logits[RECOMPUTED].differing ? "; the judge does not agree with itself" : "",
             plugin_complaint() ? "; the floating-point environment was changed" : "",
             v->weights_changed ? "; the weights were changed" : "");
    format_wrapped(stdout, "verdict:", 2, text);
    const size_t n = v->ways[ONE_BY_ONE].n;
    if (v->rows_computed > n)
        snprintf(text, sizeof text, "but %s rows were computed one by one where %s were needed: %s",
                 format_whole(v->rows_computed, a), format_whole(n, b),
                 v->rows_computed == n * (n + 1) / 2 ? "this cache never hits"
                                                     : "some are computed again");
    else if (v->rows_edited > v->rows_changed)
        snprintf(text, sizeof text,
                 "but %s rows were computed after edits where %s were needed: it drops more than "
                 "has changed",
                 format_whole(v->rows_edited, a), format_whole(v->rows_changed, b));
    else
        return;
    format_wrapped(stdout, " ", 4, text);
}

// The shortest program of calls that the walk found to go wrong.
static void print_program(const walk *w, const way *program, FILE *f)
{
    if (w->found.fault == FAULT_NONE)
        return;
    fprintf(f, "the random walk went wrong at call %zu of --seed %" PRIu64, w->calls, w->seed);
    if (w->repeats)
        fprintf(f, "; this is enough:\n");
    else
        fprintf(f, ",\n  but not again with the same calls: not repeatable\n");
    if (w->repeats)
        program_print(program, &w->found, f);
}

static void print_rows(const verification *v, const char *when, uint64_t computed, uint64_t needed)
{
    char a[FORMAT_ROOM], b[FORMAT_ROOM];
    printf("  %-8.8s %-21s %11s computed, %s needed\n", v->tested->api->name, when,
           format_whole(computed, a), format_whole(needed, b));
}

static void print_report(const verification *v, bool passed)
{
    const size_t V = v->m->config.V;
    const finding cache = verification_total(v->cache);
    printf("verify %s on %s: contexts up to %zu, every bit\n", v->tested->name, model_label(v->m),
           v->last);
    print_line(v->judge->api->name, "recomputed, the judge", v->logits[RECOMPUTED].compared / V,
               "contexts", &v->logits[RECOMPUTED], "logits");
    for (size_t w = RECOMPUTED + 1; w < RANDOM_WALK; w++)
        print_line(v->tested->api->name, v->ways[w].name, v->logits[w].compared / V,
                   v->logits[w].compared == V ? "context" : "contexts", &v->logits[w], "logits");
    if (v->walked.calls > 0)
        print_line(v->tested->api->name, v->ways[RANDOM_WALK].name, v->walked.calls, "calls",
                   &v->logits[RANDOM_WALK], "logits");
    if (cache.compared)
        print_line(v->tested->api->name, "keys and values held", v->last, "contexts", &cache,
                   "numbers");
    else
        printf("  %-8.8s %s\n", v->tested->api->name,
               !v->judge->api->observe ? "is compared in its logits only: the judge shows no more"
               : v->tested->api->holds && v->tested->api->read_kv
                   ? "says of no row that it is held: logits only"
                   : "does not show its keys and values: logits only");
    if (v->rows_computed)
        print_rows(v, "rows, one by one", v->rows_computed, v->ways[ONE_BY_ONE].n);
    else
        printf("  %-8.8s does not show which rows it computes\n", v->tested->api->name);
    if (v->rows_edited)
        print_rows(v, "rows, after edits", v->rows_edited, v->rows_changed);
    printf("  SHA-256 of the recomputed logits:\n    %s\n", v->digest);
    print_verdict(v, passed);
}

// The same as print_program prints, for programs; null where nothing went wrong, NULL where memory
// did.
static json_t *program_json(const verification *v)
{
    char *text = NULL;
    size_t n;
    if (v->walked.found.fault == FAULT_NONE)
        return json_null();
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    print_program(&v->walked, &v->ways[RANDOM_WALK], f);
    fclose(f);
    json_t *o = json_string(text);
    free(text);
    return o;
}

// Everything as one object: documented in notes/07-your-own-cache.md.
static json_t *report_json(const verification *v, bool passed, const location *l)
{
    json_t *ways = json_array();
    char spec[KV_NAME];
    bool whole = ways;
    for (size_t w = RECOMPUTED + 1; whole && w < WAYS; w++)
        whole = !json_array_append_new(
            ways, json_pack("{s:s, s:I, s:I, s:I}", "reached", v->ways[w].name, "contexts",
                            (json_int_t)(v->logits[w].compared / v->m->config.V), "compared",
                            (json_int_t)v->logits[w].compared, "differing",
                            (json_int_t)v->logits[w].differing));
    const finding cache = verification_total(v->cache);
    if (!whole) {
        json_decref(ways);
        ways = NULL; // and json_pack fails
    }
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:b, s:o, s:{s:I, s:I}, s:{s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:o}, "
        "s:s?, s:s?, "
        "s:s?, s:s, s:o}",
        "model", utf8_text(model_label(v->m)), "judge", utf8_text(v->judge->api->name), "decoder",
        utf8_text(v->tested->api->name), "kv", utf8_text(kv_name(&v->tested->kv, spec)),
        "identical", passed, "ways", ways, "cache", "compared", (json_int_t)cache.compared,
        "differing", (json_int_t)cache.differing, "rows", "computed", (json_int_t)v->rows_computed,
        "needed", (json_int_t)v->ways[ONE_BY_ONE].n, "computed_after_edits",
        (json_int_t)v->rows_edited, "needed_after_edits", (json_int_t)v->rows_changed, "walk",
        "seed", (json_int_t)v->walked.seed, "calls", (json_int_t)v->walked.calls, "program",
        program_json(v), "length", v->lengths[0] ? v->lengths : NULL, "environment",
        plugin_complaint(), "weights", v->weights_changed ? CHANGED : NULL,
        "sha256_of_recomputed_logits", v->digest, "located", l ? location_json(l) : json_null());
}

static status print_json(const verification *v, bool passed, const location *l)
{
    json_t *report = report_json(v, passed, l);
    bool printed = report && json_dumpf(report, stdout, JSON_INDENT(2)) == 0;
    json_decref(report);
    printf("\n");
    if (printed)
        return NULL;
    return ferror(stdout) ? streams_written() : memory_failed("the JSON report");
}

static void print_held(const verification *v)
{
    const char *like = v->evicted
                           ? "an eviction of another row, or one that a rollback did not undo"
                           : v->lengths_like;
    format_wrapped(stdout, v->evicted ? "kept:" : like ? "length:" : "bytes:", 2, v->lengths);
    if (like)
        format_wrapped(stdout, "  looks like:", 4, like);
}

// Metadata first, then the cache's content and the stages: notes/06-bugs.md says why in this order.
static void print_findings(const verification *v, size_t w, const finding *f, const location *l)
{
    if (v->lengths[0])
        print_held(v);
    if (plugin_complaint())
        format_wrapped(stdout, "environment:", 2, plugin_complaint());
    if (v->weights_changed)
        format_wrapped(stdout, "weights:", 2, CHANGED);
    if (common_to_ways(v))
        format_wrapped(stdout, "where:", 2, common_to_ways(v));
    if (f)
        print_first(v, w, f);
    if (l)
        location_print(l, stdout);
}

static status report(verification *v, bool json, bool work, bool *passed)
{
    const finding *f;
    location l;
    const size_t w = verification_first(v, &f);
    status s = NULL;
    v->weights_changed = plugin_weights_changed(v->m);
    *passed = !f && !v->weights_changed && v->walked.found.fault == FAULT_NONE && !v->lengths[0] &&
              !plugin_complaint() && (!work || verification_work(v) <= 1);
    // What does not go wrong again cannot be located.
    const bool repeats = f && (w != RANDOM_WALK || v->walked.repeats);
    if (repeats)
        s = locate(v->m, v->judge, &v->ways[w], f->move, f == &v->logits[w] ? f->apart : 0, &l);
    if (s)
        return s;
    if (json)
        return print_json(v, *passed, repeats ? &l : NULL);
    print_report(v, *passed);
    print_findings(v, w, f, repeats ? &l : NULL);
    return NULL;
}

// What the fixed ways have found is said before the walk is made, which may end in a crash. As JSON
// it is all or nothing: there the walk is left out then.
static status walk_and_report(verification *v, const bench_options *o, bool *passed)
{
    const finding *f;
    const bool wrong = verification_first(v, &f) < WAYS || v->lengths[0];
    status s = wrong && !o->json ? report(v, false, o->work, passed) : NULL;
    fflush(stdout);
    if (!s && !(wrong && o->json))
        s = verification_walk(v, o);
    if (!s && !(wrong && !o->json))
        s = report(v, o->json, o->work, passed);
    if (!s && !o->json)
        print_program(&v->walked, &v->ways[RANDOM_WALK], stdout);
    return s;
}

// For build/results/verified.json.
static status record(const verification *v, bool passed)
{
    char dir[FILE_PATH_SIZE];
    if (results_make(NULL, dir)) // has been said
        return NULL;
    const finding logits = verification_total(v->logits), cache = verification_total(v->cache);
    char key[SUBJECT_KEY];
    const verification_record found = {.decoder = v->tested->name,
                                       .subject = subject_key(v->tested, key),
                                       .plugin = v->tested->plugin,
                                       .passed = passed,
                                       .contexts = v->n,
                                       .longest = v->last,
                                       .logits = logits.compared,
                                       .logits_differing = logits.differing,
                                       .kv = cache.compared,
                                       .kv_differing = cache.differing,
                                       .logits_sha256 = v->digest};
    const status s = results_record_verified(v->m, &found);
    if (s) // the verdict stands, whether it can be kept or not
        fprintf(stderr, "verify: note: what was found is not recorded: %.*s\n",
                (int)strcspn(s, ";"), s);
    return NULL;
}

// The judge of a subject is naive, or whom --judge names, under the subject's spec.
static status verify(const model *m, const subject *tested, const bench_options *o,
                     const size_t *contexts, size_t n, bool *passed)
{
    subject judge;
    verification v = {0};
    status s = subject_open(o->judge ? o->judge : naive_decoder.name, &judge);
    judge.kv = tested->kv;
    if (!s)
        s = verification_run(m, &judge, tested, contexts, n, &v);
    if (!s)
        s = walk_and_report(&v, o, passed);
    if (!s && !o->judge && !o->work) // the record tells of naive as the judge, and of bits alone
        s = record(&v, *passed);
    if (!s && v.walked.found.fault == FAULT_FAILED)
        s = status_fail("in the random walk: %s", v.walked.found.message);
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
        s = subject_open(o->subject[0], &tested);
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
    // Each thread has a judge and two decoders that are judged, one of which gives all logits, and
    // all are compared with one set of them.
    const size_t threads = (size_t)omp_get_max_threads();
    status s = subjects_check_memory(o, &(subjects_need){.model = o->model,
                                                         .first = naive_decoder.name,
                                                         .contexts = o->contexts,
                                                         .firsts = threads,
                                                         .others = 2 * threads,
                                                         .all_logits = 1 + threads});
    if (!s)
        s = model_load_as(o->model, o->weights, &m);
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
    char dir[FILE_PATH_SIZE];
    size_t failed = 0;
    status s = bench_options_parse(argc, argv, "m:W:c:d:k:t:l:jwJ:s:b:", USAGE, &o, exit_code);
    if (s || o.help)
        return s;
    if (o.limit_s <= 0)
        o.limit_s = 100 * o.timeout_s;
    if (o.subjects == 0)
        snprintf(o.subject[o.subjects++], OPTIONS_SUBJECT, "kvcache");
    if (results_make(NULL, dir))
        fprintf(stderr, "verify: note: %s cannot be written: what is found will not be recorded\n",
                dir);
    for (size_t i = 0; !s && i < o.subjects && *exit_code <= 128; i++) { // up to Ctrl-C
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
    if (!s && o.subjects > 1 && !o.json && *exit_code <= 128)
        printf(failed ? "\nverdict: FAIL: %zu of %zu decoders did not pass\n"
                      : "\nverdict: PASS: %zu of %zu decoders differ from their recompute\n",
               failed, o.subjects);
    return s;
}
