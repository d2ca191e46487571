// Many sequences in one pass: whoever else is in it, and however it is cut, every logit has the
// bits that the sequence has alone.
#include "kvcache/batch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "kvcache/kvcache.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

enum { USERS = 5, MOST = 48, V = 13, WANTED = 3 };

// The texts of a life, what a decoder of its own says behind each token, and users in one batch.
typedef struct crowd {
    life *x;
    float *alone[LIFE_TEXTS]; // (LIFE_LONGEST, V)
    batch *b;
    struct user {
        batch_sequence *q;
        size_t text, T;
    } users[USERS];
    size_t rows, compared; // computed; rows of logits held against those alone
} crowd;

static void expect(status s)
{
    cr_assert_null(s, "%s", s);
}

// The logits of a text by a decoder that has it for itself, token by token.
static float *decode_alone(life *x, const int *ids)
{
    float *all = memory_array(LIFE_LONGEST * V, sizeof *all);
    decoder_options o = x->o;
    decoder *d;
    o.pool = NULL;
    expect(kvcache_decoder.create(x->m, &o, &d));
    for (size_t T = 1; T <= LIFE_LONGEST; T++) {
        const float *logits;
        expect(kvcache_decoder.step(d, ids, T, 1, &logits));
        memcpy(all + (T - 1) * V, logits, V * sizeof *logits);
    }
    kvcache_decoder.destroy(d);
    return all;
}

static crowd *crowd_begin(const char *spec, size_t positions, bool pooled)
{
    crowd *c = memory_array(1, sizeof *c);
    c->x = life_begin(spec, positions, pooled);
    for (size_t i = 0; i < LIFE_TEXTS; i++)
        c->alone[i] = decode_alone(c->x, c->x->texts[i]);
    expect(batch_create(c->x->m, &c->x->o, MOST, &c->b));
    for (size_t i = 0; i < USERS; i++) {
        expect(batch_open(c->b, "", &c->users[i].q));
        c->users[i].T = 1 + life_below(c->x, 40);
        c->users[i].text = i % LIFE_TEXTS;
    }
    return c;
}

static void crowd_end(crowd *c)
{
    for (size_t i = 0; i < USERS; i++)
        batch_close(c->users[i].q);
    batch_destroy(c->b);
    for (size_t i = 0; i < LIFE_TEXTS; i++)
        memory_free(c->alone[i]);
    life_end(c->x);
    memory_free(c);
}

static void compare(crowd *c, const batch_part *p, size_t text)
{
    for (size_t i = 0; p->logits && i < p->wanted * V; i++) {
        const size_t t = p->T - p->wanted + i / V;
        const float alone = c->alone[text][t * V + i % V];
        cr_assert_eq(memcmp(p->logits + i, &alone, sizeof alone), 0,
                     "%s: text %zu, %zu tokens, row %zu, logit %zu: %a, alone %a", c->x->what, text,
                     p->T, t, i % V, (double)p->logits[i], (double)alone);
    }
    c->compared += p->logits ? p->wanted : 0;
}

// A user comes, goes, takes something back, or goes on by a token or a few.
static void live(crowd *c, struct user *u)
{
    switch (life_below(c->x, 20)) {
    case 0: // retired, and somebody else in his place
        batch_close(u->q);
        expect(batch_open(c->b, "", &u->q));
        u->text = life_below(c->x, LIFE_TEXTS);
        u->T = 1 + life_below(c->x, LIFE_LONGEST);
        break;
    case 1: // preempted
        batch_forget(u->q);
        cr_assert_eq(batch_held(u->q), 0);
        cr_assert_eq(batch_bytes(u->q), 0);
        break;
    case 2: // another text, which may begin as this one did
        u->text = life_below(c->x, LIFE_TEXTS);
        break;
    case 3:
        u->T = 1 + life_below(c->x, u->T);
        break;
    case 4:
        u->T = size_min(u->T + life_below(c->x, 60), LIFE_LONGEST);
        break;
    default:
        if (batch_held(u->q) >= u->T)
            u->T = size_min(u->T + 1, LIFE_LONGEST);
    }
}

// Some of the users, in any order.
static size_t choose_parts(crowd *c, size_t most, batch_part parts[USERS], size_t who[USERS])
{
    const size_t n = 1 + life_below(c->x, USERS), from = life_below(c->x, USERS);
    for (size_t i = 0; i < n; i++) {
        struct user *u = &c->users[who[i] = (from + i) % USERS];
        live(c, u);
        parts[i] = (batch_part){.of = u->q, .tokens = c->x->texts[u->text], .T = u->T};
        parts[i].wanted = 1 + life_below(c->x, size_min(size_min(u->T, most), WANTED));
    }
    for (size_t i = n; i-- > 1;) {
        const size_t j = life_below(c->x, i + 1), other = who[i];
        const batch_part part = parts[i];
        parts[i] = parts[j];
        who[i] = who[j];
        parts[j] = part;
        who[j] = other;
    }
    return n;
}

// The parts had the rows in their order, each as many as it could use; what they hold is as many
// as they say.
static void check_rows(crowd *c, const batch_part *parts, size_t n, size_t most)
{
    size_t left = most;
    for (const batch_part *p = parts; p < parts + n; p++) {
        const bool whole = p->first + p->rows == p->T, waits = p->wanted > left;
        cr_assert_leq(p->rows, left);
        cr_assert_eq(p->logits != NULL, whole && p->rows > 0, "%s", c->x->what);
        if (!waits) {
            cr_assert_eq(batch_held(p->of), p->first + p->rows);
            cr_assert_gt(p->rows, 0);
            cr_assert(whole || p->rows == left || p->first + p->rows == p->T - p->wanted,
                      "%s: %zu of %zu rows at %zu of %zu, %zu wanted", c->x->what, p->rows, left,
                      p->first, p->T, p->wanted);
        } else
            cr_assert_eq(p->rows, 0);
        left -= p->rows;
    }
    c->rows += most - left;
}

static void pass(crowd *c)
{
    const size_t most = 1 + life_below(c->x, life_below(c->x, 2) ? MOST : 8);
    batch_part parts[USERS];
    size_t who[USERS];
    const size_t n = choose_parts(c, most, parts, who);
    expect(batch_pass(c->b, parts, n, most));
    for (size_t i = 0; i < n; i++) {
        expect(parts[i].failed);
        cr_assert_not(parts[i].no_page);
        compare(c, &parts[i], c->users[who[i]].text);
    }
    check_rows(c, parts, n, most);
}

static void walk(const char *spec, size_t positions, bool pooled)
{
    crowd *c = crowd_begin(spec, positions, pooled);
    for (size_t i = 0; i < 300; i++)
        pass(c);
    cr_assert_gt(c->compared, 150, "%s: %zu rows of logits", c->x->what, c->compared);
    cr_assert(!pooled || c->x->pool.found > 0, "%s: nothing was shared", c->x->what);
    crowd_end(c);
}

Test(batch, every_users_logits_are_those_alone_for_any_interleaving)
{
    static const char *const specs[] = {
        "all",      "f16",  "window:20+4",     "window:7", "heavy:9+5",          "window:40,q8",
        "kivi4:16", "bf16", "heavy:20+30,f16", "kivi2:32", "window:9+3,kivi2:16"};
    static const size_t positions[] = {16, 32, 64};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        walk(specs[i], positions[i % 3], false);
}

// The pages that a sequence gives back are NaN from then on, and somebody else's the next time.
Test(batch, no_bit_differs_where_users_share_a_pool)
{
    static const char *const specs[] = {"all", "f16", "window:60+4", "kivi4:16", "q4"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        walk(specs[i], 16, true);
}

// Who finds no page is told so, keeps what it had, and gets the bits it has alone when there is
// room again. The others do not notice.
Test(batch, a_sequence_without_a_page_waits_and_the_others_go_on)
{
    crowd *c = crowd_begin("all", 16, true);
    size_t waited = 0;
    for (size_t i = 0; i < 200; i++) {
        batch_part parts[USERS];
        size_t who[USERS], held[USERS];
        const size_t n = choose_parts(c, MOST, parts, who);
        for (size_t j = 0; j < n; j++)
            held[j] = batch_held(parts[j].of);
        const size_t kept_back = c->x->pool.left - life_below(c->x, 6);
        c->x->pool.left -= kept_back;
        expect(batch_pass(c->b, parts, n, MOST));
        c->x->pool.left += kept_back;
        for (size_t j = 0; j < n; j++) {
            cr_assert_eq(parts[j].no_page, parts[j].failed != NULL);
            compare(c, &parts[j], c->users[who[j]].text);
            if (!parts[j].no_page)
                continue;
            waited++;
            support_assert_refused(parts[j].failed, "no page is left in the pool for|tokens");
            cr_assert_eq(batch_held(parts[j].of), held[j]);
            cr_assert_eq(parts[j].rows, 0);
        }
        pass(c);
    }
    cr_assert_gt(waited, 30, "%zu", waited);
    crowd_end(c);
}

// Token 12 becomes one whose first channel is all there is of it, and a key of layer 1 too steep in
// that channel for binary16.
static void make_token_12_overflow(model *m)
{
    const linear *w = &m->layers[1].qkv;
    const size_t C = m->config.C; // the column of the first key
    for (size_t k = 0; k < C; k++)
        ((float *)m->wte.panels)[k * LANES + 12] = k == 0 ? 1000 : 0;
    ((float *)w->panels)[C / LANES * w->K * LANES + C % LANES] = 65520 / 4.0f;
}

Test(batch, a_number_without_a_form_ends_one_sequence_and_no_other)
{
    crowd *c = crowd_begin("f16", 16, false);
    make_token_12_overflow(c->x->m);
    static const int bad[] = {3, 1, 4, 1, 12, 5}, good[] = {3, 1, 4, 1, 5};
    const float *alone;
    decoder_options o = c->x->o;
    decoder *d;
    expect(kvcache_decoder.create(c->x->m, &o, &d));
    expect(kvcache_decoder.step(d, good, 5, 2, &alone));
    for (size_t i = 0; i < 3; i++) { // whichever place it has in the pass
        batch_part parts[3];
        for (size_t j = 0; j < 3; j++) {
            batch_forget(c->users[j].q);
            parts[j] = (batch_part){.of = c->users[j].q, .tokens = good, .T = 5, .wanted = 2};
        }
        parts[i].tokens = bad;
        parts[i].T = 6;
        expect(batch_pass(c->b, parts, 3, MOST));
        support_assert_refused(parts[i].failed,
                               "layer 1, head 0, position 4: a key of|cannot be kept as f16");
        cr_assert_null(parts[i].logits);
        cr_assert_not(parts[i].no_page);
        for (size_t j = 0; j < 3; j++)
            if (j != i)
                cr_assert_arr_eq(parts[j].logits, alone, 2 * V * sizeof *alone);
        // What it has left of its tokens is right.
        batch_part again = {.of = c->users[i].q, .tokens = good, .T = 5, .wanted = 2};
        expect(batch_pass(c->b, &again, 1, MOST));
        cr_assert_arr_eq(again.logits, alone, 2 * V * sizeof *alone);
    }
    kvcache_decoder.destroy(d);
    crowd_end(c);
}

Test(batch, wrong_use_is_refused_and_changes_nothing)
{
    crowd *c = crowd_begin("all", 16, false);
    const int *ids = c->x->texts[0];
    batch *other;
    batch_sequence *foreign, *q = c->users[0].q, *r = c->users[1].q;
    support_assert_refused(batch_create(c->x->m, &c->x->o, 0, &other), "a pass over 0 rows");
    cr_assert_null(other);
    expect(batch_create(c->x->m, &c->x->o, 4, &other));
    expect(batch_open(other, NULL, &foreign));
    const struct {
        batch_part parts[2];
        size_t n, most;
        const char *says;
    } wrong[] = {
        {{{.of = q, .tokens = ids, .T = 5, .wanted = 1}}, 0, 8, "of 0 sequences"},
        {{{.of = q, .tokens = ids, .T = 5, .wanted = 1}}, 1, 0, "over 0 rows|takes 1 to 48"},
        {{{.of = q, .tokens = ids, .T = 5, .wanted = 1}}, 1, MOST + 1, "over 49 rows|1 to 48"},
        {{{.of = q, .tokens = ids, .T = 0, .wanted = 1}}, 1, 8, "part 0|at least one token"},
        {{{.of = q, .tokens = ids, .T = 999, .wanted = 1}}, 1, 8, "part 0: 999 tokens are more"},
        {{{.of = q, .tokens = ids, .T = 5, .wanted = 6}}, 1, 8, "part 0: logits of 6 rows"},
        {{{.of = q, .tokens = ids, .T = 9, .wanted = 9}}, 1, 8, "part 0: logits of 9 rows|over 8"},
        {{{.of = q, .tokens = ids, .T = 5, .wanted = 1},
          {.of = r, .tokens = (const int[]){13}, .T = 1, .wanted = 1}},
         2,
         8,
         "part 1: token id 13 at position 0 is outside 0..12"},
        {{{.of = q, .tokens = ids, .T = 5, .wanted = 1},
          {.of = q, .tokens = ids, .T = 6, .wanted = 1}},
         2,
         8,
         "part 1: its sequence is that of an earlier part"},
        {{{.of = foreign, .tokens = ids, .T = 5, .wanted = 1}}, 1, 8, "part 0|another batch's"},
    };
    batch_part p = {.of = q, .tokens = ids, .T = 4, .wanted = 1};
    expect(batch_pass(c->b, &p, 1, 8));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        batch_part parts[2] = {wrong[i].parts[0], wrong[i].parts[1]};
        support_assert_refused(batch_pass(c->b, parts, wrong[i].n, wrong[i].most), wrong[i].says);
        cr_assert_eq(batch_held(q), 4);
        cr_assert_eq(batch_held(r), 0);
    }
    batch_close(foreign);
    batch_destroy(other);
    crowd_end(c);
}

// Whichever allocation fails, there is a message, nothing is lost, and the next try is right.
Test(batch, want_of_memory_is_refused_and_changes_nothing)
{
    crowd *c = crowd_begin("all", 16, false);
    batch_part p = {.of = c->users[0].q, .tokens = c->x->texts[0], .T = 20, .wanted = 20};
    memory_fail_at(1);
    support_assert_refused(batch_pass(c->b, &p, 1, MOST), "out of memory for the logits");
    expect(batch_pass(c->b, &p, 1, MOST));
    compare(c, &p, 0);
    for (size_t n = 1;; n++) {
        batch *b;
        batch_sequence *q = NULL;
        memory_fail_at(n);
        status s = batch_create(c->x->m, &c->x->o, 4, &b);
        if (!s)
            s = batch_open(b, NULL, &q);
        const bool reached = memory_fail_at(0) >= n;
        cr_assert_eq(s != NULL, reached, "allocation %zu", n);
        if (s)
            support_assert_refused(s, "out of memory for");
        batch_close(q);
        batch_destroy(b);
        if (!reached)
            break;
    }
    crowd_end(c);
}
