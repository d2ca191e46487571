// What goes in ahead of the first layer and what comes out behind the last: prompts as rows, and
// embeddings.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvcache/embed.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/shell.h"

TestSuite(embed, .init = shell_make_folder, .fini = shell_remove_folder);

#define TINY "synthetic:L=2,C=48,H=3,T=64,V=100"
enum { T = 37, C = 48, V = 100 };

typedef struct watched {
    stage stage;
    float rows[T][C];
} watched;

static void watch(void *user, stage s, int l, int head, size_t position, const float *values,
                  size_t n)
{
    watched *w = user;
    (void)l;
    (void)head;
    if (s == w->stage)
        memcpy(w->rows[position], values, n * sizeof *values);
}

static void make_ids(int ids[T])
{
    for (int t = 0; t < T; t++)
        ids[t] = (7919 * t + 13) % V;
}

// The logits (T, V) of all rows, and the rows of one stage.
static void observe(const decoder_api *api, const model *m, const int *ids, watched *w,
                    float logits[T][V])
{
    decoder *d;
    const float *all;
    cr_assert_null(api->create(m, &(decoder_options){.T_max = T}, &d));
    if (w)
        api->observe(d, watch, w);
    cr_assert_null(api->step(d, ids, T, T, &all));
    memcpy(logits, all, sizeof(float) * T * V);
    api->destroy(d);
}

static void make_embedding(const model *m, const kv_spec *kv, const int *ids, const char *pooling,
                           float out[C])
{
    decoder *d;
    const decoder_options o = {.T_max = T + 9, .kv = *kv};
    cr_assert_null(kvcache_decoder.create(m, &o, &d));
    cr_assert_null(embed(d, ids, T, pooling, out));
    kvcache_decoder.destroy(d);
}

// The last row and the mean of what naive shows behind its last layer norm.
Test(embed, pools_the_final_hidden_states)
{
    static watched w = {.stage = STAGE_LNF};
    static float logits[T][V];
    const kv_spec plain = {0};
    float out[C], mean[C] = {0};
    int ids[T];
    model *m;
    make_ids(ids);
    cr_assert_null(model_load(TINY, &m));
    observe(&naive_decoder, m, ids, &w, logits);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < C; c++)
            mean[c] += w.rows[t][c];
    for (size_t c = 0; c < C; c++)
        mean[c] /= T;
    make_embedding(m, &plain, ids, "last", out);
    cr_assert_arr_eq(out, w.rows[T - 1], sizeof out);
    make_embedding(m, &plain, ids, "mean", out);
    cr_assert_arr_eq(out, mean, sizeof out);
    model_free(m);
}

// The same logits in every bit, from rows in place of ids; and the rows are those that enter layer
// 0.
Test(embed, rows_stand_for_ids)
{
    static watched w = {.stage = STAGE_EMBED};
    static float logits[T][V], again[T][V];
    int ids[T], named[T];
    model *m;
    make_ids(ids);
    cr_assert_null(model_load(TINY, &m));
    observe(&naive_decoder, m, ids, &w, logits);
    m->given = w.rows[0];
    m->given_rows = T - 7;
    for (int t = 0; t < T; t++)
        named[t] = t < T - 7 ? V + t : ids[t]; // the last seven were generated
    const decoder_api *const decoders[] = {&naive_decoder, &kvcache_decoder};
    for (size_t i = 0; i < 2; i++) {
        observe(decoders[i], m, named, NULL, again);
        cr_assert_arr_eq(again, logits, sizeof logits, "%s", decoders[i]->name);
    }
    named[T - 8] = V + T;
    decoder *d;
    const float *all;
    cr_assert_null(naive_decoder.create(m, &(decoder_options){.T_max = T}, &d));
    support_assert_refused(naive_decoder.step(d, named, T, 1, &all), "id 137|outside");
    naive_decoder.destroy(d);
    model_free(m);
}

// On the command line: the file that --hidden writes gives the text, the logits and the file again.
Test(embed, rows_of_a_file_stand_for_a_prompt)
{
    cr_assert_eq(
        shell_run("cd $D; for p in naive kvcache; do k=" BUILD_DIR "/$p; "
                  "for m in \"-t 1 -s 3\" \"--kv window:16+2,f16\"; do "
                  "$k $m -n 30 --hidden h.npy --logits a.npy --all-logits b.npy 'ROMEO: But soft' "
                  ">plain && $k $m -n 30 --from-hidden h.npy --hidden g.npy --logits c.npy "
                  "--all-logits d.npy | cmp - plain && cmp a.npy c.npy && cmp b.npy d.npy && "
                  "cmp g.npy h.npy || exit 1; done; "
                  "$k -n 2 --json --from-hidden h.npy | grep -q '\"prompt_ids\": null' || exit 1; "
                  "done"),
        0);
}

typedef struct refusal {
    int code;
    const char *line, *parts;
} refusal;

static void expect_refused(const refusal *cases, size_t n)
{
    char line[512];
    for (size_t i = 0; i < n; i++) {
        snprintf(line, sizeof line, "cd $D; k=" BUILD_DIR "/kvcache; naive=" BUILD_DIR "/naive; %s",
                 cases[i].line);
        cr_assert_eq(shell_run(line), cases[i].code, "%s", line);
        size_t bytes;
        char *err = support_read(support_folder, "err", &bytes);
        cr_assert_gt(bytes, 0, "%s", line);
        err[bytes - 1] = '\0';
        support_assert_refused(err, cases[i].parts);
        free(err);
    }
}

Test(embed, rows_that_do_not_fit_are_refused)
{
    static const refusal cases[] = {
        {1, "$k --from-hidden h.npy", "h.npy|No such file"},
        {0, "$k -n 0 --hidden h.npy hi 2>/dev/null; echo", ""},
        {1, "$k -m " TINY " --from-hidden h.npy", "h.npy|192 numbers|48"},
        {1, "printf x >>h.npy; $k --from-hidden h.npy", "h.npy|holds something else"},
        {0, "$k -n 0 --hidden h.npy hi 2>/dev/null; echo", ""},
        {1,
         "{ head -c 1660 h.npy; printf '\\0\\0\\300\\177'; } >nan.npy; "
         "$k --from-hidden nan.npy",
         "nan.npy|row 1|not finite|element 191"},
        {1,
         "{ head -c 128 h.npy; for i in $(seq 384); do printf '\\377\\377\\177\\177'; done; } "
         ">huge.npy; $k --from-hidden huge.npy",
         "--from-hidden huge.npy|not finite|another file"},
        {1, "$k -m synthetic:L=1,C=192,H=3,T=1,V=9 --from-hidden h.npy", "2 rows|only 1|shorten"},
        {2, "$k --from-hidden h.npy hi", "a PROMPT|--from-hidden"},
        {2, "$k --from-hidden h.npy --ids 1", "--ids|--from-hidden"},
        {2, "$k --from-hidden ''", "--from-hidden ''"},
        {1, "$k --hidden no/h.npy hi", "no/h.npy|No such file"},
        {1, "$k --from-hidden h.npy --draft lookup", "--draft|rows have none"},
        {1, "$k --from-hidden h.npy --save-state x", "--save-state|rows have none"},
        {1, "$k --from-hidden h.npy --load-state x", "--load-state|rows have none"},
        {1, "$k --from-hidden h.npy --answers .", "--answers|rows have none"},
        {1, "$k --from-hidden h.npy --context-end crop", "--context-end|hold their positions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cases[i].code == 0)
            cr_assert_eq(shell_run("cd $D; " BUILD_DIR "/kvcache -n 0 --hidden h.npy hi"), 0);
        else
            expect_refused(&cases[i], 1);
}

// The numbers on the line are those that embed gives, to the bit, and are found again; a form of
// keys and values that rounds gives others.
Test(embed, is_a_line_of_json_that_can_be_kept)
{
    cr_assert_eq(
        shell_run("cd $D; mkdir a; k='" BUILD_DIR "/kvcache --embed'; $k mean hi >mean && "
                  "$k last hi >last && $k last --kv q8 hi >rounded && "
                  "! cmp -s mean last && ! cmp -s last rounded || exit 1; "
                  "for was in kept found; do for p in mean last; do "
                  "$k $p --answers a hi 2>said | cmp - $p && grep -q \"answer     $was\" said && "
                  "$k last --kv q8 --answers a hi 2>/dev/null | cmp - rounded || exit 2; "
                  "done; done; test $(ls a | wc -l) = 3 && "
                  "grep -q '^{\"model\": \"common/models/shakespeare\", \"pooling\": \"mean\", "
                  "\"prompt_tokens\": 2, \"embedding\": \\[' mean && test $(wc -l <mean) = 1"),
        0);
}

Test(embed, does_not_go_with_every_option)
{
    static const refusal cases[] = {
        {2, "$k --embed both hi", "'both'|mean or last"},
        {1, "$k --embed mean --draft lookup hi", "--embed and --draft|no text"},
        {1, "$k --embed mean --logits x hi", "--embed and --logits|no text"},
        {1, "$k --embed mean --all-logits x hi", "--embed and --all-logits|no text"},
        {1, "$k --embed mean --save-state x hi", "--embed and --save-state|no text"},
        {1, "$k --embed mean --load-state x hi", "--embed and --load-state|whole prompt"},
        {1, "$k --embed mean --print-ids hi", "--embed and --print-ids|no text"},
        {1, "$k --embed mean --context-end crop hi", "--embed and --context-end|no text"},
        {1, "$k --embed mean -n 3 hi", "--embed and --tokens|no text"},
        {1, "$k --embed mean -t 1 hi", "--embed and --temperature|no text"},
        {1, "$k --embed mean -k 3 hi", "--embed and --top-k|no text"},
        {1, "$k --embed mean -p 0.5 hi", "--embed and --top-p|no text"},
        {1, "$k --embed mean -s 4 hi", "--embed and --seed|no text"},
        {1, "$k --embed mean --ignore-eos hi", "--embed and --ignore-eos|no text"},
        {1, "$k --embed mean --requests /dev/null", "--requests and --embed"},
        {1, "$k --hidden x --requests /dev/null", "--requests and --hidden"},
        {1, "$k --from-hidden x --serve 9", "--serve and --from-hidden"},
        {1, "$k --context-end crop --serve 9", "--serve and --context-end"},
        {1, "$k --answers . --logits x hi", "--answers and --logits|holds ids"},
        {1, "$k --answers . --all-logits x hi", "--answers and --all-logits|holds ids"},
        {1, "$k --answers . --save-state x hi", "--answers and --save-state|no rows to save"},
        {1, "$k --answers . --load-state x hi", "--answers and --load-state|needs no rows"},
        {1, "$k --answers . --draft lookup hi", "--answers and --draft|counts"},
        {1, "$naive --answers . hi", "naive|build/kvcache"},
        {1, "$naive --embed mean hi", "naive|build/kvcache"},
    };
    expect_refused(cases, sizeof cases / sizeof *cases);
}
