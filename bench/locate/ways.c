// Scripts for a cache: growing by one, by chunks, from nothing, and back again.
#include "bench/locate/ways.h"

#include <stdio.h>

#include "bench/base/contexts.h"
#include "common/base/memory.h"

enum { CHOSEN = 16 }; // contexts for fresh prefills and for rollbacks

// Id i of the fixed sequence, `by` more.
static int shifted_id(size_t i, size_t by, size_t V)
{
    return (int)(((size_t)fixed_token(i, V) + by) % V);
}

// Id i with the highest bit flipped that leaves an id.
static int flipped_id(size_t i, size_t V)
{
    const size_t id = (size_t)fixed_token(i, V);
    size_t bit = 1;
    while (bit * 2 < V)
        bit *= 2;
    while (bit > 1 && (id ^ bit) >= V)
        bit /= 2;
    return (int)((id ^ bit) % V);
}

// By how much an id and the next one change, so that a hash of them stays: up or down, where
// neither leaves the vocabulary.
static size_t hash_step(size_t i, size_t at, size_t V)
{
    const bool up = fixed_token(at, V) + 1 < (int)V && fixed_token(at + 1, V) >= 31;
    return i == at ? (up ? 1 : V - 1) : up ? V - 31 % V : 31;
}

// Id i of a text of T that is edited at id `at`, i >= at.
static int edited_id(edit kind, size_t i, size_t at, size_t T, size_t V)
{
    const bool here = i == at, next = i == at + 1;
    switch (kind) {
    case EDIT_DRAFTS:
        return shifted_id(i, 1, V);
    case EDIT_PLUS_1:
        return shifted_id(i, here, V);
    case EDIT_HIGH_BIT:
        return here ? flipped_id(i, V) : fixed_token(i, V);
    case EDIT_SWAPPED:
        return fixed_token(here && i + 1 < T ? i + 1 : next ? at : i, V);
    case EDIT_SAME_SUM:
        return shifted_id(i, here ? 1 : next ? V - 1 : 0, V);
    case EDIT_SAME_HASH:
        return shifted_id(i, here || next ? hash_step(i, at, V) : 0, V);
    case EDIT_DELETED:
        return fixed_token(i + 1, V);
    case EDIT_INSERTED:
        return here ? shifted_id(i, 1, V) : fixed_token(i - 1, V);
    case EDIT_ROTATED:
        return fixed_token(i + 1 < T ? i + 1 : at, V);
    default:
        return here ? (int)V : fixed_token(i, V);
    }
}

const int *ways_ids(const move *m, size_t V, int *room)
{
    for (size_t i = 0; !m->ids && i < m->T; i++)
        room[i] = i < m->kept ? fixed_token(i, V) : edited_id(m->edit, i, m->kept, m->T, V);
    return m->ids ? m->ids : room;
}

size_t ways_room(const way *w, size_t which)
{
    return which == 1 && w->T_other > 0 ? w->T_other : w->T_max;
}

status ways_add(way *w, move m)
{
    move *moves = memory_resize(w->moves, w->n + 1, sizeof *moves);
    if (!moves)
        return memory_failed("the moves of verify");
    w->moves = moves;
    moves[w->n++] = m;
    return NULL;
}

// One call and what goes before it.
static size_t print_call(const way *w, const move *m, char *text, size_t room)
{
    static const char *const edits[] = {[EDIT_PLUS_1] = "+ 1",
                                        [EDIT_HIGH_BIT] = "with its high bit flipped",
                                        [EDIT_SWAPPED] = "swapped",
                                        [EDIT_SAME_SUM] = "+ 1, next - 1",
                                        [EDIT_SAME_HASH] = "+ 1, next - 31, or back",
                                        [EDIT_DELETED] = "deleted",
                                        [EDIT_INSERTED] = "inserted",
                                        [EDIT_ROTATED] = "put last",
                                        [EDIT_NO_ID] = "not in the vocabulary"};
    char drafts[64] = "", rows[48] = "";
    if (!m->ids && m->kept < m->T && m->edit)
        snprintf(drafts, sizeof drafts, ", id %zu %s", m->kept, edits[m->edit]);
    else if (!m->ids && m->kept < m->T)
        snprintf(drafts, sizeof drafts, ", %zu draft%s", m->T - m->kept,
                 m->T - m->kept == 1 ? "" : "s");
    if (m->wanted > 1 && !w->independent)
        snprintf(rows, sizeof rows, ", %zu rows", m->wanted);
    return (size_t)snprintf(text, room, "%s%sstep(%zu%s%s)", m->reset ? "reset; " : "",
                            m->decoder == 1 ? "other." : "", m->T, drafts, rows);
}

const char *ways_calls(const way *w, size_t last, char text[WAYS_CALLS])
{
    enum { FIRST = 2, LATEST = 5 };
    size_t used = 0;
    for (size_t i = w->independent ? last : 0; i <= last && used + 1 < WAYS_CALLS; i++) {
        const bool skips = i == FIRST && last > FIRST + LATEST;
        if (skips)
            i = last - LATEST;
        used += (size_t)snprintf(text + used, WAYS_CALLS - used, "%s%s", used > 0 ? "; " : "",
                                 skips ? "...; " : "");
        if (used < WAYS_CALLS)
            used += print_call(w, &w->moves[i], text + used, WAYS_CALLS - used);
    }
    return text;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Goes on to t tokens and asks for the logits of the last `wanted`.
static status reach(way *w, size_t t, size_t wanted)
{
    return ways_add(w, (move){.kept = t, .T = t, .wanted = wanted});
}

// The same with drafts from row `kept` on.
static status draft(way *w, size_t kept, size_t T, size_t wanted)
{
    return ways_add(w, (move){.kept = kept, .T = T, .wanted = wanted});
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
// to evaluate but the last token), and for more rows than are new; and a shorter text. Before that,
// another text and straight back; behind it, another text and a reset. Of drafts, and of a text
// that is held already, several rows are asked for.
static status plan_rollbacks(way *w, const size_t *chosen, size_t n, size_t last)
{
    status s = draft(w, 0, least(20, last), 1);
    if (!s)
        s = reach(w, least(20, last), 1);
    for (size_t i = 0; !s && i < n; i++) {
        const size_t t = chosen[i], drafted = least(t + 4, last), longer = least(t + 2, last);
        if (!(s = draft(w, t, drafted, least(6, drafted))) && !(s = reach(w, t, 1)) &&
            !(s = draft(w, t, drafted, 1)) && !(s = reach(w, longer, 1)) &&
            !(s = reach(w, longer, least(3, longer))) && !(s = reach(w, longer, 1)) &&
            !(s = reach(w, longer, (longer + 1) / 2)))
            s = reach(w, t - t / 3, 1);
    }
    if (!s)
        s = draft(w, 0, least(10, last), 1);
    return s ? s : ways_add(w, (move){least(5, last), least(5, last), 1, .reset = true});
}

// The text up to id `at`, then T ids of which that one is edited, and then `end` ids as they are:
// what the edited text has left behind must not count as theirs.
static status edit_at(way *w, size_t at, size_t T, size_t end, edit kind)
{
    status s = at > 0 ? reach(w, at, 1) : NULL;
    if (!s)
        s = ways_add(w, (move){.kept = at, .T = T, .wanted = 1, .edit = kind, .reset = at == 0});
    return s ? s : reach(w, end, 1);
}

// The same with a call before the last that must be refused, for it asks for too many rows, or has
// an id that there is not. What it says the text is must not count as seen.
static status edit_and_fail(way *w, size_t at, size_t T, bool rows)
{
    status s = ways_add(w, (move){.kept = at, .T = T, .wanted = 1, .edit = EDIT_PLUS_1});
    if (!s && rows)
        s = ways_add(w, (move){.kept = T - 1, .T = T - 1, .wanted = T, .refused = true});
    else if (!s)
        s = ways_add(
            w, (move){.kept = T - 1, .T = T, .wanted = 1, .edit = EDIT_NO_ID, .refused = true});
    return s ? s : reach(w, T, 1);
}

// Texts that differ in one place: as a text grows, in its newest ids, so that each id is the one
// that differs once; and in the whole text at its front, in its middle, and where a block of a
// cache ends, of every power of two. Each kind of edit takes its turn.
static status plan_edits(way *w, const size_t *contexts, size_t n, size_t last)
{
    status s = NULL;
    for (size_t i = 0; !s && i < n; i++) {
        const size_t end = contexts[i], turn = end % EDITS;
        if (end > 3 && turn == 0)
            s = edit_and_fail(w, end - 2, end, end % 2 == 0);
        else if (end > 3)
            s = edit_at(w, end - 3, end - 1, end, (edit)turn);
    }
    for (edit kind = EDIT_PLUS_1; !s && last > 1 && kind < EDITS; kind++)
        s = edit_at(w, 0, last, last, kind);
    for (size_t block = 4, turn = 1; !s && block < last; block *= 2)
        for (size_t at = block - 1; !s && at <= block && at + 1 < last; at++, turn++)
            if (!(s = edit_at(w, at, last, last, EDIT_HIGH_BIT)))
                s = edit_at(w, at, last, last, (edit)(turn % (EDITS - 1) + 1));
    return s || last < 4 ? s : edit_at(w, last / 2, last, last, EDIT_SWAPPED);
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
            s = ways_add(w, (move){.T = t, .wanted = 1, .decoder = 1});
    }
    return s;
}

// Lengths at which a block of a cache begins or ends, or a row before or behind that.
static bool is_edge(size_t t)
{
    const size_t block = t < 128 ? 16 : 128;
    return (t + 1) % block <= 2;
}

static bool is_among(size_t t, const size_t *chosen, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (chosen[i] == t)
            return true;
    return false;
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
    for (size_t i = n; !s && i-- > 0;)
        if (is_edge(contexts[i]) || is_among(contexts[i], chosen, few))
            s = ways_add(&ways[FRESH], (move){.kept = contexts[i],
                                              .T = contexts[i],
                                              .wanted = contexts[i],
                                              .reset = true});
    for (size_t i = 0; !s && i < sizeof chunks / sizeof *chunks; i++)
        s = plan_chunks(&ways[chunks[i].way], chunks[i].tokens, last);
    if (!s)
        s = plan_rollbacks(&ways[ROLLED_BACK], chosen, few, last);
    if (!s)
        s = plan_edits(&ways[EDITED], contexts, n, last);
    return s ? s : plan_turns(&ways[BESIDE_ANOTHER], last);
}

status ways_plan(const subject *judge, const subject *tested, const size_t *contexts, size_t n,
                 way ways[WAYS])
{
    static const char *const names[WAYS] = {[RECOMPUTED] = "recomputed",
                                            [ONE_BY_ONE] = "one by one",
                                            [BY_2] = "in chunks of 2",
                                            [BY_6] = "in chunks of 6",
                                            [BY_7] = "in chunks of 7",
                                            [BY_16] = "in chunks of 16",
                                            [BY_100] = "in chunks of 100",
                                            [FRESH] = "at once",
                                            [ROLLED_BACK] = "after rollbacks",
                                            [EDITED] = "after edits",
                                            [BESIDE_ANOTHER] = "beside another one",
                                            [RANDOM_WALK] = "in a random walk"};
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
