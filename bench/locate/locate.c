// From "the logits differ" to an address: the first row, in the order of causes, that is not what a
// recompute computes.
#include "bench/locate/locate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/compare/patterns.h"
#include "bench/subject/plugin.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/number/numeric.h"

// The judge's own way: one step over the text (NULL: the fixed sequence). What it computes is also
// what a cache should hold.
static status trace_judge(trace *t, const subject *judge, const int *text, const place *wanted,
                          trace_row *found, size_t wanting)
{
    move whole = {.kept = t->T, .T = t->T, .wanted = t->T, .ids = text};
    way w = {.by = judge, .T_max = t->T, .decoders = 1, .moves = &whole, .n = 1};
    return trace_run(t, &w, 0, wanted, found, wanting);
}

static uint64_t digest(const trace *t, size_t position, size_t slot)
{
    return t->digest[position * t->slots + slot];
}

static bool differs(const trace *a, const trace *b, size_t position, size_t slot)
{
    uint64_t x = digest(a, position, slot), y = digest(b, position, slot);
    return x && y && x != y;
}

// The first row that differs, by position and then in the order of computation. Logits only count
// where both computed them.
static bool find_first(const trace *judge, const trace *tested, place *at)
{
    for (size_t position = 0; position < judge->T; position++)
        for (size_t slot = 0; slot < judge->slots; slot++)
            if (differs(judge, tested, position, slot)) {
                *at = trace_place(judge, position, slot);
                return true;
            }
    return false;
}

// No row differs, but one was computed that the sequence does not have.
static bool find_beyond(const trace *tested, location *l)
{
    if (!tested->beyond)
        return false;
    l->at = (place){tested->beyond - 1, -1, -1, STAGE_EMBED};
    l->pattern = PATTERN_BEYOND;
    return true;
}

// How far the difference reaches: over heads of the same row, and over positions at the same stage
// of the same layer.
static void measure_extent(const trace *judge, const trace *tested, location *l)
{
    const size_t first = trace_slot(judge, &(place){0, l->at.layer, 0, l->at.stage});
    const bool of_queries =
        l->at.stage == STAGE_SCORES || l->at.stage == STAGE_SOFTMAX || l->at.stage == STAGE_ATTEND;
    const config *c = &judge->m->config;
    const size_t width = l->at.head < 0 ? 1 : of_queries ? c->H : config_kv_heads(c);
    for (size_t position = 0; position < judge->T; position++) {
        size_t heads = 0;
        for (size_t h = 0; h < width; h++)
            heads += differs(judge, tested, position, first + h);
        l->positions += heads > 0;
        l->from_on += position >= l->at.position;
        if (position == l->at.position)
            l->heads = heads;
    }
}

// Whether the row the cache holds belongs to another place.
static bool find_copy(const trace *judge, const trace *tested, const place *at, place *copy_of)
{
    const uint64_t got = digest(tested, at->position, trace_slot(tested, at));
    for (size_t position = 0; position < judge->T; position++)
        for (size_t slot = 0; slot < judge->slots; slot++)
            if (digest(judge, position, slot) == got) {
                *copy_of = trace_place(judge, position, slot);
                return true;
            }
    return false;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Whether both rows hold the same numbers. Sorts them.
static bool is_permuted(float *expected, float *got, size_t n)
{
    qsort(expected, n, sizeof *expected, by_value);
    qsort(got, n, sizeof *got, by_value);
    return memcmp(expected, got, n * sizeof *got) == 0;
}

double locate_apart(const float *expected, const float *got, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - (double)expected[i]);
        difference = d <= difference ? difference : isnan(d) ? INFINITY : d;
        size = fmax(size, fabs((double)expected[i]));
    }
    return difference == 0 ? 0 : difference / size;
}

// Rounding in another order leaves a difference of at most some units in the last place of the
// largest number that went into it: 2^-16 of the row's largest element is 128 such units. Chains of
// 3072 products stay below 2^-18 (notes/06-bugs.md).
static const double TINY = 0x1p-16;

// What has grown to more than this share of the logits did not begin as rounding
// (notes/06-bugs.md).
static const double GROWN = 0x1p-12;

// What the row itself says.
static pattern look_at_row(const float *expected, const float *got, size_t n)
{
    bool zeros = true, fresh = true, strange = false, signs = true;
    for (size_t i = 0; i < n; i++) {
        const numeric_bits32 bits = {.f = got[i]};
        zeros = zeros && got[i] == 0;
        fresh = fresh && bits.u == PLUGIN_FILLING * 0x01010101u;
        strange = strange || (!isfinite(got[i]) && isfinite(expected[i]));
        signs = signs && got[i] == expected[i];
    }
    if (strange)
        return PATTERN_NAN;
    if (signs)
        return PATTERN_SIGN;
    if (zeros || fresh)
        return zeros ? PATTERN_ZEROS : PATTERN_FRESH;
    return PATTERN_OTHER;
}

// Patterns that are formulas with a tolerance: those of bench/compare.
static status look_for_formula(const float *expected, const float *got, size_t n, location *l)
{
    double *wide = memory_array(size_times(4, n), sizeof *wide); // both rows, and room for two
    if (!wide)
        return memory_failed("a row to look at");
    for (size_t i = 0; i < n; i++) {
        wide[i] = (double)expected[i];
        wide[n + i] = (double)got[i];
    }
    const patterns_finding f = patterns_find(wide, wide + n, n, false, wide + 2 * n);
    memory_free(wide);
    l->pattern = f.kind == PATTERNS_PRECISION ? PATTERN_SHORTER
                 : f.kind == PATTERNS_MEMORY  ? PATTERN_MEMORY
                                              : PATTERN_OTHER;
    if (l->pattern == PATTERN_SHORTER)
        snprintf(l->evidence, sizeof l->evidence,
                 "every element is one of %s%s, in steps of %.2g at the largest", f.format,
                 f.truncated ? ", rounded towards zero" : "", f.quantum);
    else if (l->pattern == PATTERN_MEMORY)
        snprintf(l->evidence, sizeof l->evidence, "%zu of %zu elements hold 0x%08" PRIx32,
                 f.elements, n, f.bits);
    return NULL;
}

// Whether the scores of a head of size D are sqrt(D) times what they should be, or one in so many.
static bool is_scaled(const trace_row *expected, const trace_row *got, size_t D, location *l)
{
    const double factor = (double)got->values[0] / (double)expected->values[0],
                 root = sqrt((double)D);
    const double right = factor > 1 ? root : 1 / root;
    for (size_t i = 0; i < got->n; i++)
        if (!(fabs((double)got->values[i] - right * (double)expected->values[i]) <=
              0x1p-20 * fabs((double)got->values[i])))
            return false;
    l->pattern = PATTERN_FACTOR;
    snprintf(l->evidence, sizeof l->evidence,
             "every score is %.4g times what it should be: %ssqrt(%zu)", right,
             right < 1 ? "1/" : "", D);
    return true;
}

// Sorts the rows in the end.
static status look_at_values(size_t D, trace_row *expected, trace_row *got, location *l)
{
    const size_t n = got->n;
    status s = NULL;
    l->pattern = look_at_row(expected->values, got->values, n);
    if (l->pattern == PATTERN_OTHER && l->apart <= TINY)
        l->pattern = PATTERN_TINY;
    if (l->pattern == PATTERN_OTHER && l->at.stage == STAGE_SCORES && D > 1 &&
        is_scaled(expected, got, D, l))
        return NULL;
    if (l->pattern == PATTERN_OTHER)
        s = look_for_formula(expected->values, got->values, n, l);
    if (l->pattern == PATTERN_OTHER && n > 1 && is_permuted(expected->values, got->values, n))
        l->pattern = PATTERN_PERMUTED;
    return s;
}

static void count_elements(location *l, const trace_row *expected, const trace_row *got)
{
    l->n = got->n;
    l->expected_n = expected->n;
    l->apart =
        got->n == expected->n ? locate_apart(expected->values, got->values, got->n) : INFINITY;
    for (size_t i = 0; i < got->n && i < expected->n; i++)
        if (memcmp(expected->values + i, got->values + i, sizeof(float)) != 0 &&
            l->differing++ == 0) {
            l->element = i;
            l->expected = expected->values[i];
            l->got = got->values[i];
        }
}

// What `at` holds, as far as it is not where `from` is: "K of position 1, layer 2".
static void describe_copy(location *l)
{
    const place *p = &l->copy_of;
    char in_layer[32] = "", in_head[32] = "";
    if (p->layer != l->at.layer && p->layer >= 0)
        snprintf(in_layer, sizeof in_layer, ", layer %d", p->layer);
    if (p->head != l->at.head && p->head >= 0)
        snprintf(in_head, sizeof in_head, ", head %d", p->head);
    const char *name = p->stage == STORED_K || p->stage == STAGE_STORED_K ? "K"
                       : p->stage == STORED_V || p->stage == STAGE_STORED_V
                           ? "V"
                           : place_stage_name(p->stage);
    snprintf(l->evidence, sizeof l->evidence,
             "it holds %s of position %zu%s%s, exact to the last bit", name, p->position, in_layer,
             in_head);
}

static status find_pattern(const trace *judge, const trace *tested, location *l,
                           trace_row *expected, trace_row *got)
{
    status s = NULL;
    count_elements(l, expected, got);
    if (tested->drafted[l->at.position]) {
        l->pattern = PATTERN_STALE;
    } else if (expected->n != got->n) {
        l->pattern = PATTERN_LENGTH;
        snprintf(l->evidence, sizeof l->evidence, "%zu key%s seen, %zu expected", got->n,
                 got->n == 1 ? "" : "s", expected->n);
    } else if (find_copy(judge, tested, &l->at, &l->copy_of)) {
        l->pattern = PATTERN_COPY;
        describe_copy(l);
    } else {
        s = look_at_values(config_head_size(&judge->m->config), expected, got, l);
    }
    if (l->pattern == PATTERN_TINY && l->logits_apart <= GROWN)
        l->kind = LOCATED_ROUNDING;
    else
        l->kind = l->pattern == PATTERN_SHORTER ? LOCATED_PRECISION : LOCATED_BUG;
    return s;
}

// A later call of the same way, by the same decoder, without drafts, for more than `position` + 1
// tokens; the failing one if there is none.
static size_t later_move(const location *l, size_t position)
{
    const way *w = l->path;
    size_t later = l->failing;
    for (size_t i = l->failing + 1; !w->independent && i < w->n && i <= l->failing + 8; i++)
        if (w->moves[i].T > position + 1 && w->moves[i].kept == w->moves[i].T &&
            w->moves[i].decoder == w->moves[l->failing].decoder)
            later = i;
    return later;
}

// Whether what belongs to l's place lies in the next one, after a later call: what is stored one
// slot late leaves the first slot empty.
static status look_at_next(const trace *judge, location *l)
{
    const size_t later = later_move(l, l->at.position), T = l->path->moves[later].T;
    place next = l->at;
    next.position++;
    if (next.position >= T)
        return NULL;
    trace t = {0};
    status s = trace_create(judge->m, T, false, &t);
    if (!s)
        s = trace_run(&t, l->path, later, NULL, NULL, 0);
    l->late = !s && digest(&t, next.position, trace_slot(&t, &next)) ==
                        digest(judge, l->at.position, trace_slot(judge, &l->at));
    if (l->late)
        snprintf(l->evidence, sizeof l->evidence,
                 "position %zu holds what belongs here, exact to the last bit", next.position);
    trace_free(&t);
    return s;
}

// The position whose embedding, added to the token's, gives this row; -1 if none does.
static long embedded_at(const model *m, int token, const float *row)
{
    const size_t C = m->config.C;
    for (size_t t = 0; t < m->config.T; t++) {
        const float *position = m->wpe + t * padded(C);
        size_t c = 0;
        while (c < C && linear_weight(&m->wte, c, (size_t)token) + position[c] == row[c])
            c++;
        if (c == C)
            return (long)t;
    }
    return -1;
}

// The row of embeddings at `position` in move `last` of l's way: where it is embedded, or -1.
static status find_embedded(const model *m, const location *l, size_t last, size_t position,
                            long *found)
{
    const move *mv = &l->path->moves[last];
    const place at = {position, -1, -1, STAGE_EMBED};
    int *room = memory_array(mv->T, sizeof *room);
    trace_row row = {0};
    trace t = {0};
    status s = room ? trace_create(m, mv->T, false, &t) : memory_failed("the tokens");
    *found = -1;
    if (!s)
        s = trace_run(&t, l->path, last, &at, &row, 1);
    if (!s && row.values && row.n == m->config.C)
        *found = embedded_at(m, ways_ids(mv, m->config.V, room)[position], row.values);
    trace_free(&t);
    memory_free(row.values);
    memory_free(room);
    return s;
}

// Which position went into a wrong row of embeddings, and whether a later row is wrong by as much:
// a count that is off by one keeps its distance, one that starts from 0 again does not.
static status look_at_positions(const model *m, location *l)
{
    const way *w = l->path;
    const size_t p = l->at.position;
    long first, second = -1;
    const size_t later = later_move(l, p), q = w->moves[later].T - 1;
    status s = find_embedded(m, l, l->failing, p, &first);
    if (s || first < 0 || first == (long)p)
        return s;
    if (later != l->failing)
        s = find_embedded(m, l, later, q, &second);
    if (second < 0) {
        snprintf(l->evidence, sizeof l->evidence, "right token, wrong position %ld", first);
        return s;
    }
    snprintf(l->evidence, sizeof l->evidence,
             "right token, wrong position %ld; later, position %ld for %zu", first, second, q);
    l->shifted = (long)q - second == (long)p - first;
    l->restarts = !l->shifted && second < (long)q;
    return s;
}

// Both rows once more, now with their values.
static status fetch_rows(trace *judge, const subject *by, trace *tested, const way *w,
                         size_t failing, const place *at, trace_row *expected, trace_row *got)
{
    status s = trace_judge(judge, by, w->moves[failing].ids, at, expected, 1);
    if (!s)
        s = trace_run(tested, w, failing, at, got, 1);
    return !s && ((!expected->values && expected->n > 0) || (!got->values && got->n > 0))
               ? memory_failed("a row to look at")
               : s;
}

// What the first wrong row looks like.
static status look_closely(trace *judge, const subject *by, trace *tested, location *l)
{
    trace_row expected = {0}, got = {0};
    measure_extent(judge, tested, l);
    status s = fetch_rows(judge, by, tested, l->path, l->failing, &l->at, &expected, &got);
    if (!s && (!expected.values || !got.values))
        snprintf(l->evidence, sizeof l->evidence,
                 "this row was not shown a second time: the calls are not repeatable");
    else if (!s)
        s = find_pattern(judge, tested, l, &expected, &got);
    if (!s && (l->pattern == PATTERN_ZEROS || l->pattern == PATTERN_FRESH))
        s = look_at_next(judge, l);
    if (!s && l->at.stage == STAGE_EMBED && l->pattern == PATTERN_OTHER)
        s = look_at_positions(judge->m, l);
    memory_free(expected.values);
    memory_free(got.values);
    return s;
}

// Whether the tested decoder shows rows of embeddings, but fewer in its last call than it was asked
// for logits.
static bool computed_too_few(const trace *tested, size_t wanted)
{
    bool shows = false;
    for (size_t position = 0; position < tested->T; position++)
        shows = shows || digest(tested, position, 0);
    return shows && tested->rows < wanted;
}

static status locate_between(trace *judge, const subject *by, trace *tested, location *out)
{
    const move *failing = &out->path->moves[out->failing];
    status s = trace_judge(judge, by, failing->ids, NULL, NULL, 0);
    if (!s)
        s = trace_run(tested, out->path, out->failing, NULL, NULL, 0);
    out->found = !s && (find_first(judge, tested, &out->at) || find_beyond(tested, out));
    out->idle = !s &&
                (!out->found || out->at.stage == STAGE_LNF || out->at.stage == STAGE_LOGITS) &&
                computed_too_few(tested, failing->wanted);
    if (out->found && out->pattern != PATTERN_BEYOND)
        s = look_closely(judge, by, tested, out);
    if (out->idle && tested->rows == 0)
        snprintf(out->evidence, sizeof out->evidence,
                 "no row was computed: all %zu were taken for held", failing->T);
    else if (out->idle)
        snprintf(out->evidence, sizeof out->evidence,
                 "of %zu rows whose logits were asked for %zu were computed", failing->wanted,
                 tested->rows);
    return s;
}

// Whether a run has returned the right logits, though it was made because they are wrong.
static bool is_right_now(const trace *judge, const trace *tested)
{
    bool any = false;
    for (size_t t = 0; t < judge->T; t++) {
        any = any || tested->logits[t];
        if (tested->logits[t] && judge->logits[t] != tested->logits[t])
            return false;
    }
    return any;
}

// Makes the calls once more, and looks whether they go wrong in the same place.
static status look_again(const trace *judge, location *l)
{
    trace again = {0};
    place at = {0};
    status s = trace_create(judge->m, l->context, false, &again);
    if (!s)
        s = trace_run(&again, l->path, l->failing, NULL, NULL, 0);
    l->changing =
        !s && (!find_first(judge, &again, &at) || at.position != l->at.position ||
               at.layer != l->at.layer || at.head != l->at.head || at.stage != l->at.stage);
    if (l->changing)
        snprintf(l->evidence, sizeof l->evidence,
                 "the same calls, made again, do not go wrong here");
    trace_free(&again);
    return s;
}

status locate(const model *m, const subject *judge, const way *w, size_t failing,
              double logits_apart, location *out)
{
    *out = (location){.path = w,
                      .failing = failing,
                      .pattern = PATTERN_OTHER,
                      .context = w->moves[failing].T,
                      .logits_apart = logits_apart,
                      .kind = LOCATED_BUG};
    trace expected = {0}, got = {0};
    status s = trace_create(m, out->context, true, &expected);
    if (!s)
        s = trace_create(m, out->context, false, &got);
    if (!s)
        s = locate_between(&expected, judge, &got, out);
    if (!s && out->found && out->pattern != PATTERN_BEYOND)
        s = look_again(&expected, out);
    else if (!s && !out->found && !out->idle && logits_apart > 0 && is_right_now(&expected, &got)) {
        out->changing = true;
        snprintf(out->evidence, sizeof out->evidence,
                 "the same calls, made again, do not go wrong");
    }
    location_suspect(out);
    trace_free(&expected);
    trace_free(&got);
    return s;
}
