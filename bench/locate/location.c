// The locator's words: what a difference looks like, and the report of it.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/locate/locate.h"
#include "common/base/format.h"
#include "common/number/numeric.h"

// Rows that differ by less of their largest number hold the same numbers in another form.
static const double SIMILAR = 0.1;

static bool is_stored(int s)
{
    return s == STORED_K || s == STORED_V || s == STAGE_STORED_K || s == STAGE_STORED_V;
}

static bool is_reached(const location *l, const char *name)
{
    return strcmp(l->path->name, name) == 0;
}

// Bugs of an eviction, by the positions that a row sees though they should have gone. Where the
// row before it is the one that went, all differ from there to the row's own, which is the last.
static const char *suspects_of_eviction(const location *l)
{
    if (l->pattern != PATTERN_LENGTH && l->element + l->differing + 1 == l->n)
        return "the newest row evicted at once: its score has had no time to grow, which is why "
               "the last R stay";
    if (is_reached(l, "after rollbacks"))
        return "a rollback that did not bring back who had left, or the scores: a journal that is "
               "too short";
    if (l->pattern == PATTERN_LENGTH)
        return "more rows than R + H and its own, or fewer";
    return "another row evicted: scores not condensed with the rows, a row's own weight left out, "
           "or of equal scores the higher position";
}

// Bugs of a spec: of the rows that it keeps, and of their form. NULL: none of these.
static const char *suspects_of_spec(const location *l)
{
    const kv_spec *spec = &l->path->by->kv;
    const bool taken_back = is_reached(l, "after rollbacks") || is_reached(l, "after edits");
    if (l->at.stage == STAGE_SEES && spec->keep == KV_HEAVY)
        return suspects_of_eviction(l);
    if (is_stored(l->at.stage) && spec->form != KV_F32 && !taken_back &&
        l->pattern == PATTERN_OTHER && l->apart <= SIMILAR)
        return "a scale or a rounding on one side: numbers written by one rule and read by another";
    if (l->pattern == PATTERN_LENGTH && spec->keep == KV_WINDOW)
        return l->n > l->expected_n ? "a window that is too long: a row that should have left it"
                                    : "a window that is too short: a row has left it too early";
    return NULL;
}

// Bugs by what the difference looks like. NULL: it says nothing here.
static const char *suspects_of_pattern(const location *l)
{
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
        [PATTERN_SHORTER] = "keys and values kept in that format",
        [PATTERN_MEMORY] = "memory that was freed while in use, or never written",
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
        [PATTERN_SHORTER] = "numbers kept in that format",
        [PATTERN_MEMORY] = "memory that was freed while in use, or never written",
        [PATTERN_FACTOR] = "the scale 1/sqrt(D) of the scores forgotten, or applied twice",
        [PATTERN_SIGN] = "masking by zero: fma(0, v, -0) is +0",
        [PATTERN_BEYOND] = "the last token evaluated twice: all of the text was held already, and "
                           "it went in once more",
        [PATTERN_TINY] = "another order of summation: a product that depends on the number of "
                         "rows, a reduction left "
                         "to the compiler, "
                         "or another exp",
    };
    return is_stored(l->at.stage) ? stored[l->pattern] : anywhere[l->pattern];
}

static const char *suspects_of_stage(const location *l)
{
    switch (l->at.stage) {
    case STAGE_EMBED:
        if (l->shifted)
            return "positions off by one, always by as much";
        if (l->restarts)
            return "positions that start from 0 again in each step, without the rows held";
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

// Classic bugs by where they are first seen and what that looks like (notes/06-bugs.md).
static const char *suspects(const location *l)
{
    if (l->changing)
        return "not repeatable: memory that was never written, a race, the time or a generator of "
               "random numbers";
    if (l->idle)
        return "all T rows reused: the last ones are to be computed again, for their logits";
    if (l->path->decoders == 2 && is_stored(l->at.stage) && l->pattern == PATTERN_OTHER)
        return "static or global state, which two decoders share: a row of one overwritten by the "
               "other";
    const char *known = suspects_of_spec(l);
    if (!known && l->late)
        known = "V or K stored one slot too late";
    if (!known)
        known = suspects_of_pattern(l);
    return known ? known : suspects_of_stage(l);
}

void location_suspect(location *l)
{
    l->suspects = suspects(l);
}

static const char *const PATTERN_NAMES[PATTERNS] = {
    [PATTERN_STALE] = "computed from a token that is gone",
    [PATTERN_LENGTH] = "a row of another length",
    [PATTERN_COPY] = "the row of another place",
    [PATTERN_NAN] = "NaN or Inf",
    [PATTERN_ZEROS] = "zeros",
    [PATTERN_FRESH] = "never written",
    [PATTERN_PERMUTED] = "the right numbers, permuted",
    [PATTERN_SHORTER] = "every element in a shorter format",
    [PATTERN_MEMORY] = "freed or never written memory",
    [PATTERN_FACTOR] = "a constant factor",
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

// The first element that differs, and how far the difference reaches.
static void print_numbers(const location *l, FILE *f)
{
    const numeric_bits32 a = {.f = l->expected}, b = {.f = l->got};
    char line[256];
    if (!l->differing)
        return;
    snprintf(line, sizeof line,
             "element %zu of %zu is %.9g (0x%08" PRIx32 "), should be %.9g (0x%08" PRIx32 ")",
             l->element, l->n, (double)l->got, b.u, (double)l->expected, a.u);
    format_wrapped(f, " ", 4, line);
    int used = snprintf(line, sizeof line, "%zu element%s of this row differ%s", l->differing,
                        l->differing == 1 ? "" : "s", l->differing == 1 ? "s" : "");
    if (l->kind == LOCATED_ROUNDING)
        used += snprintf(line + used, sizeof line - (size_t)used, ", the first by %" PRIu64 " ulp",
                         numeric_ulps(l->expected, l->got));
    if (isfinite(l->apart))
        snprintf(line + used, sizeof line - (size_t)used,
                 ", by at most %.2g of its largest; the logits by %.2g of theirs", l->apart,
                 l->logits_apart);
    format_wrapped(f, " ", 4, line);
}

static void print_extent(const location *l, FILE *f)
{
    char line[192];
    if (!l->positions)
        return;
    int used = snprintf(line, sizeof line,
                        "%zu of %zu position%s from here on differ%s at this stage", l->positions,
                        l->from_on, l->from_on == 1 ? "" : "s", l->positions == 1 ? "s" : "");
    if (l->at.head >= 0)
        snprintf(line + used, sizeof line - (size_t)used, ", and %zu head%s of this row", l->heads,
                 l->heads == 1 ? "" : "s");
    format_wrapped(f, " ", 4, line);
}

void location_print(const location *l, FILE *f)
{
    char text[96], calls[WAYS_CALLS];
    if (l->found)
        fprintf(f, "located: %s (context %zu)\n", describe(&l->at, text), l->context);
    else
        fprintf(f, "located: no observable row differs before the logits (context %zu)\n",
                l->context);
    fprintf(f, "  reached %s\n", l->path->name);
    format_wrapped(f, "  by", 4, ways_calls(l->path, l->failing, calls));
    if (l->found)
        print_numbers(l, f);
    if (l->evidence[0])
        format_wrapped(f, " ", 4, l->evidence);
    if (l->found) {
        fprintf(f, "  pattern: %s\n", PATTERN_NAMES[l->pattern]);
        print_extent(l, f);
    }
    if (l->found || l->idle || l->changing)
        format_wrapped(f, "  looks like:", 4, l->suspects);
    else
        format_wrapped(f, " ", 4, "the decoder shows too few of its stages to say more");
    fprintf(f, "  kind: %s\n  more: notes/06-bugs.md\n", KIND_NAMES[l->kind]);
}

// NULL if out of memory, as all of these.
static json_t *place_json(const place *p)
{
    return json_pack("{s:I, s:s, s:o, s:o}", "position", (json_int_t)p->position, "stage",
                     place_stage_name(p->stage), "layer",
                     p->layer < 0 ? json_null() : json_integer(p->layer), "head",
                     p->head < 0 ? json_null() : json_integer(p->head));
}

static json_t *share_json(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *location_json(const location *l)
{
    char calls[WAYS_CALLS];
    if (!l->found)
        return json_null();
    const numeric_bits32 a = {.f = l->expected}, b = {.f = l->got};
    return json_pack(
        "{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:o, s:s, "
        "s:s, "
        "s:s}",
        "at", place_json(&l->at), "reached", l->path->name, "calls",
        ways_calls(l->path, l->failing, calls), "context", (json_int_t)l->context, "element",
        (json_int_t)l->element, "elements", (json_int_t)l->n, "differing_elements",
        (json_int_t)l->differing, "differing_heads", (json_int_t)l->heads, "differing_positions",
        (json_int_t)l->positions, "expected_bits", (json_int_t)a.u, "got_bits", (json_int_t)b.u,
        "ulps", (json_int_t)numeric_ulps(l->expected, l->got), "row_apart", share_json(l->apart),
        "logits_apart", share_json(l->logits_apart), "pattern", PATTERN_NAMES[l->pattern],
        "copy_of", l->pattern == PATTERN_COPY ? place_json(&l->copy_of) : json_null(), "evidence",
        l->evidence, "suspects", l->suspects, "kind", KIND_NAMES[l->kind]);
}
