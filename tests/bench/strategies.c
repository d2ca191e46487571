// bench strategies: loss by its definition, a row for each spec, and a run that goes on.
#include "bench/strategies/strategies.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "bench/strategies/specs.h"
#include "common/base/memory.h"
#include "common/text/tokenizer.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/command.h"
#include "tests/support/shell.h"

#define TINY "synthetic:L=1,C=32,H=2,T=64,V=64"

TestSuite(strategies, .init = support_enter_folder, .fini = support_leave_folder, .timeout = 400);

// p = (1/2, 1/4, 1/4), q = (1/5, 1/5, 3/5): KL = 1/2 log 5/2 + 1/4 log 5/4 + 1/4 log 5/12.
Test(strategies, loss_of_a_row_is_what_paper_and_pencil_say)
{
    const float z[] = {(float)log(2), 0, 0}, y[] = {5, 5, 5 + (float)log(3)};
    double room[6];
    loss_row r = loss_of_row(z, y, 3, 2, room);
    cr_assert_float_eq(r.kl, log(2.5) / 2 + log(1.25) / 4 + log(5. / 12) / 4, 1e-6, "%.9f", r.kl);
    cr_assert_float_eq(r.nll, log(5. / 3), 1e-6, "%.9f", r.nll);
    cr_assert(!r.top1);
    cr_assert_float_eq(r.largest, 5 + log(3), 1e-6);
    // Logits that differ by a constant are one distribution; equal rows have no divergence at all.
    const float shifted[] = {3 + (float)log(2), 3, 3};
    r = loss_of_row(z, shifted, 3, 0, room);
    cr_assert(r.top1 && fabs(r.kl) < 1e-7 && fabs(r.nll - log(2)) < 1e-7, "%g", r.kl);
    r = loss_of_row(y, y, 3, 0, room);
    cr_assert(r.kl == 0 && r.top1 && r.largest == 0);
    // Large logits do not overflow: log(e^1000 + e^999) = 1000 + log(1 + 1/e).
    const float high[] = {1000, 999, -1000};
    r = loss_of_row(high, high, 3, 1, room);
    cr_assert_float_eq(r.nll, 1 + log(1 + exp(-1)), 1e-9);
}

// The first `n` ids of the text.
static loss_text read_text(const model *m, size_t n)
{
    char *bytes;
    size_t length;
    tokenizer *t;
    loss_text text = {.m = m};
    cr_assert_null(tokenizer_load_for(m, &t));
    cr_assert_null(file_read(SOURCE_DIR "/bench/strategies", "val.txt", &bytes, &length));
    cr_assert_eq(length, 107052);
    cr_assert_null(tokenizer_encode(t, bytes, length, &text.ids, &text.n));
    cr_assert_eq(text.n, 46942);
    text.n = n;
    memory_free(bytes);
    tokenizer_free(t);
    return text;
}

static loss loss_under(const loss_text *t, const char *spec)
{
    const subject plain = {.api = &kvcache_decoder, .name = "kvcache"};
    subject of = {.api = &kvcache_decoder, .name = "of"};
    loss_meter meter = {.all = 1};
    loss l;
    cr_assert_null(kv_parse(spec, &of.kv));
    const status s = loss_measure(t, &plain, &of, &meter, &l);
    cr_assert_null(s, "%s: %s", spec, s);
    cr_assert_eq(l.tokens, t->n - 1);
    return l;
}

// Two windows, the second one short. NLL once more: naive, each window at once, and a sum that
// shares nothing with loss.c.
Test(strategies, nll_of_plain_is_an_independent_sum)
{
    model *m;
    decoder *d;
    double sum = 0, one_pass;
    const float *logits;
    cr_assert_null(model_load(model_default(), &m));
    const loss_text t = read_text(m, m->config.T + 40);
    cr_assert_null(naive_decoder.create(m, &(decoder_options){.T_max = m->config.T}, &d));
    const size_t T = m->config.T, begins[] = {0, T, t.n - 1};
    for (size_t w = 0; w < 2; w++) {
        const size_t n = begins[w + 1] - begins[w];
        cr_assert_null(naive_decoder.step(d, t.ids + begins[w], n, n, &logits));
        for (size_t i = 0; i < n; i++, logits += m->config.V) {
            const size_t next = (size_t)t.ids[begins[w] + i + 1];
            long double all = 1; // its own term
            for (size_t v = 0; v < m->config.V; v++)
                all += v == next ? 0 : expl((long double)logits[v] - (long double)logits[next]);
            sum += (double)logl(all);
        }
    }
    const loss l = loss_under(&t, "all");
    cr_assert_float_eq(l.nll, sum / (double)(t.n - 1), 1e-12, "%.15f and %.15f", l.nll,
                       sum / (double)(t.n - 1));
    cr_assert(l.kl_mean == 0 && l.kl_99 == 0 && l.top1 == 1 && l.largest == 0);
    // The one-pass figure is plain's, whatever the spec.
    loss_meter meter = {.all = 1};
    cr_assert_null(loss_one_pass(&t, &meter, &one_pass));
    cr_assert_eq(one_pass, l.nll);
    cr_assert_eq(l.window, m->config.T);
    cr_assert_eq(l.bytes, m->config.T * 2 * m->config.L * m->config.C * sizeof(float));
    naive_decoder.destroy(d);
    memory_free(t.ids);
    model_free(m);
}

Test(strategies, half_precision_loses_less_than_a_narrow_window)
{
    model *m;
    cr_assert_null(model_load(model_default(), &m));
    const loss_text t = read_text(m, m->config.T + 1);
    const loss half = loss_under(&t, "f16"), wide = loss_under(&t, "window:256+4"),
               narrow = loss_under(&t, "window:64");
    cr_assert(0 < half.kl_mean && half.kl_mean < 1e-6, "%g", half.kl_mean);
    cr_assert(half.kl_mean < wide.kl_mean && wide.kl_mean < narrow.kl_mean);
    cr_assert(half.kl_99 < narrow.kl_99 && half.kl_mean < half.kl_99);
    cr_assert(half.top1 > narrow.top1 && half.largest < narrow.largest);
    cr_assert(half.nll < narrow.nll);
    cr_assert(narrow.bytes < wide.bytes && wide.bytes < 2 * half.bytes);
    memory_free(t.ids);
    model_free(m);
}

Test(strategies, a_spec_that_this_build_does_not_know_is_left_out_with_a_note)
{
    const char *const list[] = {"f16", "q3", "window:64+4", "window:0", NULL};
    bench_options o = {0};
    char notes[1024] = "";
    FILE *f = fmemopen(notes, sizeof notes, "w");
    specs_add(list, &o, f);
    fclose(f);
    cr_assert_eq(o.subjects, 2);
    cr_assert_str_eq(o.subject[0], "kvcache:f16");
    cr_assert_str_eq(o.subject[1], "kvcache:window:64+4");
    cr_assert(strstr(notes, "note: q3 is left out: --kv q3: 'q3' is no way to keep"), "%s", notes);
    cr_assert(strstr(notes, "note: window:0 is left out: "), "%s", notes);
    // All the usual ones fit beside each other.
    size_t usual = 0;
    while (specs_usual[usual])
        usual++;
    cr_assert(usual >= 15 && usual <= OPTIONS_SUBJECTS, "%zu", usual);
    o.subjects = 0;
    specs_add(specs_usual, &o, stderr);
    cr_assert(o.subjects >= 9);
}

#define QUICK(...) RUN(strategies_command, "strategies", "-q", "-m", TINY, "-o", ".", __VA_ARGS__)

static json_t *description(void)
{
    json_t *about = json_loads(command_file(".", "strategies.json"), 0, NULL);
    cr_assert_not_null(about, "strategies.json is no JSON");
    return about;
}

static double field(const json_t *of, const char *key)
{
    const json_t *value = json_object_get(of, key);
    cr_assert(json_is_number(value), "%s is missing", key);
    return json_number_value(value);
}

Test(strategies, every_spec_has_its_row_in_every_file)
{
    const char *const names[] = {"plain", "f16", "heavy:8+8", "window:64"};
    const command_run r = QUICK("-k", "f16", "-k", "heavy:8+8", "-k", "window:64");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    for (size_t i = 0; i < 4; i++) {
        char begin[32];
        snprintf(begin, sizeof begin, "\n  %-9s  ", names[i]);
        const char *first = strstr(r.out, begin);
        cr_assert(first && strstr(first + 1, begin), "no two rows of %s in\n%s", names[i], r.out);
    }
    cr_assert(strstr(r.out, "4,096 tokens of bench/strategies/val.txt in windows of 1024"));
    cr_assert(strstr(r.out, "The one-pass trap: read through the cache, perplexity is 28.129 to "));
    cr_assert(strstr(r.out, "it is 28.129 for every spec above"));
    cr_assert_eq(command_lines(command_file(".", "strategies.csv")), 1 + 4);
    // Contexts 63, 15 and 3 of four decoders, three metrics.
    cr_assert_eq(command_lines(command_file(".", "strategies-summary.csv")), 1 + 4 * 3 * 3);
    json_t *about = description(), *one;
    const json_t *losses = json_object_get(about, "loss"), *timed = json_object_get(about, "times");
    size_t i;
    cr_assert_eq(json_array_size(losses), 4);
    json_array_foreach(losses, i, one)
    {
        cr_assert_float_eq(field(one, "perplexity"), exp(field(one, "nll")), 1e-9);
        cr_assert_float_eq(field(one, "bytes_per_token"), field(one, "bytes") / 1024, 1e-9);
        cr_assert((field(one, "kl_mean") > 0) == (i > 0));
    }
    cr_assert_eq(field(about, "one_pass_nll"), field(json_array_get(losses, 0), "nll"));
    cr_assert_eq(json_array_size(json_object_get(timed, "cells")), 4 * 3);
    cr_assert_eq((int)field(timed, "rounds"), 6);
    json_array_foreach(json_object_get(timed, "cells"), i, one)
    {
        const json_t *ratio = json_object_get(one, "step_of_plain");
        cr_assert(field(one, "kv_bytes") > 0);
        for (size_t k = 0; k < 3; k++) // plain is once what plain is
            cr_assert(i >= 3 || json_number_value(json_array_get(ratio, k)) == 1);
    }
    json_decref(about);
}

// A spec has a comma, at which gnuplot would end a field.
Test(strategies, every_spec_is_drawn_with_its_name)
{
    char line[3 * SUPPORT_PATH];
    const char *const pictures[] = {"strategies", "strategies-step", "strategies-memory"};
    const command_run r = QUICK("-k", "f16", "-k", "window:64,f16");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    snprintf(line, sizeof line, "cd '%s' && plots/draw.sh %s %s svg >$D/drawn", SOURCE_DIR,
             support_folder, support_folder);
    cr_assert_eq(shell_run(line), 0, "see err in %s", support_folder);
    for (size_t i = 0; i < 3; i++)
        for (size_t dark = 0; dark < 2; dark++) {
            snprintf(line, sizeof line, "%s-%s.svg", pictures[i], dark ? "dark" : "light");
            shell_expect_in(line, ">plain<");
            shell_expect_in(line, "window:64");
            shell_expect_in(line, "f16<");
        }
}

// The loss of a decoder in strategies.json; a key of one that is not there fails the test.
static double loss_in(const json_t *about, size_t which, const char *key)
{
    return field(json_array_get(json_object_get(about, "loss"), which), key);
}

Test(strategies, a_stopped_run_goes_on_where_it_stopped)
{
    static char whole[1 << 16];
    command_run r = QUICK("-k", "f16", "-k", "window:64");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    snprintf(whole, sizeof whole, "%s", command_file(".", "strategies-samples.csv"));
    // As if it had been stopped: a loss and some samples are missing. What is there is taken over
    // as it is: a mark on it comes through.
    json_t *about = description();
    const double nll = loss_in(about, 2, "nll");
    json_object_set_new(json_array_get(json_object_get(about, "loss"), 0), "nll", json_real(1.5));
    json_array_remove(json_object_get(about, "loss"), 2);
    json_array_append_new(json_object_get(about, "loss"), json_object()); // is no loss
    cr_assert_eq(json_dump_file(about, "strategies.json", 0), 0);
    json_decref(about);
    support_write(".", "strategies-samples.csv", whole, strlen(whole) - 200);
    r = QUICK("-k", "f16", "-k", "window:64");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    about = description();
    cr_assert_eq(loss_in(about, 0, "nll"), 1.5);
    cr_assert_eq(loss_in(about, 2, "nll"), nll);
    json_decref(about);
    const char *again = command_file(".", "strategies-samples.csv");
    cr_assert_eq(command_lines(again), command_lines(whole));
    cr_assert_eq(strncmp(again, whole, strlen(whole) - 400), 0, "samples were taken anew");
    // Nothing is left to do.
    snprintf(whole, sizeof whole, "%s", again);
    r = QUICK("-k", "f16", "-k", "window:64");
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    cr_assert_str_eq(command_file(".", "strategies-samples.csv"), whole);
    // Other decoders begin anew; Ctrl-C leaves a whole description.
    command_interrupt_in(300);
    r = QUICK("-k", "f16");
    cr_assert(!r.s && r.exit_code == 128 + SIGINT, "%d: %s", r.exit_code, r.s);
    about = description();
    cr_assert(json_array_size(json_object_get(about, "loss")) < 2, "nothing was left to do");
    json_decref(about);
}

Test(strategies, what_it_cannot_measure_is_refused)
{
    command_run r = QUICK("-k", "q3");
    support_assert_refused(r.s, "--kv q3|'q3' is no way to keep keys and values|window:W[+S]");
    r = QUICK("-k", "f16", "-d", "kvcache:f16");
    support_assert_refused(r.s, "kvcache:f16 is asked for twice");
    r = QUICK("-k", "f16", "-c", "64");
    support_assert_refused(r.s, "64|63");
    cr_assert_eq(r.exit_code, EXIT_USAGE);
    r = QUICK("-n", "3");
    cr_assert_eq(r.exit_code, EXIT_USAGE);
    r = RUN(strategies_command, "strategies", "-q", "-k", "f16", "-o", ".", "-m",
            "synthetic:L=1,C=32,H=2,T=1,V=64");
    support_assert_refused(r.s, "a context of one token|another model");
}
