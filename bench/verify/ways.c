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

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Goes on to t tokens and asks for the logits of the last `wanted`.
static status reach(way *w, size_t t, size_t wanted)
{
    return add(w, (move){.kept = t, .T = t, .wanted = wanted});
}

// The same with drafts from row `kept` on.
static status draft(way *w, size_t kept, size_t T, size_t wanted)
{
    return add(w, (move){.kept = kept, .T = T, .wanted = wanted});
}

static status plan_chunks(way *w, size_t chunk, size_t last)
{
    status s = NULL;
    for (size_t t = 0, end; !s && t < last; t = end) {
        end = least(t + chunk, last);
        s = reach(w, end, end - t);
    }
    return s;
}

// At each chosen context: new tokens with drafts behind them in one step, of which all drafts are
// taken back; drafts alone, of which the first two are replaced; the same call again (nothing left
// to evaluate but the last token); and a shorter text. Before that, another text and straight back;
// behind it, another text and a reset. Of drafts, and of a text that is held
// already, several rows are asked for.
static status plan_rollbacks(way *w, const size_t *chosen, size_t n, size_t last)
{
    status s = draft(w, 0, least(20, last), 1);
    if (!s)
        s = reach(w, least(20, last), 1);
    for (size_t i = 0; !s && i < n; i++) {
        const size_t t = chosen[i], drafted = least(t + 4, last), longer = least(t + 2, last);
        if (!(s = draft(w, t, drafted, least(6, drafted))) && !(s = reach(w, t, 1)) &&
            !(s = draft(w, t, drafted, 1)) && !(s = reach(w, longer, 1)) &&
            !(s = reach(w, longer, least(3, longer))) && !(s = reach(w, longer, 1)))
            s = reach(w, t - t / 3, 1);
    }
    if (!s)
        s = draft(w, 0, least(10, last), 1);
    return s ? s : add(w, (move){least(5, last), least(5, last), 1, true});
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
        s = reach(w, t, 1);
        if (!s && t < last) // the last move is the first decoder's: its cache is looked into
            s = draft(w, 0, t, 1);
    }
    return s;
}

static status plan_moves(const size_t *contexts, size_t n, way ways[WAYS])
{
    static const struct {
        size_t way, tokens;
    } chunks[] = {{ONE_BY_ONE, 1}, {BY_2, 2}, {BY_6, 6}, {BY_7, 7}, {BY_16, 16}, {BY_100, 100}};
    const size_t last = contexts[n - 1], few = least(n, CHOSEN);
    size_t chosen[CHOSEN] = {0};
    status s = NULL;
    for (size_t i = 0; i < few; i++)
        chosen[i] = contexts[few == 1 ? 0 : i * (n - 1) / (few - 1)];
    const bool plain = kv_is_plain(&ways[RECOMPUTED].by->kv);
    const size_t *alone = plain ? contexts : chosen;
    // The longest first: it is not to be the last that one core still works on.
    for (size_t i = plain ? n : few; !s && i-- > 0;)
        s = reach(&ways[RECOMPUTED], alone[i], 1);
    for (size_t i = few; !s && i-- > 0;)
        s = add(&ways[FRESH], (move){chosen[i], chosen[i], chosen[i], true});
    for (size_t i = 0; !s && i < sizeof chunks / sizeof *chunks; i++)
        s = plan_chunks(&ways[chunks[i].way], chunks[i].tokens, last);
    if (!s)
        s = plan_rollbacks(&ways[ROLLED_BACK], chosen, few, last);
    return s ? s : plan_turns(&ways[BESIDE_ANOTHER], last);
}

status ways_plan(const subject *judge, const subject *tested, const size_t *contexts, size_t n,
                 way ways[WAYS])
{
    static const char *const names[WAYS] = {
        [RECOMPUTED] = "recomputed",       [ONE_BY_ONE] = "one by one",
        [BY_2] = "in chunks of 2",         [BY_6] = "in chunks of 6",
        [BY_7] = "in chunks of 7",         [BY_16] = "in chunks of 16",
        [BY_100] = "in chunks of 100",     [FRESH] = "at once",
        [ROLLED_BACK] = "after rollbacks", [BESIDE_ANOTHER] = "beside another one"};
    for (size_t w = 0; w < WAYS; w++)
        ways[w] = (way){.name = names[w],
                        .by = w == RECOMPUTED ? judge : tested,
                        .T_max = contexts[n - 1],
                        .decoders = 1,
                        .independent = w == RECOMPUTED || w == FRESH};
    return plan_moves(contexts, n, ways);
}

void ways_free(way ways[WAYS])
{
    for (size_t w = 0; w < WAYS; w++)
        memory_free(ways[w].moves);
}
