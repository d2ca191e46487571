// The second tier of the prompt cache: a page that had to leave memory comes back in every bit or
// not at all.
#include "kvcache/prefix/prefix_disk.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/kv/place_file.h"
#include "kvcache/kvcache.h"
#include "kvcache/prefix/prefix.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

TestSuite(prefix_disk, .init = support_enter_folder, .fini = support_leave_folder);

enum { P = 16, LENGTH = 150, FULL = LENGTH / P }; // FULL pages of a text can be found

static uint64_t time_now;

static uint64_t clock_told(void)
{
    return time_now;
}

// What the disk does.
static struct {
    size_t reads, writes, end; // calls; where the last byte written lies
    size_t most;               // bytes of a call; 0: all
    bool flip, cut, full;      // a bit of what is read; nothing is read; nothing is written
} io;

static ssize_t read_some(int fd, void *to, size_t bytes, off_t offset)
{
    io.reads++;
    if (io.cut)
        return 0;
    const ssize_t n = pread(fd, to, io.most ? size_min(bytes, io.most) : bytes, offset);
    if (io.flip && n > 0)
        ((char *)to)[n / 2] ^= 1;
    return n;
}

static ssize_t write_some(int fd, const void *from, size_t bytes, off_t offset)
{
    io.writes++;
    if (io.full) {
        errno = ENOSPC;
        return -1;
    }
    bytes = io.most ? size_min(bytes, io.most) : bytes;
    io.end = size_max(io.end, (size_t)offset + bytes);
    return pwrite(fd, from, bytes, offset);
}

static size_t page_bytes(const life *x)
{
    return x->m->config.L * page_shape_of(&x->o.kv, &x->m->config).bytes;
}

static void open_cache(life *x, size_t blocks, size_t slots, const prefix_policy *policy)
{
    prefix_options o = {.budget = blocks * (page_bytes(x) + 512),
                        .clock = clock_told,
                        .dir = ".",
                        .disk = slots * page_bytes(x)};
    o.policy = *policy;
    status s = prefix_create(x->m, &x->o.kv, &o, &x->o.pool);
    cr_assert_null(s, "%s", s);
    for (size_t i = 0; i < 2; i++) {
        kvcache_decoder.destroy(x->cached[i]);
        x->cached[i] = life_make(&kvcache_decoder, x);
    }
}

// A life whose cached decoders share a cache of so many blocks in memory and slots on disk.
static life *begin(const char *spec, size_t blocks, size_t slots, prefix_policy policy)
{
    life *x = life_begin(spec, P, false);
    time_now = 0;
    memset(&io, 0, sizeof io);
    scratch_pread = read_some;
    scratch_pwrite = write_some;
    open_cache(x, blocks, slots, &policy);
    return x;
}

static void end(life *x)
{
    kv_pool *shared = x->o.pool;
    life_end(x);
    prefix_destroy(shared);
}

// A text that has nothing in common with the others takes all of the memory.
static void push_out(life *x)
{
    int ids[LIFE_LONGEST];
    for (size_t t = 0; t < LIFE_LONGEST; t++)
        ids[t] = (int)life_below(x, x->m->config.V);
    ids[0] = (x->texts[0][0] + 1) % (int)x->m->config.V;
    kvcache_decoder.reset(x->cached[0]);
    kvcache_decoder.reset(x->cached[1]);
    life_check(x, 0, ids, LIFE_LONGEST, 1);
    kvcache_decoder.reset(x->cached[0]);
}

// Text 0, then another one in its place: it lies on disk alone.
static life *begin_pushed_out(const char *spec, prefix_policy policy)
{
    life *x = begin(spec, 15, 100, policy);
    life_check(x, 0, x->texts[0], LENGTH, 1);
    push_out(x);
    return x;
}

static size_t rows_of_text(life *x)
{
    return life_rows_of_step(x, 1, x->texts[0], LENGTH, 1);
}

Test(prefix_disk, what_had_to_leave_memory_comes_back_in_every_bit)
{
    static const char *const specs[] = {"all", "f16", "fp8", "q8", "q4", "kivi4:16", "window:200"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (size_t most = 0; most <= 1000; most += 1000) {
            life *x = begin(specs[i], 15, 100, (prefix_policy){0});
            io.most = most; // the system may read and write less than it is asked to
            life_check(x, 0, x->texts[0], LENGTH, 1);
            push_out(x);
            cr_assert_eq(rows_of_text(x), LENGTH - FULL * P, "%s", x->what);
            life_check_held(x, 1, LENGTH);
            const prefix_counters n = prefix_count(x->o.pool);
            // Of small pages memory holds one more.
            cr_assert_geq(n.read_back, FULL - 1, "%s: %zu", x->what, (size_t)n.read_back);
            cr_assert_eq(n.hits, FULL);
            cr_assert_eq(n.lost, 0);
            cr_assert_eq(support_count("."), 0, "the file has a name");
            end(x);
        }
}

// What is on disk is not written again when it leaves memory again.
Test(prefix_disk, a_page_is_written_once)
{
    life *x = begin_pushed_out("all", (prefix_policy){0});
    for (size_t i = 0; i < 3; i++) {
        const size_t writes = io.writes;
        cr_assert_eq(rows_of_text(x), LENGTH - FULL * P);
        push_out(x);
        cr_assert_leq(io.writes - writes, LIFE_LONGEST / P, "text 0 was written again");
    }
    end(x);
}

// A text that three requests have used, behind which others come that are used once. What leaves a
// disk that is too small for all of them is, by order of last use, the first; by number of uses, it
// stays.
Test(prefix_disk, what_was_used_often_stays_on_disk_by_lfu)
{
    static const prefix_policy policies[] = {{0}, {.order = PREFIX_LFU}};
    for (size_t i = 0; i < 2; i++) {
        life *x = begin("all", 15, FULL + LIFE_LONGEST / P + 1, policies[i]);
        for (size_t k = 0; k < 3; k++) {
            cr_assert_eq(rows_of_text(x), k == 0 ? LENGTH : LENGTH - FULL * P);
            kvcache_decoder.reset(x->cached[1]);
        }
        for (size_t k = 0; k < 6; k++)
            push_out(x);
        cr_assert_eq(rows_of_text(x), i == 0 ? LENGTH : LENGTH - FULL * P, "policy %zu", i);
        end(x);
    }
}

Test(prefix_disk, what_the_disk_does_not_give_back_exactly_is_computed_again)
{
    static bool *const faults[] = {&io.flip, &io.cut};
    for (size_t i = 0; i < 2; i++) {
        life *x = begin_pushed_out("all", (prefix_policy){0});
        *faults[i] = true;
        cr_assert_eq(rows_of_text(x), LENGTH);
        cr_assert_eq(prefix_count(x->o.pool).lost, 1); // what stands behind it is not asked for
        cr_assert_eq(prefix_count(x->o.pool).read_back, 0);
        *faults[i] = false;
        kvcache_decoder.reset(x->cached[1]);
        cr_assert_eq(rows_of_text(x), LENGTH - FULL * P); // from memory
        push_out(x);
        cr_assert_eq(rows_of_text(x), LENGTH - FULL * P); // written anew
        cr_assert_eq(prefix_count(x->o.pool).read_back, FULL);
        end(x);
    }
}

Test(prefix_disk, a_full_disk_costs_rows_and_nothing_else)
{
    life *x = begin("all", 15, 100, (prefix_policy){0});
    io.full = true;
    life_check(x, 0, x->texts[0], LENGTH, 1);
    push_out(x);
    cr_assert_gt(io.writes, 0);
    cr_assert_eq(rows_of_text(x), LENGTH);
    io.full = false;
    push_out(x);
    cr_assert_eq(rows_of_text(x), LENGTH - FULL * P);
    end(x);
}

Test(prefix_disk, is_not_shared_with_another_namespace)
{
    life *x = begin_pushed_out("all", (prefix_policy){0});
    x->o.space = "user A";
    kvcache_decoder.destroy(x->cached[1]);
    x->cached[1] = life_make(&kvcache_decoder, x);
    cr_assert_eq(rows_of_text(x), LENGTH);
    end(x);
}

// The clock goes on on disk: an absolute lifetime counts from when the rows were computed, an idle
// one from when they were used.
Test(prefix_disk, lifetimes_go_on_on_disk)
{
    static const struct {
        prefix_policy policy;
        uint64_t used, end; // pushed out at 60
    } cases[] = {{{.absolute = 100}, 50, 100}, {{.idle = 100}, 50, 150}};
    for (size_t i = 0; i < 2; i++)
        for (uint64_t late = 0; late < 2; late++) {
            life *x = begin("all", 15, 100, cases[i].policy);
            life_check(x, 0, x->texts[0], LENGTH, 1);
            kvcache_decoder.reset(x->cached[0]);
            time_now = cases[i].used;
            cr_assert_eq(rows_of_text(x), LENGTH - FULL * P);
            kvcache_decoder.reset(x->cached[1]);
            time_now = 60;
            push_out(x);
            time_now = cases[i].end + late;
            cr_assert_eq(rows_of_text(x), late ? LENGTH : LENGTH - FULL * P, "case %zu", i);
            // Back in memory it is as old as it was.
            kvcache_decoder.reset(x->cached[1]);
            time_now = cases[0].end + 1;
            if (i == 0 && !late)
                cr_assert_eq(rows_of_text(x), LENGTH);
            end(x);
        }
}

// No bit differs while pages come and go between memory, disk and nowhere, and neither budget is
// exceeded.
static void walk(const char *spec, size_t slots, prefix_policy policy)
{
    life *x = begin(spec, 20, slots, policy);
    for (size_t i = 0; i < 60; i++) {
        const size_t who = life_below(x, 2), T = 1 + life_below(x, LIFE_LONGEST);
        time_now += life_below(x, 3);
        io.flip = life_below(x, 10) == 0;
        io.full = life_below(x, 10) == 0;
        for (size_t j = 0; j < 2; j++) // 20 blocks are enough for one of them
            kvcache_decoder.reset(x->cached[j]);
        if (life_below(x, 5) == 0)
            push_out(x);
        life_check(x, who, x->texts[life_below(x, LIFE_TEXTS)], T, 1);
        life_check_held(x, who, T);
        cr_assert_leq(prefix_count(x->o.pool).bytes, 20 * (page_bytes(x) + 512));
        cr_assert_leq(io.end, slots * page_bytes(x), "%s: beyond the budget on disk", x->what);
    }
    const prefix_counters n = prefix_count(x->o.pool);
    cr_assert(slots < 10 || (n.read_back > 0 && n.lost > 0), "%s: %zu slots: %zu, %zu", x->what,
              slots, (size_t)n.read_back, (size_t)n.lost);
    end(x);
}

static uint64_t hash_all_alike(uint64_t before, const int *tokens, size_t n)
{
    (void)before, (void)tokens, (void)n;
    return 7;
}

Test(prefix_disk, pages_come_and_go_and_no_bit_differs)
{
    static const char *const specs[] = {"all", "q8", "kivi2:16", "window:20+4"};
    static const size_t slots[] = {1, 5, 30, 200};
    const prefix_policy policies[] = {
        {0}, {.order = PREFIX_LFU}, {.idle = 20}, {.absolute = 30, .hash = hash_all_alike}};
    for (size_t s = 0; s < 4; s++)
        for (size_t i = 0; i < 4; i++)
            walk(specs[s], slots[(s + i) % 4], policies[i]);
}

Test(prefix_disk, bad_folders_and_budgets_are_refused)
{
    model *m;
    kv_pool *shared;
    prefix_options o = {.budget = 1 << 20, .dir = "no/where", .disk = 1 << 20};
    cr_assert_null(model_load("synthetic:L=1,C=16,H=1,T=32,V=8", &m));
    support_assert_refused(prefix_create(m, &(kv_spec){0}, &o, &shared),
                           "no file in no/where: No such file|name a directory");
    cr_assert_null(shared);
    o.dir = ".";
    o.disk = 100;
    support_assert_refused(prefix_create(m, &(kv_spec){0}, &o, &shared),
                           "100 bytes on disk hold no page|at least");
    o.disk = 1 << 20;
    status failed = "";
    for (size_t n = 1; failed; n++) {
        memory_fail_at(n);
        failed = prefix_create(m, &(kv_spec){0}, &o, &shared);
        memory_fail_at(0);
        if (failed)
            support_assert_refused(failed, "out of memory for");
        cr_assert_eq(support_count("."), 0);
        cr_assert_lt(n, 100);
    }
    prefix_destroy(shared);
    model_free(m);
}
