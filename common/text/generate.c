// The way from a prompt to its continuation: load, tokenize, then step and choose until there is
// enough.
#include "common/text/generate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/npy.h"
#include "common/base/size.h"
#include "common/base/version.h"
#include "common/math/numeric.h"
#include "common/text/ends.h"
#include "common/text/figures.h"
#include "common/text/options.h"
#include "common/text/sampler.h"
#include "common/text/tokenizer.h"

enum { FAILED = 1, USAGE_ERROR = 2, SIGNALLED = 128 };

typedef struct run {
    const decoder_api *api;
    options options;
    const char *text; // the prompt or its ids as given, (bytes)
    size_t bytes;
    char *read; // text, if it had to be read
    model *model;
    kv_spec spec;
    tokenizer *tokenizer; // NULL for a synthetic model, and where ids do without
    ends ends;            // the ids that end a text
    sampler *sampler;
    decoder *decoder;
    npy_writer *logits; // NULL unless wanted
    int *ids;           // (prompt + most): the prompt, then what was generated
    size_t most;        // tokens that can be generated: as many as wanted and as the context allows
    report report;
} run;

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
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

// Gives each standard stream that the caller closed a file that cannot be used, so that no file
// opened later takes its number.
static void fill_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return;
}

static status flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return NULL;
    return status_fail("cannot write to standard output: %s: check where it leads",
                       strerror(errno));
}

// Before anything is loaded: what the command line hands in or points at.
static status read_prompt(run *r)
{
    const options *o = &r->options;
    if (o->prompt && config_is_synthetic(o->model))
        return status_fail("%s has no text: give token ids, as in --ids 1,2,3, instead of a PROMPT",
                           o->model);
    bool from_file = o->ids && o->ids[0] == '@',
         from_input = o->prompt && strcmp(o->prompt, "-") == 0;
    if (!from_file && !from_input) {
        r->text = o->ids ? o->ids : o->prompt;
        r->bytes = strlen(r->text);
        return NULL;
    }
    FILE *f = from_file ? fopen(o->ids + 1, "rb") : stdin;
    if (!f)
        return status_fail("cannot read %s: %s: name a readable file after --ids @", o->ids + 1,
                           strerror(errno));
    status s = file_read_stream(f, from_file ? o->ids + 1 : "standard input", &r->read, &r->bytes);
    r->text = r->read;
    if (from_file)
        fclose(f);
    return s;
}

// A prompt of ids does without a tokenizer: then ids are written in place of text.
static status load_text(run *r)
{
    status s = tokenizer_load_for(r->model, &r->tokenizer);
    if (s && r->options.ids) {
        fprintf(stderr, "%s: note: ids in place of text: %s\n", r->api->name, s);
        s = NULL;
    }
    if (s || r->model->synthetic)
        return s;
    return ends_read(r->options.model, r->tokenizer ? tokenizer_end_of_text(r->tokenizer) : -1,
                     &r->ends);
}

static status load(run *r)
{
    uint64_t start = clock_ns();
    status s = model_load(r->options.model, &r->model);
    if (!s)
        s = load_text(r);
    r->report.load_ns = clock_ns() - start;
    return s;
}

static status tokenize(run *r)
{
    if (r->options.ids)
        return input_ids(r->text, r->bytes, r->model->config.V, &r->ids, &r->report.prompt);
    uint64_t start = clock_ns();
    status s = tokenizer_encode(r->tokenizer, r->text, r->bytes, &r->ids, &r->report.prompt);
    r->report.tokenize_ns = clock_ns() - start;
    return s;
}

// Room for what is to come. The last token generated needs none in the context: it is not fed back.
static status make_room(run *r)
{
    size_t prompt = r->report.prompt, context = r->model->config.T;
    if (prompt == 0)
        return status_fail("the prompt is empty: give %s",
                           r->options.ids ? "at least one id" : "some text");
    if (prompt > context)
        return status_fail("the prompt has %zu tokens, the context of %s only %zu: shorten the "
                           "prompt, or use another model",
                           prompt, r->options.model, context);
    r->most = size_min(r->options.tokens, context - prompt + 1);
    int *ids = memory_resize(r->ids, prompt + r->most, sizeof *ids);
    if (!ids)
        return memory_failed("the token ids");
    r->ids = ids;
    size_t tokens =
        r->tokenizer ? tokenizer_size(r->tokenizer) : r->model->config.V; // ids beyond have no text
    status s = sampler_create(&r->options.sampling, tokens, &r->sampler);
    if (!s && r->options.kv)
        s = kv_parse(r->options.kv, &r->model->config, &r->spec);
    if (s)
        return s;
    const decoder_options kept = {.T_max = size_min(context, prompt + r->options.tokens),
                                  .kv = r->spec};
    return r->api->create(r->model, &kept, &r->decoder);
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

// One token more. Only this is timed; what is done with it is not.
static status extend(run *r)
{
    size_t T = r->report.prompt + r->report.generated;
    const float *logits;
    uint64_t start = clock_ns();
    status s;
    if ((s = r->api->step(r->decoder, r->ids, T, 1, &logits)))
        return s;
    int id = sampler_choose(r->sampler, logits);
    r->report.latency_ns += clock_ns() - start;
    if (id < 0)
        return status_fail("%s: the logits after %zu tokens are not finite: its weights are too "
                           "large for F32, use another model",
                           r->options.model, T);
    if (r->report.generated++ == 0)
        r->report.ttft_ns = r->report.latency_ns;
    r->ids[T] = id;
    return r->logits ? npy_append(r->logits, logits) : NULL;
}

// Whether the latest id ends the text.
static bool at_end_of_text(const run *r)
{
    return !r->options.ignore_eos && r->report.generated > 0 &&
           ends_with(&r->ends, r->ids[r->report.prompt + r->report.generated - 1]);
}

// Writes the latest id out as it is: its bytes may be a part of a character, which the next ones
// complete.
static status stream(const run *r)
{
    int id = r->ids[r->report.prompt + r->report.generated - 1];
    if (r->options.json)
        return NULL;
    if (r->options.print_ids || !r->tokenizer) {
        printf("%d\n", id);
    } else if (!at_end_of_text(r)) {
        size_t n;
        const char *bytes = tokenizer_decode(r->tokenizer, id, &n);
        fwrite(bytes, 1, n, stdout);
    }
    return flush_output();
}

static status generate(run *r)
{
    status s = NULL;
    while (!s && r->report.generated < r->most && !at_end_of_text(r)) {
        s = extend(r);
        if (!s)
            s = stream(r);
        if (!s)
            s = interrupted();
    }
    if (s || !r->logits)
        return s;
    npy_writer *whole = r->logits;
    r->logits = NULL; // npy_close ends it in any case
    return npy_close(whole);
}

static status finish(run *r)
{
    report *p = &r->report;
    const config *c = &r->model->config;
    p->decoder = r->api->name;
    p->model = model_label(r->model);
    p->ids = r->ids;
    p->stop = at_end_of_text(r) ? "eos" : p->generated < r->options.tokens ? "context" : "tokens";
    if (r->api->bytes)
        p->kv_bytes = r->api->bytes(r->decoder);
    if (!r->options.json && isatty(STDOUT_FILENO))
        putc('\n', stderr); // the text may have ended anywhere in a line
    if (strcmp(p->stop, "context") == 0)
        fprintf(stderr, "%s: note: stopped because the context of %zu tokens is full\n",
                r->api->name, c->T);
    if (!r->options.json) {
        report_figures(stderr, p);
        return NULL;
    }
    status s = report_json(stdout, p, r->tokenizer);
    return s ? s : flush_output();
}

static void release(run *r)
{
    npy_abandon(r->logits);
    if (r->decoder)
        r->api->destroy(r->decoder);
    sampler_free(r->sampler);
    tokenizer_free(r->tokenizer);
    model_free(r->model);
    memory_free(r->ids);
    memory_free(r->read);
}

static status (*const PARTS[])(run *) = {
    read_prompt, load, tokenize, make_room, open_logits, all_logits, generate, finish,
};

static status run_parts(run *r)
{
    status s = NULL;
    for (size_t i = 0; !s && i < sizeof PARTS / sizeof *PARTS; i++)
        s = PARTS[i](r);
    release(r);
    return s;
}

static status show_version(const decoder_api *api)
{
    printf("lockstep %s %s (arithmetic contract %d)\n", api->name, LOCKSTEP_VERSION,
           CONTRACT_VERSION);
    return flush_output();
}

static status show_help(const char *program)
{
    options_help(stdout, program);
    return flush_output();
}

int generate_main(const decoder_api *api, int argc, char **argv)
{
    run r = {.api = api};
    fill_standard_streams();
    signal(SIGPIPE, SIG_IGN); // a reader that has gone shows as an error of a write
    const options defaults = {
        .model = model_default(), .tokens = OPTIONS_TOKENS, .sampling = {.top_p = 1}};
    status s = options_parse(argc, argv, &defaults, &r.options);
    int failure = s ? USAGE_ERROR : FAILED;
    if (!s)
        s = numeric_ready(api->name);
    if (!s)
        s = r.options.help      ? show_help(argv[0])
            : r.options.version ? show_version(api)
                                : run_parts(&r);
    if (!s)
        return 0;
    fprintf(stderr, "%s: %s\n", api->name, s);
    return interruption ? SIGNALLED + interruption : failure;
}
