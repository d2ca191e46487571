// Requests: each one's text is that of build/kvcache alone, whoever else is served; what of its
// prompt was found is told as it is; what cannot be served is refused by name.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "kvcache/serve/answer.h"
#include "tests/support/shell.h"

#define LONG                                                                                       \
    "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. First "       \
    "Citizen: You are all resolved rather to die than to famish? All: Resolved. resolved. First "  \
    "Citizen: First, you know Caius Marcius is chief enemy to the people. All: We know it."

TestSuite(requests, .init = shell_make_folder, .fini = shell_remove_folder);

static service *opened(const char *kv)
{
    const options o = {
        .model = model_default(), .requests = "-", .tokens = 9, .kv = kv, .sampling.top_p = 1};
    service *v;
    status s = service_open(&o, &v);
    cr_assert_null(s, "%s", s);
    return v;
}

static job *added(service *v, const char *text)
{
    job *j;
    cr_assert_null(service_add(v, "it", text, strlen(text), REQUEST_EITHER, &j));
    return j;
}

// Passes until all have ended. What is final of j, if that is not NULL, stays.
static void run(service *v, job *j)
{
    char seen[4096] = "";
    for (size_t left = 1, final = 0; left > 0;) {
        cr_assert_null(service_pass(v, &left));
        if (!j)
            continue;
        const job_view now = job_look(j);
        cr_assert(now.final >= final && now.final <= now.bytes && now.bytes < sizeof seen);
        cr_assert_arr_eq(now.text, seen, final, "what was final has changed");
        memcpy(seen, now.text, final = now.final);
    }
}

// How many tokens of the prompt a request alone is told to have found, and how many it has.
static size_t cached(service *v, const char *asked, size_t *prompt)
{
    job *j = added(v, asked);
    run(v, j);
    const job_view now = job_look(j);
    cr_assert_null(now.failure, "%s", now.failure);
    const size_t n = now.cached;
    *prompt = now.prompt;
    job_close(j);
    return n;
}

Test(requests, tell_what_was_found_in_their_own_namespace)
{
    static const char a[] = "{\"prompt\": \"" LONG "\", \"user\": \"a\"}",
                      b[] = "{\"prompt\": \"" LONG "\", \"user\": \"b\"}",
                      nobody[] = "{\"prompt\": \"" LONG "\"}";
    service *v = opened(NULL);
    size_t n;
    cr_assert_eq(cached(v, a, &n), 0, "the first finds nothing");
    cr_assert_gt(n, SERVICE_ROWS, "of which one pass computes a part only");
    cr_assert_eq(cached(v, a, &n), (n - 1) / SERVICE_PAGE * SERVICE_PAGE);
    cr_assert_eq(cached(v, b, &n), 0, "another user finds nothing");
    cr_assert_eq(cached(v, nobody, &n), 0);
    cr_assert_eq(cached(v, b, &n), (n - 1) / SERVICE_PAGE * SERVICE_PAGE);
    cr_assert_eq(cached(v, "{\"prompt\": \"First\", \"user\": \"a\"}", &n), 0, "less than a page");
    service_close(v);
}

// The text is cut before the first stop sequence, also where that is spread over tokens.
Test(requests, end_before_a_stop_sequence)
{
    service *v = opened(NULL);
    job *whole = added(v, "{\"prompt\": \"ROMEO:\", \"max_tokens\": 60}");
    run(v, whole);
    const job_view w = job_look(whole);
    cr_assert_str_eq(w.finish, "length");
    cr_assert_eq(w.generated, 60);
    for (size_t at = 3; at + 8 < w.bytes; at += 5)
        for (size_t n = 1; n <= 8; n += 7) {
            char *text = strndup(w.text + at, n);
            json_t *o = json_pack("{s:s, s:i, s:[s, s]}", "prompt", "ROMEO:", "max_tokens", 60,
                                  "stop", "never in it", text);
            char *asked = json_dumps(o, 0);
            job *j = added(v, asked);
            run(v, j);
            const job_view now = job_look(j);
            cr_assert_str_eq(now.finish, "stop", "%s", asked);
            cr_assert_eq(now.bytes, (size_t)(strstr(w.text, text) - w.text), "%s", asked);
            cr_assert_arr_eq(now.text, w.text, now.bytes);
            job_close(j);
            json_decref(o);
            free(asked);
            free(text);
        }
    job_close(whole);
    service_close(v);
}

static void expect_refused(service *v, const char *asked, const char *parts, const char *param)
{
    job *j = added(v, asked);
    const job_view now = job_look(j);
    cr_assert(now.failure && now.refused, "not refused: %s", asked);
    support_assert_refused(now.failure, parts);
    char *text = answer_whole(&now, service_model(v), 1, 7);
    json_t *o = json_loads(text, 0, NULL), *error = json_object_get(o, "error");
    cr_assert_str_eq(json_string_value(json_object_get(error, "type")), "invalid_request_error");
    cr_assert_eq(json_integer_value(json_object_get(error, "line")), 7);
    const char *told = json_string_value(json_object_get(error, "param"));
    cr_assert((!told && !param) || (told && param && strcmp(told, param) == 0), "param %s in %s",
              told ? told : "null", text);
    json_decref(o);
    free(text);
    job_close(j);
}

Test(requests, are_refused_by_name)
{
    static const char *const wrong[][3] = {
        {"", "it|send one JSON object", NULL},
        {"[]", "no object", NULL},
        {"{\"prompt\": \"a\", \"prompt\": \"b\"}", "duplicate", NULL},
        {"{\"prompt\": \"a\\u0000\"}", "not valid JSON", NULL},
        {"{\"prompt\": \"\xff\"}", "not valid JSON", NULL},
        {"{}", "no prompt or messages", NULL},
        {"{\"prompt\": \"a\", \"messages\": []}", "both", NULL},
        {"{\"prompt\": \"\"}", "'prompt'", "prompt"},
        {"{\"prompt\": 3}", "'prompt'|as a string", "prompt"},
        {"{\"prompt\": \"a\", \"max_completion_tokens\": 0}", "'max_completion_tokens'|from 1 on",
         "max_completion_tokens"},
        {"{\"prompt\": \"a\", \"max_tokens\": 0}", "from 1 on", "max_tokens"},
        {"{\"prompt\": \"a\", \"max_tokens\": 1.5}", "from 1 on", "max_tokens"},
        {"{\"prompt\": \"a\", \"max_tokens\": 1024}", "1024 tokens|shorten", "prompt"},
        {"{\"prompt\": \"a\", \"temperature\": 2.1}", "from 0 to 2", "temperature"},
        {"{\"prompt\": \"a\", \"temperature\": \"1\"}", "from 0 to 2", "temperature"},
        {"{\"prompt\": \"a\", \"top_p\": 0}", "to 1", "top_p"},
        {"{\"prompt\": \"a\", \"top_k\": -1}", "from 0 on", "top_k"},
        {"{\"prompt\": \"a\", \"seed\": -1}", "from 0 to", "seed"},
        {"{\"prompt\": \"a\", \"seed\": 1e400}", "not valid JSON", NULL},
        {"{\"prompt\": \"a\", \"stop\": [\"\"]}", "none of them empty", "stop"},
        {"{\"prompt\": \"a\", \"stop\": [\"a\",\"a\",\"a\",\"a\",\"a\"]}", "at most 4", "stop"},
        {"{\"prompt\": \"a\", \"user\": 1}", "'user'", "user"},
        {"{\"prompt\": \"a\", \"stream\": 1}", "true or false", "stream"},
        {"{\"prompt\": \"a\", \"stream\": true}", "'stream'|one line|leave it out", NULL},
        {"{\"prompt\": \"a\", \"stream_options\": {\"include_usage\": true}}", "'stream'", NULL},
        {"{\"prompt\": \"a\", \"n\": 2}", "another seed", "n"},
        {"{\"prompt\": \"a\", \"model\": \"gpt-4\"}", "there is none but", "model"},
        {"{\"prompt\": \"a\", \"best\\nof\": 2}", "'best", NULL},
        {"{\"messages\": []}", "at least one", "messages"},
        {"{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}", "the role", "messages"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "the content", "messages"},
    };
    service *v = opened(NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_refused(v, wrong[i][0], wrong[i][1], wrong[i][2]);
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    memcpy(deep, "{\"prompt\":", 10);
    deep[200000] = '\0';
    expect_refused(v, deep, "send one JSON object", NULL);
    free(deep);
    service_close(v);
}

// null stands for what is not there.
Test(requests, may_hold_null)
{
    service *v = opened(NULL);
    job *j = added(v, "{\"prompt\": \"a\", \"messages\": null, \"stop\": null, \"max_tokens\": 1}");
    cr_assert_null(job_look(j).failure, "%s", job_look(j).failure);
    run(v, j);
    job_close(j);
    j = added(v, "{\"prompt\": null, \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}");
    cr_assert_null(job_look(j).failure, "%s", job_look(j).failure);
    job_close(j);
    service_close(v);
}

// Where memory is short, it is not the request that is at fault.
Test(requests, are_not_blamed_for_want_of_memory)
{
    service *v = opened(NULL);
    const char *asked = "{\"prompt\": \"ROMEO:\", \"max_tokens\": 2, \"seed\": 1}";
    size_t short_of = 0;
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        job *j;
        memory_fail_at(n);
        status s = service_add(v, "it", asked, strlen(asked), REQUEST_TEXT, &j);
        reached = memory_fail_at(0) >= n;
        cr_assert(s || j);
        if (j && job_look(j).failure) {
            cr_assert_not_null(strstr(job_look(j).failure, "out of memory"));
            cr_assert(!job_look(j).refused, "allocation %zu: %s", n, job_look(j).failure);
            short_of++;
        }
        job_close(j);
    }
    cr_assert_geq(short_of, 5);
    service_close(v);
}

// 40 requests in one file, half of them with a sampler of their own, beside the command alone.
Test(requests, have_the_text_they_have_alone)
{
    static const char *const specs[] = {"all", "window:32+4,f16", "kivi4"};
    for (size_t i = 0; i < 3; i++) {
        char line[1024];
        snprintf(line, sizeof line,
                 "k=" BUILD_DIR "/kvcache; cd $D; s=%s; rm -f *; "
                 "for i in $(seq 12); do "
                 "echo \"{\\\"prompt\\\": \\\"ROMEO: $i\\\", \\\"max_tokens\\\": $((i * 5)), "
                 "\\\"temperature\\\": 0.$((i %% 3 * 4)), \\\"seed\\\": $i}\"; "
                 "$k --kv $s --json -n $((i * 5)) -t 0.$((i %% 3 * 4)) -s $i \"ROMEO: $i\" "
                 "2>/dev/null | sed 's/.*\"text\": \\(\".*\"\\), \"ids\".*/\\1/' >>alone; "
                 "[ $i != 4 ] || echo '{'; done >r; $k --kv $s --requests r >answers && "
                 "grep -v error answers | sed 's/.*\"text\":\\(\".*\"\\),\"logprobs\".*/\\1/' "
                 "| cmp - alone && test $(wc -l <answers) = 13 && "
                 "sed -n 5p answers | grep '\"line\":5'",
                 specs[i]);
        cr_assert_eq(shell_run(line), 0, "%s", specs[i]);
    }
}

// What has been answered is whole, and the request at work is not answered by half.
Test(requests, a_signal_ends_with_128_and_its_number)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"INT", 2}, {"TERM", 15}, {"HUP", 1}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        char line[512];
        snprintf(line, sizeof line,
                 "ask() { echo \"{\\\"prompt\\\": \\\"a\\\", \\\"max_tokens\\\": $1}\" >&3; }; "
                 "rm -f $D/asked; mkfifo $D/asked; exec 3<>$D/asked; ask 1; "
                 "env --default-signal=HUP,INT,TERM " BUILD_DIR "/kvcache --requests - "
                 "<$D/asked >$D/answers & until grep -q total_tokens $D/answers; do "
                 "sleep 0.05; done; for i in 1 2 3 4; do ask 1000; done; kill -%s $!; wait $!",
                 signals[i].name);
        cr_assert_eq(shell_run(line), 128 + signals[i].number, "%s", signals[i].name);
        cr_assert_eq(shell_run("grep -c '}$' $D/answers | grep -x 1"), 0);
    }
}

Test(requests, do_not_go_with_every_option)
{
    static const char *const others[][2] = {{"--draft lookup", "--draft"},
                                            {"--save-state x", "--save-state"},
                                            {"--load-state x", "--load-state"},
                                            {"--json", "--json"},
                                            {"--print-ids", "--print-ids"},
                                            {"--logits x", "--logits"},
                                            {"--all-logits x", "--all-logits"},
                                            {"hello", "a PROMPT"},
                                            {"--ids 1", "--ids"},
                                            {"-n 0", "--tokens 0"},
                                            {"-m synthetic:124M", "has no text"},
                                            {"--kv heavy:8+8", "heavy and file"},
                                            {"--kv file:/var/tmp", "heavy and file"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char line[256];
        snprintf(line, sizeof line, BUILD_DIR "/kvcache --requests /dev/null %s", others[i][0]);
        cr_assert_eq(shell_run(line), 1, "%s", line);
        shell_expect_in("err", others[i][1]);
    }
    cr_assert_eq(shell_run(BUILD_DIR "/naive --requests /dev/null"), 1);
    shell_expect_in("err", "use build/kvcache");
    cr_assert_eq(shell_run(BUILD_DIR "/kvcache --requests $D/none"), 1);
    shell_expect_in("err", "name a file after --requests");
}
