// Pages in a file: the same bits as in memory however few of them are resident, and failures of the
// file that have a message and leave later steps right.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/size.h"
#include "common/kv/store.h"
#include "kvcache/kvcache.h"
#include "naive/naive.h"
#include "tests/support/life.h"
#include "tests/support/support.h"

// What goes between a file and its store: counts, and faults that a test asks for.
static struct {
    size_t reads, writes; // whole calls
    size_t end;           // behind the last byte written
    int fd;
    size_t most;         // bytes that a call takes, if not 0
    size_t left;         // calls before one fails, if `fault` is set
    bool of_reads;       // which of the two fail
    int fault;           // errno of the call that fails; -1: it moves no byte
    bool interrupted[2]; // every second call is interrupted
} io;

static bool fails(bool reads)
{
    return io.fault && io.of_reads == reads && io.left-- == 0;
}

static ssize_t fault(void)
{
    const int number = io.fault;
    io.fault = 0;
    errno = number;
    return number < 0 ? 0 : -1;
}

static bool interrupts(bool reads)
{
    errno = EINTR;
    return io.most > 0 && (io.interrupted[reads] = !io.interrupted[reads]);
}

static ssize_t read_some(int fd, void *to, size_t bytes, off_t offset)
{
    io.reads++;
    if (interrupts(true))
        return -1;
    return fails(true) ? fault()
                       : pread(fd, to, io.most ? size_min(bytes, io.most) : bytes, offset);
}

static ssize_t write_some(int fd, const void *from, size_t bytes, off_t offset)
{
    io.writes++;
    io.fd = fd;
    if (interrupts(false))
        return -1;
    if (fails(false))
        return fault();
    bytes = io.most ? size_min(bytes, io.most) : bytes;
    io.end = (size_t)offset + bytes > io.end ? (size_t)offset + bytes : io.end;
    return pwrite(fd, from, bytes, offset);
}

// A life whose cached decoders have memory for so many parts of pages (a head of a page each).
static life *begin(const char *spec, size_t positions, size_t parts)
{
    life *x = life_begin(spec, positions, false);
    memset(&io, 0, sizeof io);
    scratch_pread = read_some;
    scratch_pwrite = write_some;
    snprintf(x->o.kv.dir, sizeof x->o.kv.dir, "/tmp");
    x->o.kv.resident = parts * page_shape_of(&x->o.kv, &x->m->config).head_bytes;
    for (size_t i = 0; i < 2; i++) {
        kvcache_decoder.destroy(x->cached[i]);
        x->cached[i] = life_make(&kvcache_decoder, x);
    }
    return x;
}

static const char *const SPECS[] = {"all", "f16", "window:8", "window:40+20", "window:20+4,f16"};
static const size_t PAGES[] = {16, 32, 64, 128}, PARTS[] = {2, 3, 8, 9, 20, 45, 1000};
enum { SPEC_COUNT = sizeof SPECS / sizeof *SPECS, PARTS_COUNT = sizeof PARTS / sizeof *PARTS };

static void walk(life *x, size_t moves)
{
    life_walk at = {.T = {1, 1}};
    for (size_t i = 0; i < moves; i++) {
        const size_t who = life_move(x, &at, 8), T = at.T[who];
        life_check(x, who, x->texts[at.text[who]], T, 1 + life_below(x, size_min(T, 5)));
        if (i % 8 == 0)
            life_check_held(x, who, T);
        cr_assert_leq(kvcache_decoder.bytes(x->cached[who]), x->o.kv.resident, "%s", x->what);
    }
}

Test(place, walks_over_a_file_equal_naive_however_few_pages_are_in_memory)
{
    for (size_t s = 0; s < SPEC_COUNT; s++)
        for (size_t p = 0; p < 4; p++)
            for (size_t i = 0; i < PARTS_COUNT; i++) {
                life *x = begin(SPECS[s], PAGES[p], PARTS[i]);
                walk(x, 40);
                cr_assert(PARTS[i] > 9 || (io.reads > 0 && io.writes > 0), "%s: nothing was moved",
                          x->what);
                cr_assert(PARTS[i] < 1000 || (io.reads == 0 && io.writes == 0),
                          "%s: all has room in memory", x->what);
                life_end(x);
            }
}

Test(place, equals_naive_at_every_length)
{
    for (size_t p = 0; p < 4; p++)
        for (size_t i = 0; i < 4; i++) {
            life *x = begin("all", PAGES[p], PARTS[i]);
            for (size_t T = 1; T <= LIFE_LONGEST; T++)
                life_check(x, 0, x->texts[0], T, 1);
            for (size_t T = LIFE_LONGEST; T > 3; T -= 1 + T % 3) // back again
                life_check(x, 0, x->texts[T % LIFE_TEXTS], T, 1);
            life_end(x);
        }
}

Test(place, goes_on_where_a_call_moves_less_than_was_asked_for_or_is_interrupted)
{
    life *x = begin("all", 16, 2);
    io.most = 1000;
    walk(x, 30);
    life_end(x);
}

// Of 13 pages in each of 6 heads, 40 parts have room: a head keeps 4, of which one is the newest,
// and the other 9 are read once, although keys and values are passed over one after the other.
Test(place, a_step_reads_what_has_no_memory_of_its_own_once_and_writes_nothing)
{
    life *x = begin("all", 16, 40);
    life_check(x, 0, x->texts[0], 195, 1);
    life_check(x, 0, x->texts[0], 196, 1);
    for (size_t T = 197; T <= 208; T++) {
        io.reads = io.writes = 0;
        life_check(x, 0, x->texts[0], T, 1);
        cr_assert_eq(io.reads, 6 * 9, "%zu tokens: %zu reads", T, io.reads);
        cr_assert_eq(io.writes, 0, "%zu tokens: %zu writes", T, io.writes);
    }
    life_end(x);
}

Test(place, the_file_has_no_name_reuses_its_slots_and_gives_its_room_back)
{
    life *x = begin("window:8", 16, 2);
    struct stat about;
    for (size_t T = 1; T <= LIFE_LONGEST; T++)
        life_check(x, 0, x->texts[0], T, 1);
    // Room for 8 + 32 + 2 * 16 positions, 5 pages, in 3 layers; 230 tokens are 15 pages.
    cr_assert_leq(io.end, 3 * 5 * page_shape_of(&x->o.kv, &x->m->config).bytes);
    cr_assert_eq(fstat(io.fd, &about), 0);
    cr_assert_eq(about.st_nlink, 0);
    cr_assert_gt(about.st_size, 0);
    kvcache_decoder.reset(x->cached[0]);
    cr_assert_eq(fstat(io.fd, &about), 0);
    cr_assert_eq(about.st_size, 0);
    const int fd = io.fd;
    life_end(x);
    cr_assert_eq(fstat(fd, &about), -1, "the file is left open");
}

// ---- failures ----

// A step in which call number `left` fails: it says so, holds nothing, and the steps after it are
// right. False if the step came to its end without that call.
static bool check_failure(life *x, const int *ids, size_t T, const char *parts)
{
    const float *logits;
    status s = kvcache_decoder.step(x->cached[0], ids, T, 1, &logits);
    if (!s)
        return io.fault = 0, false;
    support_assert_refused(s, parts);
    for (size_t l = 0; l < 3; l++)
        for (size_t t = 0; t < LIFE_LONGEST; t++)
            cr_assert_not(kvcache_decoder.holds(x->cached[0], l, 0, t));
    cr_assert_eq(kvcache_decoder.bytes(x->cached[0]), 0);
    return true;
}

static void check_failures(bool of_reads, int number, const char *parts)
{
    for (size_t s = 0; s < SPEC_COUNT; s++)
        for (size_t i = 0; i < 5; i++) {
            life *x = begin(SPECS[s], 16, PARTS[i]);
            size_t failed = 0, T = 1;
            for (size_t move = 0; move < 60; move++) {
                const int *ids = x->texts[life_below(x, LIFE_TEXTS)];
                T = life_below(x, 3) ? size_min(T + 9, LIFE_LONGEST) : 1 + life_below(x, T);
                io.of_reads = of_reads;
                io.left = life_below(x, 40);
                io.fault = number;
                failed += check_failure(x, ids, T, parts);
                life_check(x, 0, x->texts[life_below(x, LIFE_TEXTS)], T, 1);
                life_check(x, 0, ids, T, size_min(T, 3));
            }
            cr_assert(failed > 3 || i == 4, "%s: %zu steps failed", x->what, failed);
            life_end(x);
        }
}

Test(place, a_read_that_fails_is_named_and_later_steps_are_right)
{
    check_failures(true, EIO,
                   "/tmp/lockstep-|cannot be read back|Input/output error|check the "
                   "disk|--kv file:DIR");
}

Test(place, a_file_that_was_cut_short_is_named_and_later_steps_are_right)
{
    check_failures(true, -1, "/tmp/lockstep-|ends at byte|before what was written there");
}

Test(place, a_full_disk_is_named_and_later_steps_are_right)
{
    check_failures(false, ENOSPC, "/tmp/lockstep-|cannot be written|No space left|make room");
    check_failures(false, -1, "/tmp/lockstep-|cannot be written|No space left");
}

// By truncating the file itself: a mapping would end in SIGBUS here.
Test(place, a_truncated_file_ends_a_step_and_not_the_program)
{
    life *x = begin("all", 16, 2);
    life_check(x, 0, x->texts[0], 200, 1);
    cr_assert_eq(ftruncate(io.fd, 1000), 0);
    cr_assert(check_failure(x, x->texts[0], 201, "/tmp/lockstep-|ends at byte"));
    life_check(x, 0, x->texts[0], 201, 5);
    float k[12], v[12];
    cr_assert_eq(ftruncate(io.fd, 0), 0);
    support_assert_refused(kvcache_decoder.read_kv(x->cached[0], 0, 0, 3, k, v), "ends at byte");
    life_end(x);
}

static void check_refused(life *x, const char *spec, const char *parts)
{
    decoder *d;
    decoder_options o = x->o;
    cr_assert_null(kv_parse(spec, &o.kv));
    support_assert_refused(kvcache_decoder.create(x->m, &o, &d), parts);
    cr_assert_null(d);
    o.pool = NULL;
    cr_assert_null(naive_decoder.create(x->m, &o, &d), "naive ignores the place");
    naive_decoder.destroy(d);
}

Test(place, that_cannot_be_is_refused_with_the_cure)
{
    life *x = life_begin("all", 16, true);
    check_refused(x, "file:/tmp", "file:/tmp|the pages of a pool|leave out the file, or the pool");
    x->o.pool = NULL;
    check_refused(x, "file:/no/such:3", "/no/such|No such file|name a directory that can be");
    check_refused(x, "file:/etc/passwd", "/etc/passwd|Not a directory|name a directory");
    life_end(x);
    x = life_begin("all", 16, false);
    model_free(x->m); // one head's share of a page is 64 * 2 * 4608 * 4 bytes, and two are needed
    cr_assert_null(model_load("synthetic:L=2,C=4608,H=1,T=20,V=13,F=8", &x->m));
    check_refused(x, "file:/tmp:1", "file:/tmp|too few keys and values|at least file:/tmp:5");
    decoder *d;
    decoder_options o = {.T_max = 20};
    cr_assert_null(kv_parse("file:/tmp:5", &o.kv));
    cr_assert_null(kvcache_decoder.create(x->m, &o, &d));
    kvcache_decoder.destroy(d);
    life_end(x);
}
