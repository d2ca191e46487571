// Scripts for a cache: growing by one, by chunks, from nothing, and back again.
#include "bench/verify/ways.h"

#include "bench/base/contexts.h"
#include "common/base/memory.h"

enum { CHOSEN = 16 }; // contexts for fresh prefills and for rollbacks

void ways_ids(const move *m, size_t V, int *ids)
{
    for (size_t i = 0; i < m->T; i++)
        ids[i] = i < m->kept ? fixed_token(i, V) : (int)(((size_t)fixed_token(i, V) + 1) % V);
}

static status add(way *w, move m)
{
    move *moves = memory_resize(w->moves, w->n + 1, sizeof *moves);
    if (!moves)
        return memory_failed("the moves of verify");
    w->moves = moves;
    moves[w->n++] = m;
    return NULL;
}

static status reach(way *w, size_t t)
{
    return add(w, (move){.kept = t, .T = t});
}

static status draft(way *w, size_t kept, size_t T)
{
    return add(w, (move){.kept = kept, .T = T});
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static status plan_chunks(way *w, size_t chunk, size_t last)
{
    status s = NULL;
    for (size_t t = 0; !s && t < last;) {
        t = least(t + chunk, last);
        s = reach(w, t);
    }
    return s;
}

// At each chosen context: new tokens with drafts behind them in one step, of which all drafts are
// taken back; drafts alone, of which the first two are replaced; the same call again (nothing left
// to evaluate but the last token); and a shorter text. Before that, another text and straight back;
// behind it, another text and a reset.
static status plan_rollbacks(way *w, const size_t *chosen, size_t n, size_t last)
{
    status s = draft(w, 0, least(20, last));
    if (!s)
        s = reach(w, least(20, last));
    for (size_t i = 0; !s && i < n; i++) {
        const size_t t = chosen[i], drafted = least(t + 4, last), longer = least(t + 2, last);
        if (!(s = draft(w, t, drafted)) && !(s = reach(w, t)) && !(s = draft(w, t, drafted)) &&
            !(s = reach(w, longer)) && !(s = reach(w, longer)))
            s = reach(w, t - t / 3);
    }
    if (!s)
        s = draft(w, 0, least(10, last));
    return s ? s : add(w, (move){.kept = least(5, last), .T = least(5, last), .reset = true});
}

// Two decoders that live at once and read different texts: by one token and by a panel's worth less
// one, so that single rows and tiles of them, within a panel and across its end, meet the other's.
static status plan_turns(way *w, size_t last)
{
    static const size_t by[] = {1, 15};
    status s = NULL;
    w->decoders = 2;
    for (size_t t = 0, turn = 0; !s && t < last; turn++) {
        t = least(t + by[turn % 2], last);
        s = reach(w, t);
        if (!s && t < last) // the last move is the first decoder's: its cache is looked into
            s = draft(w, 0, t);
    }
    return s;
}

// Gives every move without drafts a row, and room for the rows.
static status give_rows(way *w, size_t V)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->moves[i].kept == w->moves[i].T)
            w->moves[i].row = ++w->rows;
    w->logits = memory_array(w->rows * V, sizeof *w->logits);
    return w->logits ? NULL
                     : memory_failed("the logits to compare: name fewer contexts with --contexts");
}

// The run that goes one by one is the judge where nothing was recomputed: it keeps only what
// somebody asks for.
static void keep_what_is_asked_for(way ways[WAYS])
{
    way *w = &ways[ONE_BY_ONE];
    for (size_t i = 0; i < w->n; i++)
        w->moves[i].row = 0;
    for (size_t other = 0; other < WAYS; other++)
        for (size_t i = 0; other != ONE_BY_ONE && i < ways[other].n; i++)
            if (ways[other].moves[i].row)
                w->moves[ways[other].moves[i].T - 1].row = 1;
    w->rows = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->moves[i].row)
            w->moves[i].row = ++w->rows;
}

static status plan_moves(const size_t *contexts, size_t n, way ways[WAYS])
{
    static const struct {
        size_t way, tokens;
    } chunks[] = {{ONE_BY_ONE, 1}, {BY_7, 7}, {BY_16, 16}, {BY_100, 100}};
    const size_t last = contexts[n - 1], few = least(n, CHOSEN);
    size_t chosen[CHOSEN] = {0};
    status s = NULL;
    for (size_t i = 0; i < few; i++)
        chosen[i] = contexts[few == 1 ? 0 : i * (n - 1) / (few - 1)];
    for (size_t i = n;
         !s && i-- > 0;) // the longest first: it is not to be the last that one core still works on
        s = reach(&ways[RECOMPUTED], contexts[i]);
    for (size_t i = few; !s && i-- > 0;)
        s = add(&ways[FRESH], (move){.kept = chosen[i], .T = chosen[i], .reset = true});
    for (size_t i = 0; !s && i < sizeof chunks / sizeof *chunks; i++)
        s = plan_chunks(&ways[chunks[i].way], chunks[i].tokens, last);
    if (!s)
        s = plan_rollbacks(&ways[ROLLED_BACK], chosen, few, last);
    return s ? s : plan_turns(&ways[BESIDE_ANOTHER], last);
}

status ways_plan(const decoder_api *judge, const decoder_api *tested, const size_t *contexts,
                 size_t n, size_t V, way ways[WAYS])
{
    static const char *const names[WAYS] = {
        [RECOMPUTED] = "recomputed",       [ONE_BY_ONE] = "one by one",
        [BY_7] = "in chunks of 7",         [BY_16] = "in chunks of 16",
        [BY_100] = "in chunks of 100",     [FRESH] = "at once",
        [ROLLED_BACK] = "after rollbacks", [BESIDE_ANOTHER] = "beside another one"};
    for (size_t w = 0; w < WAYS; w++)
        ways[w] = (way){.name = names[w],
                        .api = w == RECOMPUTED ? judge : tested,
                        .T_max = contexts[n - 1],
                        .decoders = 1,
                        .independent = w == RECOMPUTED || w == FRESH};
    status s = plan_moves(contexts, n, ways);
    for (size_t w = 0; !s && w < WAYS; w++)
        if (w != ONE_BY_ONE)
            s = give_rows(&ways[w], V);
    if (s)
        return s;
    keep_what_is_asked_for(ways);
    ways[ONE_BY_ONE].logits = memory_array(ways[ONE_BY_ONE].rows * V, sizeof(float));
    return ways[ONE_BY_ONE].logits
               ? NULL
               : memory_failed("the logits to compare: name fewer contexts with --contexts");
}

void ways_free(way ways[WAYS])
{
    for (size_t w = 0; w < WAYS; w++) {
        memory_free(ways[w].moves);
        memory_free(ways[w].logits);
    }
}
