// The way from a prompt to its continuation: load, tokenize, then step and choose until there is
// enough.
#include "common/generate/generate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/size.h"
#include "common/base/streams.h"
#include "common/base/version.h"
#include "common/generate/run/run.h"
#include "common/kv/place_file.h"
#include "common/number/numeric.h"

enum { FAILED = 1, USAGE_ERROR = 2, SIGNALLED = 128 };

static volatile sig_atomic_t interruption; // the signal that asked for an end, or 0

static void interrupt(int signal_number)
{
    interruption = signal_number;
}

// Lets the loops below end in good order, so that no half-written file is left. A second signal
// ends the program at once.
static void catch_interruptions(void)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        struct sigaction before;
        sigaction(ending[i], &action, &before);
        if (ending[i] == SIGHUP && before.sa_handler == SIG_IGN) // nohup
            sigaction(SIGHUP, &before, NULL);
    }
}

// A prompt of ids does without a tokenizer: then ids are written in place of text.
static status load_text(run *r)
{
    status s = tokenizer_load_for(r->model, &r->tokenizer);
    if (s && !r->options.prompt) {
        fprintf(stderr, "%s: note: ids in place of text: %s\n", r->api->name, s);
        s = NULL;
    }
    if (s || r->model->synthetic)
        return s;
    return ends_read(r->options.model, r->tokenizer ? tokenizer_end_of_text(r->tokenizer) : -1,
                     &r->ends);
}

static size_t kept_layers(const run *r, const config *c)
{
    return r->program->layers ? r->program->layers : c->L;
}

// Weights, and a decoder for the shortest prompt there can be: before anything is allocated.
static status check_memory(const run *r)
{
    config c;
    size_t weights;
    kv_spec kv = {0};
    status s = model_peek(r->options.model, r->options.weights, &c, &weights);
    if (!s && r->options.kv)
        s = kv_parse(r->options.kv, &kv);
    if (s)
        return s;
    const size_t T = size_min(c.T, size_plus(1, r->options.tokens));
    return quota_check_memory(
        r->options.model, size_plus(weights, decoder_memory(&c, kept_layers(r, &c), &kv, T, 1)));
}

static status load(run *r)
{
    uint64_t start = clock_ns();
    if (r->options.embed)
        r->options.tokens = 0;
    status s = check_memory(r);
    if (!s)
        s = model_load_as(r->options.model, r->options.weights, &r->model);
    if (!s)
        s = load_text(r);
    r->report.load_ns = clock_ns() - start;
    return s;
}

static status open_speculation(run *r, size_t T_max)
{
    const speculation_target target = {r->api,       r->decoder,          T_max,      r->model,
                                       r->tokenizer, r->options.sampling, r->drawable};
    status s = r->program->speculates->open(r->options.draft, &target, &r->speculation);
    if (s)
        return s;
    r->report.draft = r->options.draft;
    r->report.counts = r->program->speculates->counts(r->speculation);
    return NULL;
}

// Room for what is to come. The last token generated needs none in the context: it is not fed back.
static status make_room(run *r)
{
    size_t prompt = r->report.prompt, context = r->model->config.T;
    if (prompt == 0)
        return status_fail("the prompt is empty: give %s",
                           r->options.prompt ? "some text" : "at least one id or row");
    if (prompt > context)
        return status_fail("the prompt has %zu tokens, the context of %s only %zu: shorten the "
                           "prompt, or use another model",
                           prompt, r->options.model, context);
    const bool stops = r->options.context_end.policy == CONTEXT_STOP;
    r->most = stops ? size_min(r->options.tokens, context - prompt + 1) : r->options.tokens;
    int *ids = memory_resize(r->ids, prompt + r->most, sizeof *ids);
    if (!ids)
        return memory_failed("the token ids");
    r->ids = ids;
    r->drawable =
        r->tokenizer ? tokenizer_size(r->tokenizer) : r->model->config.V; // ids beyond have no text
    status s = sampler_create(&r->options.sampling, r->drawable, &r->sampler);
    if (!s && r->options.kv)
        s = kv_parse(r->options.kv, &r->spec);
    if (!s)
        s = context_end_check(&r->options.context_end, context);
    context_end_name(&r->options.context_end, r->end);
    return s ? s : context_view_create(&r->options.context_end, context, &r->view);
}

// An answer that was found needs none.
static status make_decoder(run *r)
{
    const size_t context = r->model->config.T;
    if (r->answer)
        return NULL;
    status s = r->options.save_state
                   ? state_check(r->program->states, &r->spec, r->options.save_state)
                   : NULL;
    if (s)
        return s;
    if (r->spec.dir[0] && place_file_in_memory(&r->spec))
        fprintf(stderr, "%s: note: %s is in memory (tmpfs): pages there save none\n", r->api->name,
                r->spec.dir);
    const decoder_options kept = {
        .T_max = r->options.load_state ? context // as long as a state can be
                                       : size_min(context, r->report.prompt + r->options.tokens),
        .kv = r->spec};
    const config *c = &r->model->config;
    s = quota_check_memory("this context",
                           decoder_memory(c, kept_layers(r, c), &kept.kv, kept.T_max, 1));
    if (!s)
        s = r->api->create(r->model, &kept, &r->decoder);
    return s || !r->options.draft ? s : open_speculation(r, kept.T_max);
}

// From here on there may be half-written files.
static status open_logits(run *r)
{
    catch_interruptions();
    return r->options.logits ? npy_create(r->options.logits, r->model->config.V, &r->logits) : NULL;
}

// A counter on terminals only. It has no colours, which NO_COLOR could switch off.
static void show_progress(size_t done, size_t all)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "prompt logits: %zu of %zu%c", done, all, done == all ? '\n' : '\r');
}

static status interrupted(void)
{
    return interruption ? status_fail("interrupted by signal %d: run it again for the whole",
                                      (int)interruption)
                        : NULL;
}

// Row t - 1: the logits of a step with the first t tokens of the prompt.
static status write_prompt_logits(run *r, npy_writer *w)
{
    status s = NULL;
    for (size_t t = 1; !s && t <= r->report.prompt; t++) {
        const float *logits;
        s = r->api->step(r->decoder, r->ids, t, 1, &logits);
        if (!s)
            s = npy_append(w, logits);
        if (!s)
            s = interrupted();
        show_progress(t, r->report.prompt);
    }
    r->api->reset(r->decoder); // the generation starts cold, as its TTFT promises
    return s;
}

static status all_logits(run *r)
{
    npy_writer *w;
    if (!r->options.all_logits)
        return NULL;
    status s = npy_create(r->options.all_logits, r->model->config.V, &w);
    if (s)
        return s;
    s = write_prompt_logits(r, w);
    if (!s)
        return npy_close(w);
    npy_abandon(w);
    return s;
}

static status load_state(run *r)
{
    if (!r->options.load_state)
        return NULL;
    return state_load(r->program->states, r->decoder, r->model, r->options.load_state, &r->report);
}

static status save_state(run *r)
{
    if (!r->options.save_state)
        return NULL;
    return state_save(r->program->states, r->decoder, r->model, r->options.save_state);
}

static status close_report(run *r)
{
    report *p = &r->report;
    p->decoder = r->api->name;
    p->model = model_label(r->model);
    p->ids = r->ids;
    p->stop = run_at_end_of_text(r)              ? "eos"
              : p->generated < r->options.tokens ? "context"
                                                 : "tokens";
    p->drops += r->view.drops;
    if (r->options.context_end.policy != CONTEXT_STOP)
        p->context_end = r->end;
    if (r->decoder && r->api->bytes)
        p->kv_bytes = r->api->bytes(r->decoder);
    return NULL;
}

static status finish(run *r)
{
    const report *p = &r->report;
    if (r->embedding)
        return run_print_embedding(r);
    if (!r->options.json && isatty(STDOUT_FILENO))
        putc('\n', stderr); // the text may have ended anywhere in a line
    if (strcmp(p->stop, "context") == 0)
        fprintf(stderr, "%s: note: stopped because the context of %zu tokens is full\n",
                r->api->name, r->model->config.T);
    if (!r->options.json) {
        report_figures(stderr, p);
        return NULL;
    }
    status s = report_json(stdout, p, r->tokenizer);
    return s ? s : run_flush_output();
}

static void release(run *r)
{
    npy_abandon(r->logits);
    if (r->speculation)
        r->program->speculates->close(r->speculation);
    if (r->decoder)
        r->api->destroy(r->decoder);
    sampler_free(r->sampler);
    tokenizer_free(r->tokenizer);
    model_free(r->model);
    context_view_free(&r->view);
    npy_free(&r->given);
    memory_free(r->rows);
    memory_free(r->embedding);
    memory_free(r->answer);
    memory_free(r->ids);
    memory_free(r->read);
}

static status (*const PARTS[])(run *) = {
    run_check_options,
    run_read_prompt,
    load,
    run_tokenize,
    make_room,
    run_find_answer,
    make_decoder,
    open_logits,
    run_write_hidden,
    all_logits,
    load_state,
    run_generate,
    save_state,
    close_report,
    run_keep_answer,
    finish,
};

static status run_parts(run *r)
{
    status s = NULL;
    for (size_t i = 0; !s && i < sizeof PARTS / sizeof *PARTS; i++)
        s = PARTS[i](r);
    release(r);
    return s;
}

int generate_interruption(void)
{
    return (int)interruption;
}

status generate_interrupted(void)
{
    return interrupted();
}

static status serve(const run *r)
{
    if (!r->program->serves)
        return status_fail("%s: %s takes one prompt: use build/kvcache",
                           r->options.serve ? "--serve" : "--requests", r->api->name);
    catch_interruptions();
    return r->program->serves(&r->options);
}

static status show_version(const decoder_api *api)
{
    printf("lockstep %s %s (arithmetic contract %d)\n", api->name, LOCKSTEP_VERSION,
           CONTRACT_VERSION);
    return run_flush_output();
}

static status show_help(const char *program)
{
    options_help(stdout, program);
    return run_flush_output();
}

int generate_main(const generate_program *program, int argc, char **argv)
{
    const decoder_api *api = program->decoder;
    run r = {.program = program, .api = api};
    streams_hold();
    signal(SIGPIPE, SIG_IGN); // a reader that has gone shows as an error of a write
    const options defaults = {
        .model = model_default(), .tokens = OPTIONS_TOKENS, .sampling = {.top_p = 1}};
    status s = options_parse(argc, argv, &defaults, &r.options);
    int failure = s ? USAGE_ERROR : FAILED;
    if (!s)
        s = numeric_ready(api->name);
    if (!s)
        s = r.options.help                          ? show_help(argv[0])
            : r.options.version                     ? show_version(api)
            : r.options.requests || r.options.serve ? serve(&r)
                                                    : run_parts(&r);
    if (!s)
        return 0;
    fprintf(stderr, "%s: %s\n", api->name, s);
    return interruption ? SIGNALLED + interruption : failure;
}
