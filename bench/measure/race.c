// bench race: two threads generate, a third draws what they have so far, on a terminal in place,
// elsewhere line by line.
#ifdef __linux__
#    define _GNU_SOURCE // sched_getaffinity
#    include <sched.h>
#endif
#include "bench/measure/race.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench/base/interrupt.h"
#include "bench/base/progress.h"
#include "bench/measure/disturbance.h"
#include "bench/subject/plugin.h"
#include "bench/subject/subject.h"
#include "common/base/clock.h"
#include "common/base/input.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/generate/ends.h"
#include "common/generate/options.h"
#include "common/generate/sampler.h"
#include "common/text/tokenizer.h"

static const char usage[] =
    "build/bench race [options] [PROMPT]: both decoders generate the same text at once, one above "
    "the other\n\n"
    "  -m, --model DIR|synthetic:...  what to decode (default: the embedded model)\n"
    "  -n, --tokens N                 generate at most N tokens (default 600)\n"
    "  -t, --temperature X            0: always the best token; above: draw one (default 0.7)\n"
    "  -k, -p, -s, --ignore-eos, --ids 1,2,3    as in build/naive\n"
    "  --weights q8                   as in build/naive\n"
    "  --kv SPEC                      how kvcache keeps keys and values, as in build/kvcache\n\n"
    "A show and no measurement: both run at once and share memory and caches. build/bench curves "
    "measures.\n";

enum {
    TOKENS = 600,
    FRAME_NS = 50000000,
    SECOND_NS = 1000000000,
    MOST_TEXT_ROWS = 8,
    BAR = 20,
    LINE = 256,
    NAME = 9
};

// One decoder, on a thread of its own.
typedef struct lane {
    const struct race *race;
    const subject *by;
    decoder *decoder;
    sampler *sampler;
    int *ids;                 // (prompt + most)
    _Atomic size_t generated; // ids behind the prompt that may be read
    _Atomic uint64_t ns;      // when the last of them was there, since the start
    _Atomic bool done;
    char failure[LINE]; // "" or why it stopped
    pthread_t thread;
    bool started;
    // What the drawing thread knows of it.
    char *text;
    size_t bytes, room, decoded; // of text; and ids that are in it
} lane;

typedef struct race {
    options o;
    model *m;
    tokenizer *t; // NULL for a synthetic model, and where ids do without
    ends ends;    // the ids that end a text
    int *prompt;
    size_t prompt_tokens, most;
    subjects of;
    lane *lanes; // (of.n)
    uint64_t begin_ns;
    atomic_bool stopped;
    size_t rows_drawn;
} race;

// Each thread on a core of its own, if there are as many: where the system lets a program ask for
// it.
static void take_core(size_t index, size_t lanes)
{
#ifdef __linux__
    cpu_set_t allowed, own;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < (int)lanes)
        return;
    for (size_t core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed) && index-- == 0)
            CPU_SET(core, &own);
    sched_setaffinity(0, sizeof own, &own); // of this thread; without it, the system chooses
#else
    (void)index, (void)lanes;
#endif
}

static bool at_end(const lane *l, int id)
{
    return !l->race->o.ignore_eos && ends_with(&l->race->ends, id);
}

// One token more; false at the end.
static status extend(lane *l, size_t n, bool *more)
{
    const float *logits;
    const size_t T = l->race->prompt_tokens + n;
    status failed = plugin_checked(l->by->api->step(l->decoder, l->ids, T, 1, &logits));
    if (failed)
        return failed;
    int id = sampler_choose(l->sampler, logits, T);
    if (id < 0)
        return status_fail("the logits after %zu tokens are not finite: use another model", T);
    l->ids[T] = id;
    l->ns = clock_ns() - l->race->begin_ns;
    l->generated = n + 1;
    *more = n + 1 < l->race->most && !at_end(l, id);
    return NULL;
}

static void *run_lane(void *user)
{
    lane *l = user;
    status failed = NULL;
    bool more = l->race->most > 0;
    take_core((size_t)(l - l->race->lanes), l->race->of.n);
    for (size_t n = 0; more && !failed && !l->race->stopped; n++)
        failed = extend(l, n, &more);
    if (failed)
        snprintf(l->failure, sizeof l->failure, "%s: %s", l->by->name,
                 failed); // the status ends with its thread
    l->done = true;
    return NULL;
}

static double seconds(const lane *l)
{
    return (double)(l->done ? l->ns : clock_ns() - l->race->begin_ns) * 1e-9;
}

static double tokens_per_s(const lane *l)
{
    return l->ns > 0 ? (double)l->generated * 1e9 / (double)l->ns : 0;
}

// Appends n bytes to what is shown of a lane.
static status append(lane *l, const char *bytes, size_t n)
{
    if (l->bytes + n > l->room) {
        char *grown = memory_resize(l->text, 2 * (l->bytes + n), 1);
        if (!grown)
            return memory_failed("the text");
        l->text = grown;
        l->room = 2 * (l->bytes + n);
    }
    memcpy(l->text + l->bytes, bytes, n);
    l->bytes += n;
    return NULL;
}

// Turns the ids that have come since into text; without a tokenizer, into numbers.
static status decode(lane *l)
{
    status failed = NULL;
    for (size_t end = l->race->prompt_tokens + l->generated; l->decoded < end && !failed;
         l->decoded++) {
        char number[16];
        size_t n = (size_t)snprintf(number, sizeof number, "%d ", l->ids[l->decoded]);
        const char *bytes =
            l->race->t ? tokenizer_decode(l->race->t, l->ids[l->decoded], &n) : number;
        failed = append(l, bytes, n);
    }
    return failed;
}

// The lines into which text falls on a screen of that width: the starts of the last `rows` of them,
// oldest first, and the end. Returns how many there are. Bytes 10xxxxxx only continue a character.
static size_t last_lines(const char *text, size_t bytes, size_t width, size_t rows,
                         size_t starts[MOST_TEXT_ROWS + 1])
{
    size_t count = 1, column = 0;
    starts[0] = 0;
    for (size_t i = 0; i < bytes; i++) {
        column += (text[i] & 0xc0) != 0x80;
        if (text[i] != '\n' && column <= width)
            continue;
        if (count == rows)
            memmove(starts, starts + 1, (rows - 1) * sizeof *starts);
        else
            count++;
        starts[count - 1] = text[i] == '\n' ? i + 1 : i;
        column = text[i] != '\n';
    }
    starts[count] = bytes;
    return count;
}

static void print_line(const lane *l, size_t from, size_t to)
{
    fputs("\r\033[K", stdout); // from the line's beginning: wipe it
    for (size_t i = from; i < to; i++)
        if ((unsigned char)l->text[i] >= ' ' && l->text[i] != 127)
            putchar(l->text[i]);
    putchar('\n');
}

// "[####....]  240 of 600 tokens   310 tokens/s   0.77 s"
static void describe(const lane *l, char line[LINE])
{
    char bar[BAR + 1];
    size_t full = l->race->most ? l->generated * BAR / l->race->most : BAR;
    memset(bar, '.', BAR);
    memset(bar, '#', full);
    bar[BAR] = '\0';
    snprintf(line, LINE, "[%s] %5zu of %zu tokens %9.1f tokens/s %8.2f s%s", bar, l->generated,
             l->race->most, tokens_per_s(l), seconds(l), l->done ? "  done" : "");
}

// A lane's line of figures, its name in colour, and the last lines of its text.
static void draw_lane(const lane *l, size_t rows, size_t width, const char *colour)
{
    char line[LINE];
    size_t starts[MOST_TEXT_ROWS + 1], lines = last_lines(l->text, l->bytes, width, rows, starts);
    describe(l, line);
    printf("\r\033[K%s%-*s%s%.*s\n", colour, NAME, l->by->name, *colour ? "\033[0m" : "",
           (int)width - NAME, line);
    for (size_t i = 0; i < rows; i++)
        print_line(l, i < lines ? starts[i] : 0, i < lines ? starts[i + 1] : 0);
    print_line(l, 0, 0);
}

// A frame over the one before.
static void draw(race *r)
{
    static const char *const colours[] = {"\033[33m", "\033[34m"}; // yellow, blue
    struct winsize size = {0};
    ioctl(fileno(stdout), TIOCGWINSZ, &size);
    const size_t width = size.ws_col > NAME ? size.ws_col - 1u : 79;
    const size_t height = size.ws_row >= r->of.n * 4 ? size.ws_row : 24;
    const size_t rows = size_min((height - 1) / r->of.n - 2, MOST_TEXT_ROWS);
    if (r->rows_drawn > 0)
        printf("\033[%zuA", r->rows_drawn); // up
    for (size_t d = 0; d < r->of.n; d++)
        draw_lane(&r->lanes[d], rows, width, progress_wants_colour() ? colours[d % 2] : "");
    r->rows_drawn = r->of.n * (rows + 2);
    fflush(stdout);
}

static bool draws_in_place(void)
{
    const char *term = getenv("TERM");
    return isatty(fileno(stdout)) == 1 && term && strcmp(term, "dumb") != 0;
}

// Without a terminal: a line for each decoder that is still at it.
static void print_second(const race *r)
{
    for (size_t d = 0; d < r->of.n; d++)
        if (!r->lanes[d].done)
            printf("%-8s %5zu tokens %9.1f tokens/s %8.2f s\n", r->lanes[d].by->name,
                   r->lanes[d].generated, tokens_per_s(&r->lanes[d]), seconds(&r->lanes[d]));
    fflush(stdout);
}

static bool all_done(const race *r)
{
    for (size_t d = 0; d < r->of.n; d++)
        if (r->lanes[d].started && !r->lanes[d].done)
            return false;
    return true;
}

// Shows how it goes until all are done; Ctrl-C stops them.
static status watch(race *r)
{
    const bool terminal = draws_in_place();
    const struct timespec pause = {.tv_nsec = FRAME_NS};
    status failed = NULL;
    for (uint64_t shown = 0; !failed && !all_done(r); nanosleep(&pause, NULL)) {
        r->stopped = r->stopped || interrupt_asked();
        for (size_t d = 0; d < r->of.n && !failed; d++)
            failed = decode(&r->lanes[d]);
        if (terminal && !failed) {
            draw(r);
        } else if (clock_ns() - r->begin_ns >= (shown + 1) * SECOND_NS) {
            shown++;
            print_second(r);
        }
    }
    for (size_t d = 0; d < r->of.n && !failed; d++)
        failed = decode(&r->lanes[d]);
    if (terminal && !failed)
        draw(r);
    return failed;
}

static status start(race *r)
{
    r->begin_ns = clock_ns();
    for (size_t d = 0; d < r->of.n; d++) {
        lane *l = &r->lanes[d];
        int reason = pthread_create(&l->thread, NULL, run_lane, l);
        if (reason != 0)
            return status_fail("cannot start a thread: %s; close other programs", strerror(reason));
        l->started = true;
    }
    return NULL;
}

static status run_lanes(race *r)
{
    interrupt_catch();
    status failed = start(r);
    if (!failed)
        failed = watch(r);
    r->stopped = r->stopped || failed;
    for (size_t d = 0; d < r->of.n; d++)
        if (r->lanes[d].started)
            pthread_join(r->lanes[d].thread, NULL);
    interrupt_release();
    for (size_t d = 0; d < r->of.n && !failed; d++)
        failed = *r->lanes[d].failure ? status_fail("%s", r->lanes[d].failure) : NULL;
    return failed;
}

// The ids that both have, as far as the shorter one goes: NULL if they are the same.
static status compare(const race *r, size_t *common)
{
    const lane *a = &r->lanes[0], *b = &r->lanes[r->of.n - 1];
    *common = size_min(a->generated, b->generated);
    for (size_t i = 0; i < *common; i++)
        if (a->ids[r->prompt_tokens + i] != b->ids[r->prompt_tokens + i])
            return status_fail("the texts differ from generated token %zu on: %s has id %d, %s has "
                               "%d; bench verify says "
                               "where it begins",
                               i + 1, a->by->name, a->ids[r->prompt_tokens + i], b->by->name,
                               b->ids[r->prompt_tokens + i]);
    return NULL;
}

static status conclude(const race *r)
{
    size_t common;
    for (size_t d = 0; d < r->of.n; d++)
        printf("%-8s %5zu tokens in %.2f s, %.1f tokens/s\n", r->lanes[d].by->name,
               r->lanes[d].generated, (double)r->lanes[d].ns * 1e-9, tokens_per_s(&r->lanes[d]));
    status failed = compare(r, &common);
    if (failed)
        return failed;
    printf("%s: the same %zu tokens from both", r->stopped ? "interrupted" : "finished", common);
    if (common > 0)
        printf(", %s %.1f times as fast", r->lanes[r->of.n - 1].by->name,
               tokens_per_s(&r->lanes[r->of.n - 1]) / tokens_per_s(&r->lanes[0]));
    printf(". A show, no measurement: they shared memory and caches.\n");
    return NULL;
}

// A prompt of ids does without a tokenizer.
static status load_text(race *r)
{
    status failed = tokenizer_load_for(r->m, &r->t);
    if (failed && r->o.ids) {
        fprintf(stderr, "race: note: ids in place of text: %s\n", failed);
        failed = NULL;
    }
    if (failed || r->m->synthetic)
        return failed;
    return ends_read(r->o.model, r->t ? tokenizer_end_of_text(r->t) : -1, &r->ends);
}

// naive, and kvcache under the spec that was given.
static bench_options subjects_asked(const race *r)
{
    bench_options o = {.weights = r->o.weights};
    if (r->o.kv) {
        snprintf(o.subject[0], OPTIONS_SUBJECT, "kvcache:%s", r->o.kv);
        o.subjects = 1;
    }
    return o;
}

static status load(race *r)
{
    const options *o = &r->o;
    if (!o->ids && config_is_synthetic(o->model))
        return status_fail("%s has no text: give token ids, as in --ids 1,2,3", o->model);
    const bench_options asked = subjects_asked(r);
    status failed = subjects_check_memory(
        &asked, &(subjects_need){.model = o->model, .first = "naive", .firsts = 1, .others = 1});
    if (!failed)
        failed = model_load_as(o->model, o->weights, &r->m);
    if (!failed)
        failed = load_text(r);
    if (failed)
        return failed;
    return o->ids ? input_ids(o->ids, strlen(o->ids), r->m->config.V, &r->prompt, &r->prompt_tokens)
                  : tokenizer_encode(r->t, o->prompt, strlen(o->prompt), &r->prompt,
                                     &r->prompt_tokens);
}

static status prepare_lane(race *r, size_t d)
{
    lane *l = &r->lanes[d];
    l->race = r;
    l->by = &r->of.at[d];
    l->ids = memory_array(r->prompt_tokens + r->most, sizeof *l->ids);
    if (!l->ids)
        return memory_failed("the token ids");
    memcpy(l->ids, r->prompt, r->prompt_tokens * sizeof *l->ids);
    status failed =
        sampler_create(&r->o.sampling, r->t ? tokenizer_size(r->t) : r->m->config.V, &l->sampler);
    return failed ? failed : subject_create(l->by, r->m, r->m->config.T, &l->decoder);
}

static status open_subjects(race *r)
{
    const bench_options o = subjects_asked(r);
    status failed = subjects_open(&o, "naive", &r->of);
    r->lanes = memory_array(r->of.n, sizeof *r->lanes);
    return failed || r->lanes ? failed : memory_failed("the lanes");
}

static status prepare(race *r)
{
    status failed = load(r);
    if (failed)
        return failed;
    const size_t T = r->m->config.T;
    if (r->prompt_tokens == 0 || r->prompt_tokens > T)
        return status_fail("the prompt has %zu tokens: give one of 1 to %zu", r->prompt_tokens, T);
    r->most = size_min(r->o.tokens, T - r->prompt_tokens + 1);
    failed = open_subjects(r);
    for (size_t d = 0; d < r->of.n && !failed; d++)
        failed = prepare_lane(r, d);
    return failed;
}

static void release(race *r)
{
    for (size_t d = 0; r->lanes && d < r->of.n; d++) {
        lane *l = &r->lanes[d];
        if (l->decoder)
            l->by->api->destroy(l->decoder);
        sampler_free(l->sampler);
        memory_free(l->ids);
        memory_free(l->text);
    }
    memory_free(r->lanes);
    subjects_free(&r->of);
    tokenizer_free(r->t);
    model_free(r->m);
    memory_free(r->prompt);
}

// What build/naive takes, but for what makes no sense for two.
static status parse(int argc, char **argv, options *o)
{
    const options defaults = {.model = model_default(),
                              .tokens = TOKENS,
                              .prompt = "ROMEO:",
                              .sampling = {.temperature = 0.7f, .top_p = 1}};
    status failed = options_parse(argc, argv, &defaults, o);
    if (!failed && (o->json || o->logits || o->all_logits || o->print_ids || o->version))
        failed = status_fail("a race has no --json, --logits, --all-logits, --print-ids or "
                             "--version: use build/naive");
    return failed;
}

status race_command(int argc, char **argv, int *exit_code)
{
    race r = {0};
    status failed = parse(argc, argv, &r.o);
    if (failed) {
        *exit_code = EXIT_USAGE;
        return status_fail("%s; build/bench race --help lists the options", failed);
    }
    if (r.o.help) {
        fputs(usage, stdout);
        return NULL;
    }
    failed = prepare(&r);
    const disturbance before = disturbance_so_far();
    if (!failed)
        failed = run_lanes(&r);
    if (!failed)
        failed = conclude(&r);
    if (!failed)
        disturbance_warn_throttled(before);
    release(&r);
    if (!failed && r.stopped)
        *exit_code = interrupt_exit_code();
    return failed;
}
