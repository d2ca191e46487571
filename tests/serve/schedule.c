// Requests that come and go: each one's text and logits are those it has alone, whoever else is
// served, however short pages are; and the counts of what was computed, found and computed again.
#include "kvcache/schedule.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "kvcache/prefix/prefix.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

enum { REQUESTS = 24, V = 13, END_AT = 5 };

typedef struct user {
    schedule_request r;
    int ids[LIFE_LONGEST], alone[LIFE_LONGEST];
    float *logits; // (LIFE_LONGEST, V): row T - 1 is what its own decoder says behind T tokens
    size_t T;      // of alone
    size_t added;  // the pass before which it comes
    bool cancelled;
} user;

typedef struct service {
    life *x;
    schedule *s;
    user users[REQUESTS];
    size_t passes;
} service;

static void expect(status s)
{
    cr_assert_null(s, "%s", s);
}

// The next token is a hash of all bits of the logits; one in V * END_AT ends the text.
static int choose(const float *logits)
{
    uint64_t h = 0;
    for (size_t i = 0; i < V; i++) {
        uint32_t bits;
        memcpy(&bits, logits + i, sizeof bits);
        h = random_splitmix64(h ^ bits);
    }
    return h % (V * END_AT) == 0 ? SCHEDULE_END : (int)(h % V);
}

static int check_and_choose(void *of, const float *logits, size_t T)
{
    const user *u = of;
    cr_assert_eq(T, u->r.T);
    cr_assert_arr_eq(u->ids, u->alone, T * sizeof *u->ids);
    cr_assert_arr_eq(logits, u->logits + (T - 1) * V, V * sizeof *logits, "%zu tokens", T);
    return choose(logits);
}

static void decode_alone(const life *x, user *u)
{
    decoder_options o = x->o;
    decoder *d;
    o.pool = NULL;
    u->logits = memory_array(LIFE_LONGEST * V, sizeof *u->logits);
    expect(kvcache_decoder.create(x->m, &o, &d));
    for (u->T = u->r.T; u->T < u->r.most;) {
        const float *logits;
        expect(kvcache_decoder.step(d, u->alone, u->T, 1, &logits));
        memcpy(u->logits + (u->T - 1) * V, logits, V * sizeof *logits);
        const int id = choose(logits);
        if (id == SCHEDULE_END)
            break;
        u->alone[u->T++] = id;
    }
    kvcache_decoder.destroy(d);
}

// A prompt that begins as others do, and how far its text may go.
static void invent(life *x, user *u)
{
    const size_t text = life_below(x, LIFE_TEXTS);
    memcpy(u->ids, x->texts[text], sizeof u->ids);
    u->r = (schedule_request){.ids = u->ids, .choose = check_and_choose, .user = u, .space = ""};
    u->r.T = 1 + life_below(x, 150);
    u->r.most = u->r.T + 1 + life_below(x, size_min(60, LIFE_LONGEST - u->r.T));
    u->added = life_below(x, 100);
    memcpy(u->alone, u->ids, sizeof u->alone);
    decode_alone(x, u);
}

static service *begin(const char *spec, size_t most, size_t running, bool pooled)
{
    service *v = memory_array(1, sizeof *v);
    v->x = life_begin(spec, 16, pooled);
    for (size_t i = 0; i < REQUESTS; i++)
        invent(v->x, &v->users[i]);
    expect(schedule_create(
        v->x->m, &(schedule_options){.decoder = v->x->o, .rows = most, .running = running}, &v->s));
    return v;
}

static void end(service *v)
{
    schedule_destroy(v->s);
    for (size_t i = 0; i < REQUESTS; i++)
        memory_free(v->users[i].logits);
    life_end(v->x);
    memory_free(v);
}

// Everybody comes at his time, until all are done. `leaving`: some are cancelled.
static void serve(service *v, bool leaving)
{
    size_t to_come = REQUESTS;
    for (v->passes = 0; to_come > 0 || schedule_left(v->s) > 0; v->passes++) {
        cr_assert_lt(v->passes, 20000, "%s: there is no end", v->x->what);
        for (size_t i = 0; i < REQUESTS; i++) {
            user *u = &v->users[i];
            if (u->r.state == 0 && u->added <= v->passes) {
                expect(schedule_add(v->s, &u->r));
                to_come--;
            } else if (leaving && u->r.state && life_below(v->x, 300) == 0) {
                u->cancelled |= u->r.state != SCHEDULE_DONE;
                schedule_cancel(v->s, &u->r);
            }
        }
        expect(schedule_pass(v->s));
    }
}

// Texts are whole, and every row is counted once: computed first, found, or computed again.
static void check(const service *v)
{
    size_t computed = 0, preemptions = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        const user *u = &v->users[i];
        const schedule_request *r = &u->r;
        cr_assert_eq(r->state, SCHEDULE_DONE);
        cr_assert_str_eq(r->failure, "");
        cr_assert_arr_eq(u->ids, u->alone, r->T * sizeof *u->ids);
        computed += r->computed + r->recomputed;
        preemptions += r->preemptions;
        cr_assert(r->preemptions > 0 || r->recomputed == 0);
        if (u->cancelled)
            continue;
        const bool ended = u->T < r->most;
        cr_assert_eq(r->T, u->T, "%s: %zu of %zu tokens", v->x->what, r->T, u->T);
        cr_assert_eq(r->cached + r->computed, ended ? r->T : r->T - 1,
                     "%s: %zu cached, %zu computed, %zu tokens", v->x->what, r->cached, r->computed,
                     r->T);
        cr_assert_lt(r->cached, r->prompt, "%s", v->x->what);
    }
    const schedule_counts c = schedule_count(v->s);
    cr_assert_eq(c.rows, computed);
    cr_assert_eq(c.preemptions, preemptions);
    cr_assert_leq(c.passes, v->passes);
}

Test(schedule, every_text_is_the_one_it_has_alone)
{
    static const char *const specs[] = {"all",       "f16",      "window:20+4",
                                        "heavy:9+5", "kivi4:16", "window:7,q8"};
    static const size_t ways[][2] = {{1, 1}, {8, 8}, {64, 5}, {200, 24}, {5, 4}, {16, 16}};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        service *v = begin(specs[i], ways[i][0], ways[i][1], false);
        serve(v, i % 2);
        check(v);
        cr_assert_eq(schedule_count(v->s).preemptions, 0);
        end(v);
    }
}

// A pool with pages for the longest text and few more: whoever has to give its own back loses no
// bit.
Test(schedule, a_preempted_request_goes_on_where_it_was)
{
    static const size_t pages[] = {16, 18, 21, 26, 40};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        service *v = begin(i % 2 ? "f16" : "all", 24, 8, true);
        v->x->pool.left = pages[i];
        serve(v, i == 2);
        check(v);
        cr_assert(schedule_count(v->s).preemptions > 0 || i > 2, "%zu pages, %zu preemptions",
                  pages[i], schedule_count(v->s).preemptions);
        cr_assert_gt(v->x->pool.found, 0);
        end(v);
    }
}

// A prompt cache with a budget, and one that finds nothing: the first finds again what the second
// computes.
static size_t rows_with_cache(size_t blocks, bool finds)
{
    service *v = begin("all", 32, 6, false);
    const size_t block = v->x->m->config.L * page_shape_of(&v->x->o.kv, &v->x->m->config).bytes;
    decoder_options o = v->x->o;
    kv_pool *cache;
    expect(
        prefix_create(v->x->m, &o.kv, &(prefix_options){.budget = blocks * (block + 512)}, &cache));
    o.pool = cache;
    for (size_t i = 0; i < REQUESTS; i++)
        v->users[i].r.space = finds ? NULL : (const char *[]){"a", "b", "c", "d", "e", "f"}[i % 6];
    schedule_destroy(v->s);
    expect(schedule_create(v->x->m, &(schedule_options){.decoder = o, .rows = 32, .running = 6},
                           &v->s));
    serve(v, false);
    check(v);
    cr_assert_leq(prefix_count(cache).bytes, blocks * (block + 512));
    const size_t computed = schedule_count(v->s).rows;
    schedule_destroy(v->s);
    v->s = NULL;
    prefix_destroy(cache);
    end(v);
    return computed;
}

Test(schedule, a_prompt_cache_saves_rows_and_no_bit)
{
    const size_t shared = rows_with_cache(300, true), own = rows_with_cache(300, false);
    cr_assert_lt(shared, own, "%zu rows with a cache, %zu without", shared, own);
    rows_with_cache(20, true);
}

static int go_on(void *nobody, const float *logits, size_t T)
{
    (void)nobody, (void)logits;
    return (int)(T % V);
}

// While a long prompt is computed in chunks, whoever generates has a token in every pass.
Test(schedule, a_long_prompt_stops_nobody)
{
    life *x = life_begin("all", 16, false);
    schedule *s;
    int first[LIFE_LONGEST] = {1}, second[LIFE_LONGEST] = {0};
    expect(
        schedule_create(x->m, &(schedule_options){.decoder = x->o, .rows = 11, .running = 2}, &s));
    schedule_request a = {.ids = first, .T = 1, .most = 200, .choose = go_on},
                     b = {.ids = second, .T = 95, .most = 100, .choose = go_on};
    expect(schedule_add(s, &a));
    expect(schedule_pass(s));
    expect(schedule_add(s, &b));
    for (size_t i = 1; i <= 9; i++) {
        expect(schedule_pass(s));
        cr_assert_eq(a.T, 2 + i);
        cr_assert_eq(b.computed, 10 * i);
        cr_assert_eq(b.T, 95);
    }
    expect(schedule_pass(s)); // its last 5 rows
    cr_assert_eq(b.T, 96);
    cr_assert_eq(schedule_count(s).rows, 11 + 95);
    while (b.state != SCHEDULE_DONE)
        expect(schedule_pass(s));
    cr_assert_eq(b.T, 100);
    cr_assert_eq(schedule_left(s), 1);
    schedule_destroy(s);
    cr_assert_eq(a.state, SCHEDULE_DONE);
    life_end(x);
}

// What was computed, lost and found again or computed again is not "cached": the pool gave it
// nothing that it had not computed itself.
Test(schedule, what_is_computed_again_is_no_hit)
{
    life *x = life_begin("all", 16, true);
    schedule *s;
    int first[LIFE_LONGEST], second[LIFE_LONGEST];
    memcpy(first, x->texts[0], sizeof first);
    for (size_t t = 0; t < LIFE_LONGEST; t++)
        second[t] = (x->texts[0][t] + 1) % V;
    expect(
        schedule_create(x->m, &(schedule_options){.decoder = x->o, .rows = 64, .running = 2}, &s));
    x->pool.left = 8;
    schedule_request a = {.ids = first, .T = 60, .most = 80, .space = "", .choose = go_on},
                     b = {.ids = second, .T = 50, .most = 80, .space = "", .choose = go_on};
    expect(schedule_add(s, &a));
    expect(schedule_add(s, &b));
    while (schedule_left(s) > 0)
        expect(schedule_pass(s));
    cr_assert_eq(a.preemptions, 0);
    cr_assert_eq(b.preemptions, 1);
    cr_assert_gt(b.recomputed, 0);
    cr_assert_eq(a.cached + b.cached, 0, "%zu of %zu cached", a.cached, b.cached);
    cr_assert_eq(b.computed, 79);
    schedule_destroy(s);
    life_end(x);
}

Test(schedule, a_request_that_pages_never_suffice_for_fails_alone)
{
    life *x = life_begin("all", 16, true);
    schedule *s;
    int first[LIFE_LONGEST] = {1}, second[LIFE_LONGEST] = {2};
    expect(
        schedule_create(x->m, &(schedule_options){.decoder = x->o, .rows = 64, .running = 2}, &s));
    x->pool.left = 5;
    schedule_request done = {.ids = (int[2]){3}, .T = 1, .most = 2, .space = "", .choose = go_on};
    expect(schedule_add(s, &done));
    while (schedule_left(s) > 0)
        expect(schedule_pass(s));
    schedule_request a = {.ids = first, .T = 20, .most = 100, .space = "", .choose = go_on},
                     b = {.ids = second, .T = 10, .most = 70, .space = "", .choose = go_on};
    expect(schedule_add(s, &a));
    expect(schedule_add(s, &b));
    bool waits = false;
    for (size_t left = 2; left > 0; left = schedule_left(s)) {
        schedule_cancel(s, &done); // changes nothing
        expect(schedule_pass(s));
        const bool both = a.state == SCHEDULE_RUNS && b.state == SCHEDULE_RUNS;
        cr_assert(!(waits && both), "who had to give pages back came in before one has ended");
        waits = a.state == SCHEDULE_WAITS || b.state == SCHEDULE_WAITS;
    }
    support_assert_refused(a.failure, "no page is left in the pool for 81 tokens");
    cr_assert_eq(a.T, 81);
    cr_assert_str_eq(b.failure, "");
    cr_assert_eq(b.T, 70);
    schedule_destroy(s);
    life_end(x);
}

Test(schedule, wrong_use_is_refused)
{
    life *x = life_begin("all", 16, false);
    schedule *s;
    int ids[LIFE_LONGEST] = {0};
    schedule_options o = {.decoder = x->o, .rows = 4, .running = 5};
    support_assert_refused(schedule_create(x->m, &o, &s), "5 sequences|over 4 rows|1 to 4 run");
    cr_assert_null(s);
    o.running = 0;
    support_assert_refused(schedule_create(x->m, &o, &s), "0 sequences");
    o.running = 1;
    for (size_t n = 1; n <= 4; n++) {
        memory_fail_at(n);
        support_assert_refused(schedule_create(x->m, &o, &s), "out of memory for");
        memory_fail_at(0);
    }
    expect(schedule_create(x->m, &o, &s));
    expect(schedule_pass(s)); // nothing to do
    cr_assert_eq(schedule_count(s).passes, 0);
    const struct {
        size_t T, most;
        int id;
        const char *says;
    } wrong[] = {{0, 5, 0, "at least one token"},
                 {5, 5, 0, "a prompt of 5 tokens cannot become a text of 5: ask for 1 to 225 more"},
                 {5, LIFE_LONGEST + 1, 0, "a text of 231"},
                 {5, 9, V, "token id 13 at position 0"},
                 {999, 1000, 0, "999 tokens are more"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ids[0] = wrong[i].id;
        schedule_request r = {.ids = ids, .T = wrong[i].T, .most = wrong[i].most, .choose = go_on};
        support_assert_refused(schedule_add(s, &r), wrong[i].says);
        cr_assert_eq(schedule_left(s), 0);
    }
    schedule_destroy(s);
    life_end(x);
}
