// From "the logits differ" to an address: the first row, in the order of causes, that is not what a
// recompute computes.
#include "bench/verify/locate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/subject/plugin.h"
#include "common/base/memory.h"
#include "common/math/numeric.h"

// The judge's own way: one step over the fixed sequence. What it computes is also what a cache
// should hold.
static status trace_judge(trace *t, const subject *judge, const place *wanted, trace_row *found,
                          size_t wanting)
{
    move whole = {.kept = t->T, .T = t->T, .wanted = t->T};
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
    const size_t width = l->at.head < 0 ? 1 : judge->m->config.H;
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

// x rounded to nearest even with `bits` of fraction and exponents from `lowest` on (subnormals
// below), as a cast to a shorter format and back would.
static float shortened(float x, int bits, int lowest)
{
    int exponent;
    if (x == 0 || !isfinite(x))
        return x;
    frexpf(x, &exponent);
    int last =
        (exponent - 1 < lowest ? lowest : exponent - 1) - bits; // exponent of the last place kept
    return (float)ldexp(nearbyint(ldexp((double)x, -last)), last);
}

static bool is_shortened(const float *expected, const float *got, size_t n, int bits, int lowest)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != shortened(expected[i], bits, lowest))
            return false;
    return true;
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

// What the row itself says; sorts the rows in the end.
static pattern look_at_row(float *expected, float *got, size_t n)
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
    if (is_shortened(expected, got, n, 10, -14))
        return PATTERN_FP16;
    if (is_shortened(expected, got, n, 7, -126))
        return PATTERN_BF16;
    if (locate_apart(expected, got, n) <= TINY)
        return PATTERN_TINY;
    return n > 1 && is_permuted(expected, got, n) ? PATTERN_PERMUTED : PATTERN_OTHER;
}

static void count_elements(location *l, const trace_row *expected, const trace_row *got)
{
    l->n = got->n;
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

static void find_pattern(const trace *judge, const trace *tested, location *l, trace_row *expected,
                         trace_row *got)
{
    count_elements(l, expected, got);
    if (tested->drafted[l->at.position])
        l->pattern = PATTERN_STALE;
    else if (expected->n != got->n)
        l->pattern = PATTERN_LENGTH;
    else if (find_copy(judge, tested, &l->at, &l->copy_of))
        l->pattern = PATTERN_COPY;
    else
        l->pattern = look_at_row(expected->values, got->values, got->n);
    if (l->pattern == PATTERN_TINY && l->logits_apart <= GROWN)
        l->kind = LOCATED_ROUNDING;
    else
        l->kind = l->pattern == PATTERN_FP16 || l->pattern == PATTERN_BF16 ? LOCATED_PRECISION
                                                                           : LOCATED_BUG;
}

static bool is_stored(int s)
{
    return s == STORED_K || s == STORED_V || s == STAGE_STORED_K || s == STAGE_STORED_V;
}

// Classic bugs by where they are first seen and what that looks like (notes/06-bugs.md).
static const char *suspects(const location *l, const way *w)
{
    static const char shared[] =
        "static or global state, which two decoders share: a row of one overwritten by the other";
    static const char *const stored[PATTERNS] = {
        [PATTERN_STALE] = "rows kept from a text that has changed: rejected drafts not rolled "
                          "back, or a cache not reset",
        [PATTERN_COPY] = "a wrong stride or index: one row, head or layer stored in another's "
                         "place, or K and V swapped",
        [PATTERN_NAN] = "memory that was never written, or another type's bits",
        [PATTERN_ZEROS] = "the length advanced, but K or V never written",
        [PATTERN_FRESH] =
            "the length advanced, but K or V never written, or stored before they were computed",
        [PATTERN_PERMUTED] = "a layout taken for another: strides of a view assumed contiguous",
        [PATTERN_FP16] = "a cache kept in binary16",
        [PATTERN_BF16] = "a cache kept in bfloat16",
        [PATTERN_OTHER] = "a row overwritten, left from a draft, stored before it was final, or "
                          "read as another type",
    };
    static const char *const anywhere[PATTERNS] = {
        [PATTERN_STALE] = "rows kept from a text that has changed: rejected drafts not rolled "
                          "back, or a cache not reset",
        [PATTERN_LENGTH] = "a mask that lets a row see too many keys, or too few",
        [PATTERN_NAN] = "unused memory read, or masking by zero (0 Inf is NaN)",
        [PATTERN_ZEROS] = "a row that was never computed",
        [PATTERN_FRESH] = "memory that was never written",
        [PATTERN_SIGN] = "masking by zero: fma(0, v, -0) is +0",
        [PATTERN_BEYOND] = "the last token evaluated twice: all of the text was held already, and "
                           "it went in once more",
        [PATTERN_TINY] = "another order of summation: a product that depends on the number of "
                         "rows, a reduction left "
                         "to the compiler, "
                         "or another exp",
    };
    if (w->decoders == 2 && is_stored(l->at.stage) && l->pattern == PATTERN_OTHER)
        return shared;
    const char *known = is_stored(l->at.stage) ? stored[l->pattern] : anywhere[l->pattern];
    if (known)
        return known;
    switch (l->at.stage) {
    case STAGE_EMBED:
        return "positions that miscount the past: off by one, starting from 0 again, or the last "
               "token evaluated twice";
    case STAGE_SEES:
        return "a mask that lets a row see other rows: a window that slides by another step, or "
               "rows that were dropped too early";
    case STAGE_SCORES:
        return "keys of another layer, head or row, or a scale forgotten";
    case STAGE_SOFTMAX:
        return "a causal mask that is misaligned: off by one, or top-left when queries are fewer "
               "than keys";
    case STAGE_ATTEND:
        return "values of another layer, head or row";
    default:
        return "another input: a step left out or done twice, another token's row, another layer's "
               "weights";
    }
}

// Both rows once more, now with their values.
static status fetch_rows(trace *judge, const subject *by, trace *tested, const way *w,
                         size_t failing, const place *at, trace_row *expected, trace_row *got)
{
    status s = trace_judge(judge, by, at, expected, 1);
    if (!s)
        s = trace_run(tested, w, failing, at, got, 1);
    return !s && (!expected->values || !got->values) ? memory_failed("a row to look at") : s;
}

static status locate_between(trace *judge, const subject *by, trace *tested, const way *w,
                             size_t failing, location *out)
{
    trace_row expected = {0}, got = {0};
    status s = trace_judge(judge, by, NULL, NULL, 0);
    if (!s)
        s = trace_run(tested, w, failing, NULL, NULL, 0);
    out->found = !s && (find_first(judge, tested, &out->at) || find_beyond(tested, out));
    if (out->found && out->pattern != PATTERN_BEYOND) {
        measure_extent(judge, tested, out);
        s = fetch_rows(judge, by, tested, w, failing, &out->at, &expected, &got);
        if (!s)
            find_pattern(judge, tested, out, &expected, &got);
    }
    out->suspects = suspects(out, w);
    memory_free(expected.values);
    memory_free(got.values);
    return s;
}

status locate(const model *m, const subject *judge, const way *w, size_t failing,
              double logits_apart, location *out)
{
    *out = (location){.way = w->name,
                      .context = w->moves[failing].T,
                      .logits_apart = logits_apart,
                      .kind = LOCATED_BUG};
    trace expected = {0}, got = {0};
    status s = trace_create(m, out->context, true, &expected);
    if (!s)
        s = trace_create(m, out->context, false, &got);
    if (!s)
        s = locate_between(&expected, judge, &got, w, failing, out);
    trace_free(&expected);
    trace_free(&got);
    return s;
}

static const char *const PATTERN_NAMES[PATTERNS] = {
    [PATTERN_STALE] = "computed from a token that is gone",
    [PATTERN_LENGTH] = "a row of another length",
    [PATTERN_COPY] = "the row of another place",
    [PATTERN_NAN] = "NaN or Inf",
    [PATTERN_ZEROS] = "zeros",
    [PATTERN_FRESH] = "never written",
    [PATTERN_PERMUTED] = "the right numbers, permuted",
    [PATTERN_FP16] = "every element rounded to binary16",
    [PATTERN_BF16] = "every element rounded to bfloat16",
    [PATTERN_SIGN] = "zeros of the other sign",
    [PATTERN_TINY] = "spread and tiny",
    [PATTERN_BEYOND] = "a row behind the end of the sequence",
    [PATTERN_OTHER] = "other numbers",
};

static const char *const KIND_NAMES[] = {[LOCATED_ROUNDING] = "rounding",
                                         [LOCATED_PRECISION] = "reduced precision",
                                         [LOCATED_BUG] = "bug"};

// "layer 2, cached k, position 17, head 0", without what does not apply. Returns text.
static const char *describe(const place *p, char text[96])
{
    int used = p->layer < 0 ? 0 : snprintf(text, 96, "layer %d, ", p->layer);
    used += snprintf(text + used, 96 - (size_t)used, "%s, position %zu", place_stage_name(p->stage),
                     p->position);
    if (p->head >= 0)
        snprintf(text + used, 96 - (size_t)used, ", head %d", p->head);
    return text;
}

void location_print(const location *l, FILE *f)
{
    char text[96];
    if (!l->found) {
        fprintf(f,
                "located: no observable row differs before the logits (reached %s): the decoder "
                "shows too little\n",
                l->way);
        return;
    }
    numeric_bits32 a = {.f = l->expected}, b = {.f = l->got};
    fprintf(f, "located: %s (context %zu, reached %s)\n", describe(&l->at, text), l->context,
            l->way);
    if (l->differing)
        fprintf(f,
                "  element %zu of %zu is %.9g (0x%08" PRIx32 "), should be %.9g (0x%08" PRIx32
                "), %" PRIu64 " ulp apart\n  %zu elements of this row differ, by at most %.2g of "
                "its largest; the logits by %.2g of "
                "theirs\n",
                l->element, l->n, (double)l->got, b.u, (double)l->expected, a.u,
                numeric_ulps(l->expected, l->got), l->differing, l->apart, l->logits_apart);
    fprintf(f, "  pattern: %s", PATTERN_NAMES[l->pattern]);
    if (l->pattern == PATTERN_COPY)
        fprintf(f, ": %s", describe(&l->copy_of, text));
    if (l->positions)
        fprintf(f, "; %zu of %zu position%s from here on differ%s at this stage", l->positions,
                l->from_on, l->from_on == 1 ? "" : "s", l->positions == 1 ? "s" : "");
    if (l->at.head >= 0)
        fprintf(f, "; heads that differ in this row: %zu", l->heads);
    fprintf(f, "\n  looks like: %s (notes/06-bugs.md)\n  kind: %s\n", l->suspects,
            KIND_NAMES[l->kind]);
}

static json_t *place_json(const place *p)
{
    json_t *o = json_pack("{s:I, s:s}", "position", (json_int_t)p->position, "stage",
                          place_stage_name(p->stage));
    json_object_set_new(o, "layer", p->layer < 0 ? json_null() : json_integer(p->layer));
    json_object_set_new(o, "head", p->head < 0 ? json_null() : json_integer(p->head));
    return o;
}

static json_t *share_json(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *location_json(const location *l)
{
    if (!l->found)
        return json_null();
    numeric_bits32 a = {.f = l->expected}, b = {.f = l->got};
    return json_pack(
        "{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:o, s:s, s:s}",
        "at", place_json(&l->at), "reached", l->way, "context", (json_int_t)l->context, "element",
        (json_int_t)l->element, "elements", (json_int_t)l->n, "differing_elements",
        (json_int_t)l->differing, "differing_heads", (json_int_t)l->heads, "differing_positions",
        (json_int_t)l->positions, "expected_bits", (json_int_t)a.u, "got_bits", (json_int_t)b.u,
        "ulps", (json_int_t)numeric_ulps(l->expected, l->got), "row_apart", share_json(l->apart),
        "logits_apart", share_json(l->logits_apart), "pattern", PATTERN_NAMES[l->pattern],
        "copy_of", l->pattern == PATTERN_COPY ? place_json(&l->copy_of) : json_null(), "suspects",
        l->suspects, "kind", KIND_NAMES[l->kind]);
}
