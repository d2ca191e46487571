// Playing a program of calls, and cutting it down.
#include "bench/verify/program.h"

#include <string.h>

#include "bench/locate/locate.h"
#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/base/size.h"

// Programs that are tried while one is cut down, and the ids of all their texts. Each attempt
// leaves out or lowers something, so it ends by itself; this is for long texts and large models,
// and counts what takes time rather than the time, so that the same calls come out again.
enum { MOST_TRIES = 2000, MOST_IDS = 400000, LINE = 76 };

static status renew(player *p, size_t which)
{
    const subject *by = p->program->by;
    if (p->by[which])
        by->api->destroy(p->by[which]);
    p->by[which] = NULL;
    return subject_create(by, p->m, ways_room(p->program, which), &p->by[which]);
}

status player_begin(const model *m, const subject *judge, const way *program, player *out)
{
    *out = (player){.m = m, .judge = judge, .program = program};
    status s = subject_create(judge, m, program->T_max, &out->judging);
    for (size_t i = 0; !s && i < program->decoders; i++) {
        out->right[i] = memory_array(m->config.V, sizeof *out->right[i]);
        s = out->right[i] ? renew(out, i) : memory_failed("the logits to compare");
    }
    return s;
}

void player_end(player *p)
{
    for (size_t i = 0; i < 2; i++) {
        memory_free(p->right[i]);
        if (p->by[i])
            p->program->by->api->destroy(p->by[i]);
    }
    if (p->judging)
        p->judge->api->destroy(p->judging);
    *p = (player){0};
}

static void compare(const move *m, size_t V, const float *expected, const float *got, outcome *out)
{
    const size_t n = m->wanted * V;
    out->compared += n;
    if (memcmp(expected, got, n * sizeof *got) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i, got + i, sizeof *got) != 0 && out->differing++ == 0) {
            const size_t row = i / V;
            out->fault = FAULT_LOGITS;
            out->position = m->T - m->wanted + row;
            out->index = i % V;
            out->expected = expected[i];
            out->got = got[i];
            out->apart = locate_apart(expected + row * V, got + row * V, V);
        }
}

// What the judge says of the same call. It may refuse as well: a number may have no such form.
static status compare_with_judge(player *p, const move *m, status failed, const float *got,
                                 outcome *out)
{
    const float *expected;
    char message[sizeof out->message] = "";
    if (failed)
        snprintf(message, sizeof message, "%s", failed); // before the judge writes its own
    status judged = p->judge->api->step(p->judging, m->ids, m->T, m->wanted, &expected);
    if (judged)
        return failed ? NULL : judged;
    const size_t V = p->m->config.V, last = (m->wanted - 1) * V;
    if (!failed) {
        compare(m, V, expected, got, out);
        p->shown[m->decoder] = got + last;
        memcpy(p->right[m->decoder], expected + last, V * sizeof *got);
    } else
        out->fault = FAULT_FAILED;
    memcpy(out->message, message, sizeof message);
    return NULL;
}

// Whether the other decoder's logits have stayed what they were when it returned them.
static bool is_as_returned(const player *p, size_t other)
{
    return !p->shown[other] ||
           memcmp(p->shown[other], p->right[other], p->m->config.V * sizeof *p->right[other]) == 0;
}

status player_make(player *p, size_t i, outcome *out)
{
    const move *m = &p->program->moves[i];
    const decoder_api *api = p->program->by->api;
    const float *got = NULL;
    p->shown[m->decoder] = NULL;
    status s = m->renew ? renew(p, m->decoder) : NULL;
    if (s)
        return s;
    if (m->reset)
        api->reset(p->by[m->decoder]);
    status failed = api->step(p->by[m->decoder], m->ids, m->T, m->wanted, &got);
    if (m->refused)
        out->fault = failed ? FAULT_NONE : FAULT_ACCEPTED;
    else
        s = compare_with_judge(p, m, failed, got, out);
    if (out->fault == FAULT_NONE && !is_as_returned(p, 1 - m->decoder))
        out->fault = FAULT_SHARED;
    out->move = i;
    return s;
}

// Plays it up to the first call that goes wrong.
static status play(const model *m, const subject *judge, const way *program, outcome *out)
{
    player p;
    *out = (outcome){0};
    status s = player_begin(m, judge, program, &p);
    for (size_t i = 0; !s && i < program->n && out->fault == FAULT_NONE; i++)
        s = player_make(&p, i, out);
    player_end(&p);
    return s;
}

// A program that is being cut down. What a try changes is changed in place, and undone where it
// does not go wrong in the same manner.
typedef struct shrinker {
    const model *m;
    const subject *judge;
    way *program;
    outcome *found;    // what it shows now
    size_t tries, ids; // so far
    size_t most_ids;
    status failed;
} shrinker;

// Calls, and ids of their texts.
static size_t size_of(const way *w)
{
    size_t n = w->n;
    for (size_t i = 0; i < w->n; i++)
        n += w->moves[i].T;
    return n;
}

// Whether it still goes wrong in the same manner. What follows the call that does is cut off.
static bool goes_wrong(shrinker *k)
{
    outcome o;
    if (k->failed || k->tries >= MOST_TRIES || k->ids >= k->most_ids)
        return false;
    k->tries++;
    k->ids += size_of(k->program);
    k->failed = play(k->m, k->judge, k->program, &o);
    if (k->failed || o.fault != k->found->fault)
        return false;
    *k->found = o;
    for (size_t i = o.move + 1; i < k->program->n; i++)
        memory_free((void *)k->program->moves[i].ids);
    k->program->n = o.move + 1;
    return true;
}

// Leaves out the n calls from i on. Returns whether it could.
static bool leave_out_calls(shrinker *k, size_t i, size_t n)
{
    way *w = k->program;
    move *whole = w->moves;
    const size_t before = w->n;
    w->moves = memory_array(before, sizeof *w->moves);
    if (!w->moves) {
        k->failed = memory_failed("a shorter program");
        w->moves = whole;
        return false;
    }
    memcpy(w->moves, whole, i * sizeof *whole);
    memcpy(w->moves + i, whole + i + n, (before - i - n) * sizeof *whole);
    w->n = before - n;
    const bool still = goes_wrong(k);
    for (size_t j = i; still && j < i + n; j++)
        memory_free((void *)whole[j].ids);
    memory_free(still ? whole : w->moves);
    if (!still) {
        w->moves = whole;
        w->n = before;
    }
    return still;
}

// In pieces of half of the program, of a quarter, and so on (Zeller and Hildebrandt 2002, "ddmin").
static void shorten_program(shrinker *k)
{
    for (size_t n = size_max(k->program->n / 2, 1);; n /= 2) {
        for (size_t i = k->program->n; i-- > 0;)
            if (i + n < k->program->n) // the last call is the one that goes wrong
                leave_out_calls(k, i, n);
        if (n <= 1)
            return;
    }
}

// Tries move i in another shape.
static bool try_move(shrinker *k, size_t i, move other)
{
    move *at = &k->program->moves[i];
    const move before = *at;
    *at = other;
    if (goes_wrong(k))
        return true;
    *at = before;
    return false;
}

// A text without its ids [from, from + n).
static bool leave_out_ids(shrinker *k, size_t i, size_t from, size_t n)
{
    move m = k->program->moves[i];
    const int *before = m.ids;
    int *ids = program_ids(before, m.T);
    if (!ids)
        return false;
    memmove(ids + from, ids + from + n, (m.T - from - n) * sizeof *ids);
    m.T -= n;
    m.wanted = size_min(m.wanted, m.T);
    m.ids = ids;
    const bool shorter = try_move(k, i, m);
    memory_free(shorter ? (void *)before : ids);
    return shorter;
}

// All texts without their ids [from, from + n), as far as they have them; one id stays.
static bool leave_out_everywhere(shrinker *k, size_t from, size_t n)
{
    way *w = k->program;
    const size_t before = w->n;
    move *whole = memory_array(before, sizeof *whole);
    if (!whole)
        return false;
    memcpy(whole, w->moves, before * sizeof *whole);
    for (size_t i = 0; i < before; i++) {
        move *m = &w->moves[i];
        m->ids = program_ids(m->ids, m->T);
        if (!m->ids)
            k->failed = memory_failed("a shorter text");
        const size_t end = size_min(from + n, m->T), cut = end > from ? end - from : 0;
        if (!m->ids || m->refused || cut == 0 || cut == m->T)
            continue;
        memmove((int *)m->ids + from, m->ids + end, (m->T - end) * sizeof *m->ids);
        m->T -= cut;
        m->wanted = size_min(m->wanted, m->T);
    }
    const bool shorter = goes_wrong(k);
    for (size_t i = 0; i < before; i++) {
        if (!shorter)
            memory_free((void *)w->moves[i].ids);
        if (!shorter)
            w->moves[i] = whole[i];
        else
            memory_free((void *)whole[i].ids);
    }
    memory_free(whole);
    return shorter;
}

static size_t longest_text(const way *w)
{
    size_t T = 0;
    for (size_t i = 0; i < w->n; i++)
        T = size_max(T, w->moves[i].T);
    return T;
}

// Texts that have a beginning in common keep it that way.
static void shorten_all_texts(shrinker *k)
{
    for (size_t n = longest_text(k->program) / 2; n > 0; n /= 2)
        for (size_t end = longest_text(k->program); end >= n; end -= n)
            leave_out_everywhere(k, end - n, n);
}

static void shorten_texts(shrinker *k)
{
    for (size_t i = 0; i < k->program->n; i++)
        for (size_t n = k->program->moves[i].T / 2; n > 0; n /= 2)
            for (size_t end = k->program->moves[i].T; end >= n && i < k->program->n; end -= n) {
                const move *m = &k->program->moves[i];
                if (!m->refused && end <= m->T && n < m->T)
                    leave_out_ids(k, i, end - n, n);
            }
}

// Calls that do less: one row asked for, nothing reset, no second decoder.
static void simplify_calls(shrinker *k)
{
    for (size_t i = 0; i < k->program->n; i++) {
        move m = k->program->moves[i];
        m.reset = false;
        m.renew = false;
        if (k->program->moves[i].reset || k->program->moves[i].renew)
            try_move(k, i, m);
        m = k->program->moves[i];
        m.wanted = 1;
        if (i < k->program->n && !m.refused && k->program->moves[i].wanted > 1)
            try_move(k, i, m);
        m = k->program->moves[i];
        m.decoder = 0;
        if (i < k->program->n && !m.refused && k->program->moves[i].decoder)
            try_move(k, i, m);
    }
}

static void replace_id(const way *w, int old, int by)
{
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; !w->moves[i].refused && j < w->moves[i].T; j++)
            if (w->moves[i].ids[j] == old)
                ((int *)w->moves[i].ids)[j] = by;
}

// Whether a text has this id.
static bool uses(const way *w, int id)
{
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; j < w->moves[i].T; j++)
            if (w->moves[i].ids[j] == id)
                return true;
    return false;
}

// Each id that is used becomes the least that is not, in all texts at once.
static void lower_ids(shrinker *k)
{
    way *w = k->program;
    int least = 0;
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; i < w->n && !w->moves[i].refused && j < w->moves[i].T; j++) {
            const int old = w->moves[i].ids[j];
            while (uses(w, least) && least < old)
                least++;
            if (least >= old)
                continue;
            replace_id(w, old, least);
            if (!goes_wrong(k))
                replace_id(w, least, old);
        }
}

status program_shrink(const model *m, const subject *judge, way *program, outcome *out,
                      bool *repeats)
{
    shrinker k = {.m = m, .judge = judge, .program = program, .found = out};
    k.most_ids = size_max(MOST_IDS, 20 * size_of(program));
    *repeats = goes_wrong(&k);
    for (size_t before = SIZE_MAX; *repeats && size_of(program) < before;) {
        before = size_of(program);
        shorten_program(&k);
        shorten_all_texts(&k);
        shorten_texts(&k);
        simplify_calls(&k);
    }
    if (*repeats)
        lower_ids(&k);
    return k.failed;
}

int *program_ids(const int *ids, size_t n)
{
    int *copy = memory_array(n + 1, sizeof *copy); // one at least
    if (copy)
        memcpy(copy, ids, n * sizeof *copy);
    return copy;
}

void program_free_ids(way *program)
{
    for (size_t i = 0; i < program->n; i++)
        memory_free((void *)program->moves[i].ids);
}

// Prints "(int[]){1, 2, 3}", wrapped.
static void print_ids(const move *m, FILE *f)
{
    int column = fprintf(f, "    api->step(%c, (int[]){", "ab"[m->decoder]);
    for (size_t i = 0; i < m->T; i++) {
        char text[24];
        const int n = snprintf(text, sizeof text, "%s%d", i > 0 ? ", " : "", m->ids[i]);
        if (column + n > LINE - 8) {
            fprintf(f, ",\n        %d", m->ids[i]);
            column = 8 + n;
        } else {
            fputs(text, f);
            column += n;
        }
    }
    if (m->T == 0)
        fputs("0", f);
    fprintf(f, "},%s%zu, %zu, &logits);", column + 24 > LINE ? "\n        " : " ", m->T, m->wanted);
}

void program_print(const way *w, const outcome *o, FILE *f)
{
    char spec[KV_NAME];
    bool made[2] = {false}, second = false;
    for (size_t i = 0; i < w->n; i++)
        second = second || w->moves[i].decoder == 1;
    fprintf(f, "    decoder_options o = {.T_max = %zu}", w->T_max);
    if (second)
        fprintf(f, ", p = {.T_max = %zu}", ways_room(w, 1));
    fprintf(f, ";\n");
    if (!kv_is_plain(&w->by->kv))
        fprintf(f, "    kv_parse(\"%s\", &o.kv);\n", kv_name(&w->by->kv, spec));
    if (!kv_is_plain(&w->by->kv) && second)
        fprintf(f, "    p.kv = o.kv;\n");
    for (size_t i = 0; i < w->n; i++) {
        const move *m = &w->moves[i];
        if (m->renew && made[m->decoder])
            fprintf(f, "    api->destroy(%c);\n", "ab"[m->decoder]);
        if (m->renew || !made[m->decoder])
            fprintf(f, "    api->create(m, &%c, &%c);\n", "op"[m->decoder], "ab"[m->decoder]);
        made[m->decoder] = true;
        if (m->reset)
            fprintf(f, "    api->reset(%c);\n", "ab"[m->decoder]);
        print_ids(m, f);
        fputs(m->refused ? " // to be refused\n" : "\n", f);
    }
    if (o->fault == FAULT_LOGITS)
        fprintf(f,
                "    // row %zu, logit %zu is %.9g,\n    // should be %.9g; %llu logits differ\n",
                o->position, o->index, (double)o->got, (double)o->expected,
                (unsigned long long)o->differing);
    else if (o->fault == FAULT_ACCEPTED)
        fprintf(f, "    // returned NULL, although its arguments are wrong\n");
    else if (o->fault == FAULT_SHARED)
        fprintf(f, "    // has changed what the other one's last step returned, which is to stay\n"
                   "    // until that one's next call (common/decoder.h)\n");
    else {
        format_wrapped(f, "    /* failed:", 7, o->message);
        fputs("    */\n", f);
    }
}
