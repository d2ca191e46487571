// Answers that are kept: found by all that they depend on, given as they were kept or not at all.
#include <criterion/criterion.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "kvcache/answers.h"
#include "kvcache/serve/service.h"
#include "tests/support/shell.h"

TestSuite(answers, .init = shell_make_folder, .fini = shell_remove_folder);

enum { QUESTIONS = 24 };

// A question and its variants, each of which differs from the first in one thing.
static size_t make_questions(const model *m, const model *other, question q[QUESTIONS])
{
    static const int ids[] = {1, 2, 3, 4};
    static const kv_spec plain = {0}, half = {.form = KV_F16};
    static const ends end = {1, {7}}, two = {2, {7, 8}};
    static const char *const stops[] = {"a", "b\nstop 1 c", "c"};
    const question base = {.what = "text",
                           .m = m,
                           .weights = "0123",
                           .spec = &plain,
                           .ids = ids,
                           .n = 3,
                           .drawable = 90,
                           .ends = &end,
                           .how = {.temperature = 1, .top_k = 40, .top_p = 0.9f, .seed = 5},
                           .tokens = 20,
                           .context_end = "stop"};
    size_t n = 0;
    for (size_t i = 0; i < QUESTIONS; i++)
        q[i] = base;
    q[++n].what = "request";
    q[++n].space = "somebody";
    q[++n].space = "";
    q[++n].m = other;
    q[++n].weights = "0124";
    q[++n].spec = &half;
    q[++n].ids = ids + 1;
    q[++n].n = 4;
    q[++n].drawable = 91;
    q[++n].ends = NULL;
    q[++n].ends = &two;
    q[++n].how.temperature = 0x1.000002p+0f;
    q[++n].how.top_k = 41;
    q[++n].how.top_p = 0x1.cccccep-1f;
    q[++n].how.seed = 6;
    q[++n].tokens = 21;
    q[++n].context_end = "shift:4";
    q[++n].stop = stops;
    q[n].stops = 1;
    q[++n].stop = stops;
    q[n].stops = 2;
    q[++n].stop = stops + 1;
    q[n].stops = 2;
    q[++n].pooling = "mean";
    q[++n].pooling = "last";
    return n + 1;
}

static model *loaded(const char *name)
{
    model *m;
    cr_assert_null(model_load(name, &m));
    return m;
}

Test(answers, have_a_name_for_each_setting)
{
    model *m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100"),
          *other = loaded("synthetic:L=1,C=8,H=2,T=65,V=100");
    question q[QUESTIONS];
    char names[QUESTIONS][65];
    const size_t n = make_questions(m, other, q);
    for (size_t i = 0; i < n; i++) {
        cr_assert_null(answers_name(&q[i], names[i]));
        for (size_t j = 0; j < i; j++)
            cr_assert_str_neq(names[i], names[j], "questions %zu and %zu have one name", i, j);
    }
    model_free(m);
    model_free(other);
}

// Of a file's weights, all bytes; of a synthetic model, its name.
Test(answers, know_the_weights)
{
    char a[ANSWERS_WEIGHTS], b[ANSWERS_WEIGHTS];
    model *m = loaded(model_default());
    cr_assert_null(answers_weigh(m, a));
    cr_assert_null(answers_weigh(m, b));
    cr_assert_str_eq(a, b);
    m->block[m->block_bytes / sizeof(float) - 1] += 1;
    cr_assert_null(answers_weigh(m, b));
    cr_assert_str_neq(a, b);
    model_free(m);
    m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100");
    cr_assert_null(answers_weigh(m, a));
    model_free(m);
    m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100,seed=1");
    cr_assert_null(answers_weigh(m, b));
    cr_assert_str_neq(a, b);
    model_free(m);
}

static const char answer[] = "ten bytes\0with a zero";

// What is found for q: whether it is `answer`, or else nothing, and a line with `part`.
static bool found(const question *q, const char *part)
{
    char *bytes;
    size_t n = 0;
    status s = answers_find(support_folder, q, &bytes, &n);
    const bool is = bytes != NULL;
    if (is) {
        cr_assert_null(s);
        cr_assert_eq(n, sizeof answer);
        cr_assert_arr_eq(bytes, answer, n);
        cr_assert_eq(bytes[n], '\0');
    } else if (part)
        support_assert_refused(s, part);
    else
        cr_assert_null(s);
    memory_free(bytes);
    return is;
}

Test(answers, are_given_whole_or_not_at_all)
{
    model *m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100");
    question q[QUESTIONS];
    char name[65];
    make_questions(m, m, q);
    cr_assert(!found(q, NULL));
    cr_assert_null(answers_keep(support_folder, q, answer, sizeof answer));
    cr_assert_eq(support_count(support_folder), 1);
    cr_assert(found(q, NULL));
    cr_assert(!found(q + 1, NULL), "another question has its own answer");
    cr_assert_null(answers_name(q, name));
    size_t n;
    char *whole = support_read(support_folder, name, &n);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            whole[i] = (char)(whole[i] ^ 1 << bit);
            support_write(support_folder, name, whole, n);
            cr_assert(!found(q, "damaged|computed anew"), "bit %d of byte %zu", bit, i);
            whole[i] = (char)(whole[i] ^ 1 << bit);
        }
    for (size_t i = 0; i < n; i++) {
        support_write(support_folder, name, whole, i);
        cr_assert(!found(q, "damaged|computed anew"), "%zu of %zu bytes", i, n);
    }
    cr_assert_null(answers_keep(support_folder, q, answer, sizeof answer));
    cr_assert(found(q, NULL), "kept again over what was damaged");
    free(whole);
    model_free(m);
}

// Sizes that only together, and beyond 2^64, are those of the file; the hash is right.
Test(answers, have_sizes_that_are_true)
{
    model *m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100");
    question q[QUESTIONS];
    char name[65], body[128], file[256];
    make_questions(m, m, q);
    cr_assert_null(answers_keep(support_folder, q, answer, sizeof answer));
    cr_assert_null(answers_name(q, name));
    size_t n;
    char *whole = support_read(support_folder, name, &n), *rest = strchr(whole, '\n') + 1;
    const size_t question_bytes = strtoull(rest, NULL, 10);
    snprintf(body, sizeof body, "%zu %zu\n%040d", question_bytes, (size_t)40 - question_bytes, 0);
    SHA256Data((const uint8_t *)body, strlen(body), file);
    snprintf(file + strlen(file), sizeof file - strlen(file), "\n%s", body);
    support_write(support_folder, name, file, strlen(file));
    cr_assert_gt(question_bytes, 40);
    cr_assert(!found(q, "damaged|computed anew"));
    free(whole);
    model_free(m);
}

// A file that is whole, but under the name of another question, as if the names were equal.
Test(answers, are_compared_with_their_question)
{
    model *m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100");
    question q[QUESTIONS];
    char name[65], other[65];
    const size_t n = make_questions(m, m, q);
    cr_assert_null(answers_keep(support_folder, q, answer, sizeof answer));
    cr_assert_null(answers_name(q, name));
    size_t bytes;
    char *file = support_read(support_folder, name, &bytes);
    for (size_t i = 1; i < n; i++) {
        cr_assert_null(answers_name(q + i, other));
        if (strcmp(name, other) == 0)
            continue; // the same model is not another
        support_write(support_folder, other, file, bytes);
        cr_assert(!found(q + i, "another question|computed anew"), "question %zu", i);
    }
    free(file);
    model_free(m);
}

Test(answers, leave_nothing_where_memory_is_short)
{
    model *m = loaded("synthetic:L=1,C=8,H=2,T=64,V=100");
    question q[QUESTIONS];
    make_questions(m, m, q);
    memory_fail_at(0);
    cr_assert_null(answers_keep(support_folder, q, answer, sizeof answer));
    const size_t allocations = memory_fail_at(0);
    for (size_t i = 1; i <= allocations; i++) {
        memory_fail_at(i);
        support_assert_refused(answers_keep(support_folder, q + 1, answer, sizeof answer),
                               "out of memory");
        memory_fail_at(0);
        cr_assert_eq(support_count(support_folder), 1, "allocation %zu left a file", i);
    }
    memory_fail_at(0);
    cr_assert(found(q, NULL));
    for (size_t i = 1, n = memory_fail_at(0); i <= n; i++) {
        char *bytes;
        size_t length;
        memory_fail_at(i);
        status s = answers_find(support_folder, q, &bytes, &length);
        memory_fail_at(0);
        support_assert_refused(s, "out of memory");
        cr_assert_null(bytes);
    }
    model_free(m);
}

// The same bytes but for times and the word of what became of it.
#define TIMELESS                                                                                   \
    "sed -E 's/\"(load|tokenize|ttft|latency|tpot)_ns\": [^,]*|\"tokens_per_s\": "                 \
    "[^,]*|\"answer\": \"[a-z]*\"//g'"

Test(answers, of_a_command_are_those_it_computes)
{
    static const char *const how[] = {"",
                                      "-n 300 -t 1.5 -s 2",
                                      "-t 0.8 -k 40 -p 0.9 -s 7",
                                      "--kv window:16+4,q8 --context-end crop",
                                      "-m synthetic:L=2,C=48,H=3,T=64,V=100 --context-end shift:4",
                                      "-m synthetic:L=2,C=48,H=3,T=64,V=100 -n 100",
                                      "-n 0"};
    char line[1024];
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        snprintf(line, sizeof line,
                 "k='" BUILD_DIR "/kvcache --ids 9,8,7 %s'; rm -rf $D/a; mkdir $D/a && "
                 "$k --json | " TIMELESS " >$D/plain && "
                 "for was in kept found; do $k --json --answers $D/a >$D/json && "
                 "grep -q \"\\\"answer\\\": \\\"$was\\\"\" $D/json && " TIMELESS
                 " $D/json | sed 's/, }/}/' | cmp - $D/plain || exit 1; "
                 "$k --answers $D/a >$D/text && $k 2>/dev/null | cmp - $D/text && "
                 "$k --print-ids --answers $D/a >$D/ids && $k --print-ids 2>/dev/null | cmp - "
                 "$D/ids || exit 2; done; test $(ls $D/a | wc -l) = 1",
                 how[i]);
        cr_assert_eq(shell_run(line), 0, "%s", how[i]);
        shell_expect_in("err", "answer     found, looked for in ");
    }
}

#define KVCACHE "cd $D; " BUILD_DIR "/kvcache "

Test(answers, are_for_what_can_be_repeated)
{
    cr_assert_eq(shell_run(KVCACHE "-t 1 -n 5 --answers . hi && test $(ls | wc -l) = 2"), 0);
    shell_expect_in("err", "answer     not kept: above temperature 0, only what is asked for with "
                           "a --seed is\n");
    cr_assert_eq(shell_run(KVCACHE "-t 1 -s 0 -n 5 --answers . hi && test $(ls | wc -l) = 3"), 0);
    shell_expect_in("err", "answer     kept, looked for in ");
}

Test(answers, that_are_damaged_are_computed_anew)
{
    cr_assert_eq(shell_run("cd $D; mkdir a; k='" BUILD_DIR "/kvcache -n 9 --answers a hi'; "
                           "$k >plain && f=$(echo a/*) && head -c 99 $f >cut && mv cut $f && "
                           "$k | cmp - plain && $k 2>again | cmp - plain && "
                           "grep 'answer     found' again >&2"),
                 0);
    shell_expect_in("err", ": it is damaged: computed anew\n");
    shell_expect_in("err", "answer     found");
}

// Weights that are rounded when they are loaded are others, of a file and of a synthetic model.
Test(answers, are_those_of_the_weights_as_used)
{
    cr_assert_eq(shell_run("cd $D; mkdir a; for m in '" SOURCE_DIR "/common/models/shakespeare' "
                           "synthetic:L=2,C=48,H=3,T=64,V=100; do for was in kept found; do "
                           "for w in checkpoint q8; do " BUILD_DIR "/kvcache -m $m --ids 1 -n 5 "
                           "$(test $w = q8 && echo --weights q8) --answers a 2>said >text && "
                           "grep -q \"answer     $was\" said || exit 1; done; done; done; "
                           "test $(ls a | wc -l) = 4"),
                 0);
}

// An answer that cannot be written is no failure of the text.
Test(answers, that_find_no_room_are_not_kept)
{
    cr_assert_eq(shell_run("cd $D; mkdir a; trap '' XFSZ; ulimit -f 0; " BUILD_DIR
                           "/kvcache -n 9 --answers a hi | wc -c >/dev/null; test -z \"$(ls a)\""),
                 0);
}

Test(answers, need_a_directory)
{
    static const char *const wrong[][2] = {
        {"$D/none", "--answers |/none: |No such file|name a directory that can be written to"},
        {"$D/out", "--answers |Not a directory"},
        {"/proc", "--answers /proc: |name a directory that can be written to"},
    };
    char line[256];
    for (size_t i = 0; i < 3; i++)
        for (int requests = 0; requests < 2; requests++) {
            snprintf(line, sizeof line, BUILD_DIR "/kvcache --answers %s %s", wrong[i][0],
                     requests ? "--requests /dev/null" : "hi");
            cr_assert_eq(shell_run(line), 1, "%s", line);
            size_t n;
            char *err = support_read(support_folder, "err", &n);
            err[n - 1] = '\0';
            support_assert_refused(err, wrong[i][1]);
            free(err);
        }
    cr_assert_eq(shell_run(KVCACHE "--answers '' hi"), 2);
    shell_expect_in("err", "--answers '': give the name of a directory");
}

// ---- requests ----

static service *opened(const char *seeded)
{
    const options o = {.model = model_default(),
                       .requests = "-",
                       .tokens = 9,
                       .answers = support_folder,
                       .seeded = seeded != NULL,
                       .sampling.top_p = 1};
    service *v;
    status s = service_open(&o, &v);
    cr_assert_null(s, "%s", s);
    return v;
}

// The text of a request, to be freed, and whether its answer was found.
static char *asked(service *v, const char *text, bool *was_found, size_t *generated)
{
    job *j;
    size_t left = 1;
    cr_assert_null(service_add(v, "it", text, strlen(text), REQUEST_EITHER, &j));
    *was_found = job_look(j).finish != NULL;
    while (left > 0)
        cr_assert_null(service_pass(v, &left));
    const job_view now = job_look(j);
    cr_assert_null(now.failure, "%s", now.failure);
    cr_assert_eq(now.cached == now.prompt, *was_found);
    cr_assert(now.final == now.bytes && now.ttft_ns > 0 && now.latency_ns >= now.ttft_ns);
    char *copy = malloc(now.bytes + 16);
    memcpy(copy, now.text, now.bytes);
    snprintf(copy + now.bytes, 16, "|%s", now.finish);
    *generated = now.generated;
    job_close(j);
    return copy;
}

Test(answers, of_requests_are_those_they_compute)
{
    static const char *const asks[] = {
        "{\"prompt\": \"ROMEO:\"}",
        "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60}",
        "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60, \"stop\": \"gentle\"}",
        "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60, \"stop\": [\"gentle\", \"x\"]}",
        "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60, \"user\": \"a\"}",
        "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60, \"temperature\": 1.9, \"seed\": 3}",
        "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60, \"temperature\": 1.9, \"seed\": 4}"};
    enum { ASKS = sizeof asks / sizeof *asks };
    char *texts[ASKS];
    size_t counts[ASKS], n;
    bool was_found;
    for (int again = 0; again < 2; again++) {
        service *v = opened(NULL);
        for (size_t i = 0; i < ASKS; i++) {
            char *text = asked(v, asks[i], &was_found, &n);
            cr_assert_eq(was_found, again > 0, "%s", asks[i]);
            if (again) {
                cr_assert_str_eq(text, texts[i], "%s", asks[i]);
                cr_assert_eq(n, counts[i]);
                free(texts[i]);
            }
            texts[i] = text;
            counts[i] = n;
        }
        service_close(v);
        cr_assert_eq(support_count(support_folder), ASKS);
    }
    for (size_t i = 0; i < ASKS; i++)
        free(texts[i]);
}

// A request that is drawn without a seed, and one that was left before its end.
// Whoever can write into the directory can also write a checksum.
Test(answers, of_requests_are_ids_of_tokens)
{
    static const char ask[] = "{\"prompt\": \"ROMEO:\"}";
    static const char *const endings[] = {"\\377\\377\\377\\377", "\\377\\377\\377\\177", "\\1"};
    char line[512];
    size_t n;
    bool was_found;
    service *v = opened(NULL);
    char *first = asked(v, ask, &was_found, &n);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        snprintf(line, sizeof line,
                 "cd $D; f=$(ls | grep -E '^[0-9a-f]{64}$') && tail -n +2 $f | head -c -4 >rest && "
                 "printf '%s' >>rest && sha256sum rest | cut -c 1-64 >$f && cat rest >>$f",
                 endings[i]);
        cr_assert_eq(shell_run(line), 0);
        char *text = asked(v, ask, &was_found, &n);
        cr_assert(!was_found, "%s", endings[i]);
        cr_assert_str_eq(text, first);
        free(text);
    }
    free(first);
    service_close(v);
}

Test(answers, of_requests_are_for_what_can_be_repeated)
{
    static const char drawn[] = "{\"prompt\": \"ROMEO:\", \"temperature\": 1}",
                      best[] = "{\"prompt\": \"ROMEO:\"}";
    bool was_found;
    size_t n, left;
    job *j;
    service *v = opened(NULL);
    for (int again = 0; again < 2; again++) {
        free(asked(v, drawn, &was_found, &n));
        cr_assert(!was_found);
    }
    cr_assert_null(service_add(v, "it", best, strlen(best), REQUEST_EITHER, &j));
    cr_assert_null(service_pass(v, &left));
    job_close(j);
    cr_assert_eq(support_count(support_folder), 0);
    service_close(v);
    v = opened("--seed 0"); // of the command holds for requests that do not say otherwise
    for (int again = 0; again < 2; again++) {
        free(asked(v, drawn, &was_found, &n));
        cr_assert_eq(was_found, again > 0);
    }
    service_close(v);
}
