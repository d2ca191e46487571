// Drawing calls.
#include "bench/verify/walk.h"

#include <limits.h>
#include <string.h>

#include "bench/cost/cost.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"

enum { LONGEST = 1024, TEXTS = 8, MOST_CALLS = 2000, FEWEST_CALLS = 50, ROWS_OF_A_CALL = 40 };

// A text of the walk: room for LONGEST ids and one more.
typedef struct text {
    int ids[LONGEST + 1];
    size_t T;
} text;

typedef struct drawer {
    uint64_t state;
    size_t V, T_max;   // ids; tokens that the decoder of this call takes
    text now[2];       // what each decoder was given last; T = 0: nothing
    text older[TEXTS]; // some that came before
    size_t kept;       // how many of them
} drawer;

// A number below n.
static size_t draw(drawer *d, size_t n)
{
    const uint64_t bits = random_splitmix64(d->state);
    d->state += RANDOM_GAMMA;
    return (size_t)(bits % n);
}

// True in `percent` of 100 cases.
static bool chance(drawer *d, size_t percent)
{
    return draw(d, 100) < percent;
}

// Most texts are short, where a cache's edges lie close together; few are long.
static size_t draw_length(drawer *d)
{
    const size_t most = chance(d, 70) ? 24 : chance(d, 70) ? 100 : LONGEST;
    return 1 + draw(d, size_min(most, d->T_max));
}

// Ids that repeat themselves are drawn as well as any.
static int draw_id(drawer *d)
{
    return (int)draw(d, chance(d, 25) ? size_min(d->V, 4) : d->V);
}

static void grow(drawer *d, text *t, size_t by)
{
    for (; by > 0 && t->T < d->T_max; by--)
        t->ids[t->T++] = draw_id(d);
}

static void swap(text *t, size_t i, size_t j)
{
    const int id = t->ids[i];
    t->ids[i] = t->ids[j];
    t->ids[j] = id;
}

static void delete_id(text *t, size_t i)
{
    t->T--;
    memmove(t->ids + i, t->ids + i + 1, (t->T - i) * sizeof *t->ids);
}

static void insert_id(const drawer *d, text *t, size_t i, int id)
{
    if (t->T == d->T_max)
        return;
    memmove(t->ids + i + 1, t->ids + i, (t->T - i) * sizeof *t->ids);
    t->ids[i] = id;
    t->T++;
}

// The ids of [i, T) one place further to the left, the first of them last.
static void rotate(text *t, size_t i)
{
    const int first = t->ids[i];
    memmove(t->ids + i, t->ids + i + 1, (t->T - i - 1) * sizeof *t->ids);
    t->ids[t->T - 1] = first;
}

static void add_to(const drawer *d, text *t, size_t i, size_t by)
{
    t->ids[i] = (int)(((size_t)t->ids[i] + by) % d->V);
}

// A power of two below V, or 1.
static size_t draw_bit(drawer *d)
{
    size_t bits = 1;
    while (bits < 31 && (size_t)2 << bits <= d->V)
        bits++;
    return (size_t)1 << draw(d, bits);
}

// h = p h + id is the same for such a prime p, unless an id leaves the vocabulary.
static void keep_hash(drawer *d, text *t, size_t i)
{
    static const size_t primes[] = {31, 33, 37, 131, 257, 65599};
    const size_t p = primes[draw(d, sizeof primes / sizeof *primes)] % d->V;
    add_to(d, t, i, 1);
    if (i + 1 < t->T)
        add_to(d, t, i + 1, d->V - p);
}

// What separates one text from the next in one place: the changes that a cache which compares too
// little takes for none (notes/06-bugs.md). The last keeps length and sum.
static void edit_text(drawer *d, text *t)
{
    const size_t i = draw(d, t->T), j = draw(d, t->T);
    switch (draw(d, 11)) {
    case 0:
        add_to(d, t, i, 1);
        break;
    case 1:
        add_to(d, t, i, draw_bit(d)); // the same low bits
        break;
    case 10:
        keep_hash(d, t, i);
        break;
    case 2:
        t->ids[i] = draw_id(d);
        break;
    case 3:
        swap(t, i, j);
        break;
    case 4:
        if (t->T > 1)
            delete_id(t, i);
        break;
    case 5:
        insert_id(d, t, i, draw_id(d));
        break;
    case 6:
        insert_id(d, t, i, t->ids[i]); // once more
        break;
    case 7:
        rotate(t, i);
        break;
    case 8:
        rotate(t, 0);
        break;
    default:
        add_to(d, t, i, 1);
        add_to(d, t, j, d->V - 1);
        break;
    }
}

// The next text of decoder `which`, from the one it was given last.
static void draw_text(drawer *d, size_t which, text *t)
{
    const size_t kind = draw(d, 100);
    *t = d->now[which];
    if (t->T == 0 || kind < 8) {
        t->T = 0;
        grow(d, t, draw_length(d));
    } else if (kind < 30) {
        grow(d, t, chance(d, 60) ? 1 : 1 + draw(d, chance(d, 80) ? 8 : 40));
    } else if (kind < 42) {
        t->T = 1 + draw(d, t->T);
    } else if (kind < 50) {
        return; // the same call again
    } else if (kind < 62 && d->kept > 0) {
        *t = d->older[draw(d, d->kept)];
        t->T = size_min(t->T, d->T_max);
        if (chance(d, 30))
            grow(d, t, 1);
    } else {
        edit_text(d, t);
        if (chance(d, 40))
            grow(d, t, 1 + draw(d, 3));
    }
}

static void remember(drawer *d, const text *t)
{
    d->older[d->kept < TEXTS ? d->kept : draw(d, TEXTS)] = *t;
    d->kept += d->kept < TEXTS;
}

static size_t draw_wanted(drawer *d, size_t T)
{
    return chance(d, 60) ? 1 : chance(d, 20) ? T : 1 + draw(d, chance(d, 50) ? T : size_min(T, 6));
}

// A call with wrong arguments: no ids, too many, one that is none, or rows that there are not.
static move spoil(drawer *d, text *t, move m)
{
    const int beyond[] = {(int)d->V, (int)d->V + 1000, INT_MAX}, below[] = {-1, -1000, INT_MIN};
    m.refused = true;
    switch (draw(d, 6)) {
    case 0:
        m.T = 0;
        break;
    case 1:
        for (m.T = t->T; m.T <= d->T_max; m.T++)
            t->ids[m.T] = 0;
        break;
    case 2:
        t->ids[draw(d, m.T)] = beyond[draw(d, 3)];
        break;
    case 3:
        t->ids[draw(d, m.T)] = below[draw(d, 3)];
        break;
    case 4:
        m.wanted = 0;
        break;
    default:
        m.wanted = m.T + 1;
        break;
    }
    return m;
}

// The next call, its ids in *t.
static move draw_call(drawer *d, const way *w, text *t)
{
    move m = {.decoder = chance(d, 30)};
    d->T_max = ways_room(w, m.decoder);
    m.renew = chance(d, 3);
    m.reset = !m.renew && chance(d, 5);
    draw_text(d, m.decoder, t);
    m.T = t->T;
    m.wanted = draw_wanted(d, t->T);
    if (chance(d, 6))
        return spoil(d, t, m);
    d->now[m.decoder] = *t;
    remember(d, t);
    return m;
}

static status make_call(player *p, way *w, drawer *d, text *t, outcome *o)
{
    move m = draw_call(d, w, t);
    m.ids = program_ids(t->ids, m.T);
    status s = m.ids ? ways_add(w, m) : memory_failed("the ids of a call");
    if (s)
        memory_free((void *)m.ids);
    return s ? s : player_make(p, w->n - 1, o);
}

// Which ids of each text are those of the last one: the locator calls the others drafts.
static void settle_kept(way *w)
{
    const move *last = &w->moves[w->n - 1];
    for (size_t i = 0; i < w->n; i++) {
        move *m = &w->moves[i];
        m->kept = 0;
        while (m->kept < size_min(m->T, last->T) && m->ids[m->kept] == last->ids[m->kept])
            m->kept++;
    }
}

static status take_calls(const model *m, const subject *judge, size_t calls, way *w, walk *out)
{
    drawer *d = memory_array(1, sizeof *d);
    text *t = memory_array(1, sizeof *t);
    player p = {0};
    status s = d && t ? player_begin(m, judge, w, &p) : memory_failed("the texts of the walk");
    if (!s)
        *d = (drawer){.state = random_splitmix64(out->seed), .V = m->config.V};
    while (!s && out->calls < calls && out->found.fault == FAULT_NONE) {
        s = make_call(&p, w, d, t, &out->found);
        out->calls++;
    }
    player_end(&p);
    memory_free(d);
    memory_free(t);
    return s;
}

status walk_run(const model *m, const subject *judge, uint64_t seed, size_t calls, way *w,
                walk *out)
{
    *out = (walk){.seed = seed};
    w->T_max = size_min(m->config.T, LONGEST);
    w->T_other = w->T_max - w->T_max / 3; // the model has more positions than this one's room
    w->decoders = 2;
    status s = take_calls(m, judge, calls, w, out);
    if (s || out->found.fault == FAULT_NONE)
        return s;
    const uint64_t compared = out->found.compared, differing = out->found.differing;
    s = program_shrink(m, judge, w, &out->found, &out->repeats);
    out->found.compared = compared;
    out->found.differing = differing;
    out->fewer = w->n;
    settle_kept(w);
    return s;
}

size_t walk_calls(const config *c)
{
    const double work = 3e11, row = cost_multiply_adds(c, NULL, 0, ROWS_OF_A_CALL);
    const double calls = work / row;
    return calls > MOST_CALLS ? MOST_CALLS : calls < FEWEST_CALLS ? FEWEST_CALLS : (size_t)calls;
}
