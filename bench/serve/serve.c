// The command: its options and its runs.
#include "bench/serve/serve.h"

#include <stdio.h>

#include "bench/base/contexts.h"
#include "bench/base/interrupt.h"
#include "bench/base/machine.h"
#include "bench/base/results.h"
#include "bench/serve/print.h"
#include "bench/subject/subject.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/size.h"
#include "common/math/activations.h"

static const char usage[] =
    "build/bench serve [options]: many users at once, with and without a prompt cache\n"
    "build/bench serve --contexts LIST [options]: what one pass with a row of each user takes\n\n"
    "  -m, --model DIR|synthetic:...  what to serve (default: synthetic:124M)\n"
    "  -W, --weights q8               round the matrices to 8 bits (default: as they are stored)\n"
    "  -u, --users 1,2,4,8,16         users at once, up to 64; 1 comes first in any case\n"
    "  -M, --mix MIX                  what they ask for: system (default), one system prompt for "
    "all;\n"
    "                                 conversation, texts that grow; documents, one of 16 by "
    "Zipf's\n"
    "                                 law; or a file, one {\"prompt\": TEXT or [ids], "
    "\"max_tokens\": N}\n"
    "                                 a line\n"
    "  -r, --requests N               of each number of users (default 12, or 3 a user)\n"
    "  -K, --memory MIB               of pages (default: a text of the greatest length for each "
    "user)\n"
    "  -s, --seed N                   of a generated mix, or the order of samples (default 0)\n"
    "  -c, --contexts 64,256,500      time passes behind so many tokens\n"
    "  -n, --samples N                of each of these; 6 or more (default 15)\n"
    "  -q, --quick                    1 and 4 users, 4 requests; 6 samples\n"
    "  -o, --out DIR                  where serve.csv and serve.json go, or with -c "
    "serve-passes.csv and\n"
    "                                 serve-passes.json (default: build/results)\n"
    "  -j, --json                     print the JSON in place of the tables\n";

enum { MOST_USERS = 64, REQUESTS = 12, REQUESTS_A_USER = 3, SAMPLES = 15, QUICK_REQUESTS = 4 };

static bool advance(void *user, double done)
{
    serve *s = user;
    progress_update(&s->bar, s->before + done * s->share);
    return !interrupt_asked();
}

static size_t most_users(const serve *s)
{
    return s->users[s->counts - 1];
}

static size_t requests_for(const serve *s, size_t users)
{
    if (s->o.requests > 0)
        return s->o.requests;
    return s->o.quick ? QUICK_REQUESTS : size_max(REQUESTS, REQUESTS_A_USER * users);
}

static status run_mix(serve *s)
{
    status failed = NULL;
    s->results = memory_array(2 * s->counts, sizeof *s->results);
    if (!s->results)
        return memory_failed("the results");
    double all = 0;
    for (size_t i = 0; i < s->counts; i++)
        all += 2 * (double)requests_for(s, s->users[i]);
    for (size_t i = 0; !failed && i < 2 * s->counts; i++) {
        const size_t n = s->users[i % s->counts];
        const load w = {.m = s->m,
                        .mix = &s->mix,
                        .users = n,
                        .requests = requests_for(s, n),
                        .budget = s->budget,
                        .cache = i >= s->counts};
        s->share = (double)w.requests / all;
        failed = load_run(&w, advance, s, &s->results[i]);
        s->before += s->share;
    }
    return failed;
}

static status run_passes(serve *s)
{
    s->passes = (serve_passes){.m = s->m,
                               .context = s->context,
                               .users = s->users,
                               .contexts = s->contexts,
                               .counts = s->counts,
                               .samples = s->o.samples ? s->o.samples
                                          : s->o.quick ? STATS_MIN_SAMPLES
                                                       : SAMPLES,
                               .seed = s->o.seed};
    s->passes.ns = memory_array(size_times(s->contexts, s->counts), sizeof *s->passes.ns);
    s->share = 1;
    return s->passes.ns ? serve_passes_run(&s->passes, advance, s) : memory_failed("the results");
}

static status finish(const serve *s)
{
    json_t *about = NULL;
    status failed = machine_context(s->m, &about);
    if (!failed)
        failed = serve_describe(s, about);
    if (!failed)
        failed = results_write_json(s->dir, s->context ? "serve-passes.json" : "serve.json", about);
    if (!failed)
        failed = results_write(s->dir, s->context ? "serve-passes.csv" : "serve.csv",
                               serve_print_csv, s);
    if (!failed && s->o.json)
        json_dumpf(about, stdout, JSON_INDENT(2));
    else if (!failed)
        serve_print(s);
    json_decref(about);
    return failed;
}

static status measure(serve *s, int *exit_code)
{
    machine_warn_if_busy();
    interrupt_catch();
    s->bar = progress_begin(s->context ? "passes" : "serve");
    status failed = s->context ? run_passes(s) : run_mix(s);
    progress_end(&s->bar);
    const bool interrupted = interrupt_asked();
    interrupt_release();
    if (interrupted)
        *exit_code = interrupt_exit_code();
    return failed || interrupted ? status_fail("%s", failed ? failed : "interrupted") : finish(s);
}

static status read_users(serve *s, int *exit_code)
{
    char list[256];
    const char *wanted = s->o.users ? s->o.users : s->o.quick ? "1,4" : "1,2,4,8,16";
    if (snprintf(list, sizeof list, "1,%s", wanted) < (int)sizeof list) {
        status failed = contexts_parse(list, MOST_USERS, &s->users, &s->counts);
        if (!failed || memory_is_short(failed))
            return failed;
    }
    *exit_code = EXIT_USAGE;
    return status_fail("--users '%s': use numbers from 1 to %d, such as 1,2,4", wanted, MOST_USERS);
}

// What the mix needs besides the model: pages, activations and texts.
static status prepare_mix(serve *s)
{
    status failed = mix_open(s->o.mix ? s->o.mix : "system", s->m, s->o.seed, &s->mix);
    if (failed)
        return failed;
    s->budget = s->o.memory_mib > 0 ? size_times(s->o.memory_mib, 1 << 20)
                                    : size_times(most_users(s), load_text_bytes(s->m, s->mix.T));
    if (s->budget < load_text_bytes(s->m, s->mix.T))
        return status_fail("--memory %zu: one text of %zu tokens takes %zu MiB", s->o.memory_mib,
                           s->mix.T, (load_text_bytes(s->m, s->mix.T) >> 20) + 1);
    return quota_check_memory(
        s->m->name,
        size_plus(s->budget, activations_bytes(&s->m->config, size_max(s->mix.T, LOAD_ROWS))));
}

static status prepare_passes(serve *s, int *exit_code)
{
    status failed =
        bench_options_contexts(s->o.contexts, s->m->config.T, &s->context, &s->contexts, exit_code);
    return failed ? failed
                  : quota_check_memory(s->m->name, serve_passes_memory(&s->m->config,
                                                                       s->context[s->contexts - 1],
                                                                       most_users(s)));
}

static status open(serve *s, int *exit_code)
{
    static const char *const files[] = {"serve.csv", "serve.json", "serve-passes.csv",
                                        "serve-passes.json", NULL};
    const char *name = s->o.model_given ? s->o.model : BENCH_MODEL;
    status failed = read_users(s, exit_code);
    if (!failed)
        failed = results_take(s->o.out, files, s->dir, &s->lock);
    if (!failed)
        failed = subjects_check_memory(&s->o, &(subjects_need){.model = name});
    if (!failed)
        failed = model_load_as(name, s->o.weights, &s->m);
    if (failed)
        return failed;
    return s->o.contexts ? prepare_passes(s, exit_code) : prepare_mix(s);
}

status serve_command(int argc, char **argv, int *exit_code)
{
    serve s = {.lock = -1};
    status failed =
        bench_options_parse(argc, argv, "m:W:u:M:r:K:s:c:n:o:qj", usage, &s.o, exit_code);
    if (!failed)
        failed = bench_options_enough_samples(&s.o, exit_code);
    if (failed || s.o.help)
        return failed;
    failed = open(&s, exit_code);
    if (!failed)
        failed = measure(&s, exit_code);
    mix_free(&s.mix);
    memory_free(s.results);
    memory_free(s.passes.ns);
    memory_free(s.users);
    memory_free(s.context);
    model_free(s.m);
    results_unlock(s.lock);
    return failed;
}
