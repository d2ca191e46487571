// bench strategies: the command, and how it goes on where it was stopped.
#include "bench/strategies/strategies.h"

#include <stdio.h>
#include <string.h>

#include "bench/base/interrupt.h"
#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/strategies/specs.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "kvcache/kvcache.h"

static const char usage[] =
    "build/bench strategies [options]: ways to keep keys and values side by side: bytes, loss, "
    "time\n\n"
    "  -m, --model DIR|synthetic:...  where times are taken (default: the embedded model, "
    "synthetic:124M,\n"
    "                                 and one with a context of 8192 tokens)\n"
    "  -c, --contexts 16,32,100-103   at which contexts (default: the longest, and 1/4, 1/16 and "
    "1/64 of it)\n"
    "  -b, --budget SECONDS           of the times (default 300), and 6 to 100 samples of each\n"
    "  -n, --samples N                take N samples of each instead, however long it lasts; 6 or "
    "more\n"
    "  -s, --seed N                   of the order in which samples are taken (default 0)\n"
    "  -q, --quick                    loss on 4 windows of the text, times up to 256 tokens, 6 "
    "samples\n"
    "  -o, --out DIR                  results, strategies*.csv and strategies.json (default:\n"
    "                                 build/results)\n"
    "  -j, --json                     print strategies.json in place of the tables\n" SUBJECT_USAGE
    "                                 these take the place of the usual specs; plain comes first\n"
    "  -t, --timeout SECONDS          how long one call of the plug-in may take (default 60)\n\n"
    "Loss is measured with the embedded model on the text in bench/strategies/val.txt, which it "
    "was not\ntrained on. Run again, what was stopped goes on where it stopped.\n";

enum { QUICK_WINDOWS = 4 };

static status read_text(strategies *s)
{
    tokenizer *t = NULL;
    char *bytes = NULL;
    size_t length;
    s->text.m = s->m;
    status failed = tokenizer_load_for(s->m, &t);
    if (!failed)
        failed = file_read(SOURCE_DIR "/bench/strategies", "val.txt", &bytes, &length);
    if (!failed)
        failed = tokenizer_encode(t, bytes, length, &s->text.ids, &s->text.n);
    if (s->o.quick)
        s->text.n = size_min(s->text.n, QUICK_WINDOWS * s->m->config.T + 1);
    memory_free(bytes);
    tokenizer_free(t);
    return failed;
}

// On what all figures depend: no other run is gone on with.
static status identify(const strategies *s, json_t **out)
{
    char digest[65];
    json_t *models = json_object(), *places = json_object(), *decoders = subjects_json(&s->of);
    status failed = model_digest(s->m, digest);
    for (size_t k = 0; k < s->times.sites && !failed; k++) {
        const times_site *at = &s->times.site[k];
        char timed[65];
        json_t *list = json_array();
        for (size_t i = 0; i < at->contexts; i++)
            json_array_append_new(list, json_integer((json_int_t)at->context[i]));
        utf8_set_new(places, model_label(at->m), list);
        failed = model_digest(at->m, timed);
        if (!failed)
            utf8_set_new(models, model_label(at->m), json_string(timed));
    }
    *out = failed ? NULL
                  : json_pack("{s:o, s:s, s:I, s:I, s:O*, s:O*, s:O*, s:I}", "model",
                              utf8_text(model_label(s->m)), "model_sha256", digest, "tokens",
                              (json_int_t)(s->text.n - 1), "window", (json_int_t)s->m->config.T,
                              "decoders", decoders, "models", models, "places", places, "seed",
                              (json_int_t)s->o.seed);
    json_decref(models);
    json_decref(places);
    json_decref(decoders);
    return failed || *out ? failed : memory_failed("the description of a measurement");
}

static status describe(strategies *s)
{
    json_t *basis = NULL;
    status failed = machine_context(s->m, &s->about);
    if (!failed)
        failed = identify(s, &basis);
    if (!failed && json_object_set(s->about, "basis", basis) != 0)
        failed = memory_failed("the description of a measurement");
    json_decref(basis);
    return failed;
}

static status save(strategies *s)
{
    status failed = strategies_describe(s, s->about);
    return failed ? failed : results_write_json(s->dir, "strategies.json", s->about);
}

// ---- going on ----

static double number(const json_t *of, const char *key)
{
    return json_number_value(json_object_get(of, key));
}

// What is not whole is measured again.
static void take_over_loss(strategies *s, const json_t *old)
{
    const char *name = json_string_value(json_object_get(old, "decoder"));
    const bool whole = name && number(old, "tokens") == (double)(s->text.n - 1) &&
                       number(old, "window") >= 1 && number(old, "bytes") >= 0;
    for (size_t d = 0; whole && d < s->of.n; d++)
        if (strcmp(name, s->of.at[d].name) == 0)
            s->losses[d] = (loss){.tokens = (size_t)number(old, "tokens"),
                                  .window = (size_t)number(old, "window"),
                                  .bytes = (size_t)number(old, "bytes"),
                                  .nll = number(old, "nll"),
                                  .kl_mean = number(old, "kl_mean"),
                                  .kl_99 = number(old, "kl_99"),
                                  .top1 = number(old, "top1"),
                                  .largest = number(old, "largest")};
}

// Whether `old` was written by this build for the same things.
static bool goes_on(const strategies *s, const json_t *old)
{
    const json_t *build = json_object_get(json_object_get(old, "build"), "sha256"),
                 *now = json_object_get(json_object_get(s->about, "build"), "sha256");
    json_t *basis = json_object_get(old, "basis"), *own = json_object_get(s->about, "basis");
    return json_equal(build, now) && json_equal(basis, own);
}

// Takes over what an earlier run has left; *resume: whether there was such a thing.
static status take_over(strategies *s, bool *resume)
{
    json_t *old = NULL, *one;
    size_t i;
    if (!file_exists(s->dir, "strategies.json"))
        return NULL;
    status failed = file_read_json(s->dir, "strategies.json", &old);
    if (failed)
        return status_fail("%s; or remove it to begin anew", failed);
    *resume = goes_on(s, old);
    if (!*resume)
        fprintf(stderr,
                "note: %s/strategies.json is of another build, or of other decoders, models, "
                "contexts or text: begun anew\n",
                s->dir);
    json_array_foreach(json_object_get(old, "loss"), i, one) if (*resume) take_over_loss(s, one);
    s->one_pass = *resume ? number(old, "one_pass_nll") : 0;
    if (*resume)
        json_object_set(s->about, "times", json_object_get(old, "times"));
    json_decref(old);
    return NULL;
}

// ---- measuring ----

static status measure_losses(strategies *s)
{
    const size_t rows = s->text.n - 1;
    loss_meter meter = {.bar = progress_begin("loss")};
    status failed = NULL;
    for (size_t d = 0; d < s->of.n; d++)
        meter.all += s->losses[d].tokens == 0 ? rows : 0;
    meter.all += s->one_pass > 0 ? 0 : rows;
    if (meter.all > 0)
        fprintf(stderr, "loss of %zu decoders on %zu tokens\n", s->of.n, rows);
    if (s->one_pass <= 0)
        failed = loss_one_pass(&s->text, &meter, &s->one_pass);
    for (size_t d = 0; d < s->of.n && !failed && !interrupt_asked(); d++) {
        if (s->losses[d].tokens > 0)
            continue;
        failed = loss_measure(&s->text, &s->of.at[0], &s->of.at[d], &meter, &s->losses[d]);
        if (!failed)
            failed = save(s);
    }
    progress_end(&meter.bar);
    return failed;
}

static status finish(strategies *s)
{
    status failed =
        results_write(s->dir, "strategies-summary.csv", rounds_print_summary, &s->times.rounds);
    if (!failed)
        failed = results_write(s->dir, "strategies.csv", strategies_print_csv, s);
    if (!failed)
        failed = save(s);
    if (!failed && s->o.json)
        json_dumpf(s->about, stdout, JSON_INDENT(2));
    else if (!failed)
        failed = strategies_print(s);
    return failed || s->o.json ? failed : rounds_print_noise(&s->times.rounds);
}

static status measure(strategies *s, int *exit_code)
{
    bool resume = false;
    status failed = describe(s);
    if (!failed)
        failed = take_over(s, &resume);
    if (!failed)
        failed = times_begin(&s->times, &s->o, s->dir, resume);
    if (!failed && resume)
        rounds_resume(&s->times.rounds, json_object_get(s->about, "times"));
    if (!failed)
        failed = measure_losses(s);
    if (!failed)
        failed = times_run(&s->times);
    if (!failed)
        failed = finish(s);
    if (!failed && interrupt_asked())
        *exit_code = interrupt_exit_code();
    return failed;
}

static status open(strategies *s, int *exit_code)
{
    static const char *const files[] = {"strategies.json", "strategies-summary.csv",
                                        "strategies.csv", NULL};
    status failed = results_take(s->o.out, files, s->dir, &s->lock);
    if (!failed)
        failed = model_load(model_default(), &s->m);
    if (failed)
        return failed;
    if (s->o.subjects == 0)
        specs_add(specs_usual, &s->o, stderr);
    failed = subjects_open(&s->o, kvcache_decoder.name, &s->of);
    if (!failed)
        failed = read_text(s);
    s->losses = memory_array(s->of.n, sizeof *s->losses);
    if (!failed && !s->losses)
        failed = memory_failed("the losses");
    return failed ? failed : times_open(&s->o, &s->of, &s->times, exit_code);
}

static status strategies_body(void *options, int *exit_code)
{
    strategies s = {.o = *(const bench_options *)options, .lock = -1};
    interrupt_catch();
    status failed = open(&s, exit_code);
    if (!failed)
        failed = measure(&s, exit_code);
    interrupt_release();
    times_free(&s.times);
    memory_free(s.losses);
    memory_free(s.text.ids);
    subjects_free(&s.of);
    json_decref(s.about);
    model_free(s.m);
    results_unlock(s.lock);
    return failed;
}

status strategies_command(int argc, char **argv, int *exit_code)
{
    bench_options o;
    status failed = bench_options_parse(argc, argv, "m:c:b:n:s:o:d:k:t:qj", usage, &o, exit_code);
    if (!failed)
        failed = bench_options_enough_samples(&o, exit_code);
    if (failed || o.help)
        return failed;
    return subjects_contain(strategies_body, &o, exit_code);
}
