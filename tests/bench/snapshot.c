// bench snapshot: its table, its files, and what it leaves behind.
#include "bench/snapshot/snapshot.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/command.h"
#include "tests/support/support.h"

TestSuite(bench_snapshot, .init = support_enter_folder, .fini = support_leave_folder);

#define TINY "synthetic:L=2,C=16,H=2,T=40,V=20,F=8"

Test(bench_snapshot, each_way_is_timed_and_the_states_are_removed)
{
    static const char *const ways[] = {"computed", "kv", "hidden", "kv, from disk",
                                       "hidden, from disk"};
    const command_run r =
        RUN(snapshot_command, "snapshot", "-m", TINY, "-c", "3,39", "-n", "6", "-o", ".");
    cr_assert_null(r.s, "%s", r.s);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        cr_assert_not_null(strstr(r.out, ways[i]), "no %s in %s", ways[i], r.out);
    const char *csv = command_file(".", "snapshot-summary.csv");
    cr_assert_eq(command_lines(csv), 1 + 2 * 5, "%s", csv);
    cr_assert_not_null(strstr(csv, "\"" TINY "\",hidden,rows,39,"), "%s", csv);
    cr_assert_eq(support_count("."), 2 + 1, "a state was left"); // and the lock
}

Test(bench_snapshot, bad_options_are_refused)
{
    command_run r = RUN(snapshot_command, "snapshot", "-m", TINY, "-c", "41");
    support_assert_refused(r.s, "41|40");
    r = RUN(snapshot_command, "snapshot", "-m", TINY, "-n", "5");
    support_assert_refused(r.s, "5|6");
    cr_assert_eq(r.exit_code, EXIT_USAGE);
}

Test(bench_snapshot, survives_failed_allocations)
{
    command_assert_survives_failed_allocations(
        snapshot_command,
        (const char *const[]){"snapshot", "-m", TINY, "-c", "3", "-n", "6", "-o", ".", NULL}, NULL);
}
