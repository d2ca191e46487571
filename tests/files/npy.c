// The .npy writer: the format to the byte, and nothing left behind when it fails.
#include "common/file/npy.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/memory.h"
#include "tests/support/support.h"

static char folder[SUPPORT_PATH], path[SUPPORT_PATH + 16]; // path is that of the matrix in it

static void make_folder(void)
{
    support_make_dir(folder);
    snprintf(path, sizeof path, "%s/a.npy", folder);
}

static void remove_folder(void)
{
    support_remove_dir(folder);
}

static npy_writer *create(size_t columns)
{
    npy_writer *w;
    status s = npy_create(path, columns, &w);
    cr_assert_null(s, "%s", s);
    return w;
}

static void expect_content(const char *text)
{
    size_t n;
    char *content = support_read(folder, "a.npy", &n);
    cr_assert_str_eq(content, text);
    free(content);
}

// No file can grow beyond `bytes` from now on: what a full disk looks like to a program.
static void limit_files(size_t bytes)
{
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, bytes}), 0);
}

TestSuite(npy, .init = make_folder, .fini = remove_folder);

Test(npy, every_byte_is_as_the_format_says)
{
    static const char dictionary[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    const float rows[2][3] = {{1, -0.0f, 0x1.234568p-130f}, {3.5f, 1e30f, -7}};
    npy_writer *w = create(3);
    for (size_t i = 0; i < 2; i++)
        cr_assert_null(npy_append(w, rows[i]));
    cr_assert_null(npy_close(w));

    size_t n;
    char *file = support_read(folder, "a.npy", &n);
    cr_assert_not_null(file);
    cr_assert_eq(n, 128 + sizeof rows, "%zu bytes", n);
    cr_assert_arr_eq(file, "\x93NUMPY\x01\x00\x76\x00", 10); // 0x76 = 118 bytes of header follow
    cr_assert_eq(strncmp(file + 10, dictionary, sizeof dictionary - 1), 0, "%.60s", file + 10);
    cr_assert_eq(strspn(file + 10 + sizeof dictionary - 1, " "), 118 - sizeof dictionary);
    cr_assert_eq(file[127], '\n');
    cr_assert_arr_eq(file + 128, rows, sizeof rows);
    free(file);
    cr_assert_eq(support_count(folder), 1, "something else was left");
}

Test(npy, a_matrix_may_have_no_rows)
{
    cr_assert_null(npy_close(create(5)));
    size_t n;
    char *file = support_read(folder, "a.npy", &n);
    cr_assert_eq(n, 128);
    cr_assert_not_null(strstr(file + 10, "'shape': (0, 5)"));
    free(file);
}

Test(npy, the_old_file_stays_until_the_new_one_is_whole)
{
    support_write(folder, "a.npy", "old", 3);
    npy_writer *w = create(1);
    cr_assert_null(npy_append(w, &(float){1}));
    expect_content("old");
    npy_abandon(w);
    expect_content("old");
    cr_assert_eq(support_count(folder), 1, "the abandoned part was left");
    cr_assert_null(npy_close(create(1)));
    size_t n;
    free(support_read(folder, "a.npy", &n));
    cr_assert_eq(n, 128);
    npy_abandon(NULL);
}

Test(npy, a_full_disk_is_reported_and_leaves_nothing)
{
    enum { COLUMNS = 100 };
    const float row[COLUMNS] = {0};
    support_write(folder, "a.npy", "old", 3);
    limit_files(30000); // more than stdio buffers, so that a row fails and not only the end
    npy_writer *w = create(COLUMNS);
    status s = NULL;
    for (size_t i = 0; !s && i < 1000; i++)
        s = npy_append(w, row);
    cr_assert_not_null(s, "400 kB went into 30");
    cr_assert(strstr(s, path) && strstr(s, "free some space"), "%s", s);
    npy_abandon(w);
    expect_content("old");
    cr_assert_eq(support_count(folder), 1, "a part was left");
}

Test(npy, a_disk_that_is_full_at_the_end_is_reported_too)
{
    limit_files(
        130); // the header and half a float, all of it still buffered when the file is closed
    npy_writer *w = create(1);
    cr_assert_null(npy_append(w, &(float){1}));
    status s = npy_close(w);
    cr_assert_not_null(s, "132 bytes went into 130");
    cr_assert_not_null(strstr(s, path), "%s", s);
    cr_assert_eq(support_count(folder), 0, "a part was left");
}

Test(npy, places_that_cannot_hold_a_file_are_refused)
{
    char below_file[sizeof path + 8], missing[sizeof path + 8];
    support_write(folder, "a.npy", "", 0);
    snprintf(below_file, sizeof below_file, "%s/b", path);
    snprintf(missing, sizeof missing, "%s/no/a.npy", folder);
    const char *const places[] = {missing, below_file, folder, "/dev/null"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        npy_writer *w;
        status s = npy_create(places[i], 1, &w);
        cr_assert_not_null(s, "%s was accepted", places[i]);
        cr_assert(strstr(s, places[i]) && !w, "%s", s);
    }
    cr_assert_eq(support_count(folder), 1, "a part was left");
}

Test(npy, a_failed_allocation_is_reported)
{
    for (size_t n = 1; n <= 2; n++) {
        npy_writer *w;
        memory_fail_at(n);
        status s = npy_create(path, 1, &w);
        memory_fail_at(0);
        cr_assert_not_null(s, "allocation %zu", n);
        cr_assert_null(w);
    }
    cr_assert_eq(support_count(folder), 0);
}
