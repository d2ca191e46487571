// The end of the context: which tokens stay, at which positions, and what that costs. Both decoders
// go on with the same text.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/generate/run/context_end.h"
#include "common/generate/sampler.h"
#include "naive/naive.h"
#include "tests/support/shell.h"

TestSuite(context_end, .init = shell_make_folder, .fini = shell_remove_folder);

enum { MOST = 16, LENGTH = 200 };

// strategies by their definition: the tokens of a text of T, 0 1 2 ..., that a context of MOST has,
// going back to the beginning each time.
static size_t defined(const context_end *e, size_t T, int ids[LENGTH])
{
    size_t n = 0;
    for (size_t t = 0; t < T; t++) {
        ids[n++] = (int)t;
        if (n <= MOST)
            continue;
        const size_t first = e->policy == CONTEXT_SHIFT ? e->kept : 0;
        const size_t gone = e->policy == CONTEXT_SHIFT ? (n - first + 1) / 2 : 1;
        for (size_t i = first; i + gone < n; i++)
            ids[i] = ids[i + gone];
        n -= gone;
    }
    return n;
}

Test(context_end, the_right_tokens_stay)
{
    int text[LENGTH], ids[LENGTH];
    for (int t = 0; t < LENGTH; t++)
        text[t] = t;
    for (size_t kept = 0; kept <= MOST; kept++) { // the last: crop
        const context_end e = {kept < MOST ? CONTEXT_SHIFT : CONTEXT_CROP, kept % MOST};
        context_view v;
        cr_assert_null(context_view_create(&e, MOST, &v));
        for (size_t T = 5, n; T <= LENGTH; T++) {
            const int *seen = context_view_of(&v, text, T, &n);
            cr_assert_eq(n, defined(&e, T, ids), "%zu of %zu", n, T);
            cr_assert_arr_eq(seen, ids, n * sizeof *ids);
            cr_assert_eq(seen[n - 1], (int)T - 1, "the latest is always there");
            cr_assert_leq(n, MOST);
        }
        cr_assert_gt(v.drops, 0);
        context_view_free(&v);
    }
}

// shift:2 of 16 tokens and one more: of the 15 behind the first two, the last 7.
Test(context_end, half_of_the_rest_is_rounded_down)
{
    int text[17];
    size_t n;
    context_view v;
    for (int t = 0; t < 17; t++)
        text[t] = t;
    cr_assert_null(context_view_create(&(context_end){CONTEXT_SHIFT, 2}, MOST, &v));
    context_view_of(&v, text, 16, &n);
    cr_assert_eq(n, 16);
    const int *seen = context_view_of(&v, text, 17, &n),
              expected[] = {0, 1, 10, 11, 12, 13, 14, 15, 16};
    cr_assert_eq(n, 9);
    cr_assert_arr_eq(seen, expected, sizeof expected);
    cr_assert_eq(v.drops, 1);
    context_view_free(&v);
}

#define TINY "synthetic:L=2,C=48,H=3,T=16,V=100"

// The text of the definition: each token is drawn behind the tokens that it sees, by a decoder that
// has seen nothing before, at its place in the whole text.
static void generate(const context_end *e, const sampling *how, int text[LENGTH])
{
    model *m;
    sampler *s;
    cr_assert_null(model_load(TINY, &m));
    cr_assert_null(sampler_create(how, m->config.V, &s));
    for (size_t T = 3; T < LENGTH; T++) {
        int ids[LENGTH];
        const float *logits;
        decoder *d;
        const size_t n = defined(e, T, ids);
        for (size_t i = 0; i < n; i++)
            ids[i] = text[ids[i]];
        cr_assert_null(naive_decoder.create(m, &(decoder_options){.T_max = n}, &d));
        cr_assert_null(naive_decoder.step(d, ids, n, 1, &logits));
        text[T] = sampler_choose(s, logits, T);
        naive_decoder.destroy(d);
    }
    sampler_free(s);
    model_free(m);
}

Test(context_end, both_programs_go_on_as_defined)
{
    static const context_end ends[] = {
        {CONTEXT_SHIFT, 0}, {CONTEXT_SHIFT, 4}, {CONTEXT_SHIFT, 15}, {CONTEXT_CROP, 0}};
    const sampling how[] = {{.top_p = 1}, {.temperature = 1, .top_p = 1, .seed = 3}};
    char name[CONTEXT_END_TEXT], line[512];
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 2; j++) {
            int text[LENGTH] = {1, 2, 3};
            generate(&ends[i], &how[j], text);
            char *expected = calloc(LENGTH, 8);
            for (size_t T = 3, at = 0; T < LENGTH; T++)
                at += (size_t)sprintf(expected + at, "%d\n", text[T]);
            support_write(support_folder, "expected", expected, strlen(expected));
            free(expected);
            snprintf(line, sizeof line,
                     "for p in naive kvcache; do " BUILD_DIR "/$p -m " TINY " --ids 1,2,3 -n %d "
                     "%s --context-end %s | cmp - $D/expected || exit; done",
                     LENGTH - 3, j ? "-t 1 -s 3" : "", context_end_name(&ends[i], name));
            cr_assert_eq(shell_run(line), 0, "%s", line);
        }
}

// Whatever is kept, and in whichever form: the judge is naive with the same spec.
Test(context_end, every_spec_goes_on_alike)
{
    cr_assert_eq(
        shell_run("for kv in window:6+2 f16 q8 kivi4:16 heavy:4+4 window:8,q4 file:$D; do "
                  "for e in shift:3 crop; do for p in naive kvcache; do " BUILD_DIR "/$p -m " TINY
                  " --ids 1,2,3 -n 100 -t 1 -s 9 --kv $kv --context-end $e >$D/$p || exit; done; "
                  "cmp $D/naive $D/kvcache || { echo $kv $e >&2; exit 1; }; done; done"),
        0);
}

// A prompt of 3; 14 passes fill the context. Of shift:4's 13 tokens behind the first 4, 6 stay and
// are computed again, and 6 passes later they are 13 again. The text repeats nothing, so that no
// row is found again by chance.
Test(context_end, the_price_is_counted)
{
    const char *line = "for p in naive kvcache; do for e in shift:4 crop; do " BUILD_DIR
                       "/$p -m " TINY " --ids 1,2,3 -n 28 -t 9 --context-end $e --json | "
                       "grep -o '\"context_end.*}'; done; done";
    cr_assert_eq(shell_run(line), 0);
    const size_t naive_shift = (3 + 16) * 14 / 2 + 2 * (10 + 16) * 7 / 2,
                 naive_crop = (3 + 16) * 14 / 2 + 14 * 16, shift = 16 + 2 * (6 + 6),
                 crop = 16 + 14 * 16;
    const size_t rows[] = {naive_shift, naive_crop, shift, crop};
    char expected[512] = "";
    for (size_t i = 0, at = 0; i < 4; i++)
        at += (size_t)sprintf(expected + at,
                              "\"context_end\": {\"policy\": \"%s\", \"drops\": %d, \"rows\": "
                              "%zu}}\n",
                              i % 2 ? "crop" : "shift:4", i % 2 ? 14 : 2, rows[i]);
    size_t n;
    char *out = support_read(support_folder, "out", &n);
    cr_assert_str_eq(out, expected);
    free(out);
    cr_assert_eq(
        shell_run(BUILD_DIR "/kvcache -m " TINY " --ids 1,2,3 -n 28 -t 9 --context-end shift:4"),
        0);
    shell_expect_in("err", "context    shift:4: tokens given up 2 times; 40 rows computed, 1.4 for "
                           "each token\n");
}

Test(context_end, stop_is_what_it_was)
{
    cr_assert_eq(shell_run("k='" BUILD_DIR "/kvcache -m " TINY " --ids 1,2,3'; $k >$D/a && "
                           "$k --context-end stop --json >$D/b && ! grep context_end $D/b && "
                           "test $(wc -l <$D/a) = 14"),
                 0);
    shell_expect_in("err", "stopped because the context of 16 tokens is full");
}

typedef struct refusal {
    int code;
    const char *line, *parts;
} refusal;

Test(context_end, what_does_not_go_is_refused_with_the_reason)
{
    static const refusal cases[] = {
        {2, "--context-end window", "'window'|relative positions|stop, shift:S or crop"},
        {2, "--context-end shift", "'shift'|give stop, shift:S"},
        {2, "--context-end shift:", "'shift:'"},
        {2, "--context-end shift:-1", "'shift:-1'"},
        {2, "--context-end ''", "''"},
        {1, "--context-end shift:16", "'shift:16'|16 tokens|up to 15"},
        {1, "--context-end crop --draft lookup", "--context-end and --draft|leave one"},
        {1, "--context-end crop --save-state x", "--context-end and --save-state|begins where"},
        {1, "--context-end shift:1 --load-state x", "--context-end and --load-state|begins where"},
        {1, "--context-end crop --ids \"$(seq 17)\"", "17 tokens|only 16|shorten"},
    };
    char line[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(line, sizeof line, BUILD_DIR "/kvcache -m " TINY " %s%s", cases[i].line,
                 strstr(cases[i].line, "--ids") ? "" : " --ids 1");
        cr_assert_eq(shell_run(line), cases[i].code, "%s", line);
        size_t n;
        char *err = support_read(support_folder, "err", &n);
        err[n - 1] = '\0';
        support_assert_refused(err, cases[i].parts);
        free(err);
    }
}
