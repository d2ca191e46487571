// Processes and streams: no text reaches a shell, a plug-in's process ends with its parent, what it
// prints stays out of the report, and what cannot be written is said.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/shell.h"

#define MODEL "-m synthetic:L=2,C=48,H=3,T=64,V=100 "
#define PLUGIN "--decoder " BUILD_DIR "/plugins/misbehaving.so "
#define VERIFY                                                                                     \
    "ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0 " BUILD_DIR "/tested/bench verify " MODEL            \
    "-c 1-8 " PLUGIN
enum { COMMAND = 2048 };

TestSuite(processes, .init = shell_make_folder, .fini = shell_remove_folder, .timeout = 120);

Test(processes, a_decoders_name_in_a_csv_reaches_no_shell)
{
    cr_assert_eq(
        shell_run("sed \"s/kvcache/\\$(touch hit)/\" >$D/summary.csv <<'END'\n"
                  "model,decoder,metric,context,median_ns,ci_lo_ns,ci_hi_ns,samples,throttled\n"
                  "m,naive,ttft,1,10,9,11,6,0\nm,naive,ttft,2,20,19,21,6,0\n"
                  "m,kvcache,ttft,1,10,9,11,6,0\nm,kvcache,ttft,2,20,19,21,6,0\nEND\n"
                  "plots/draw.sh $D $D/plots svg"),
        1, "a speed-up was drawn without steps");
    cr_assert_eq(shell_run("test -e $D/plots/ttft-light.svg && grep -q 'touch hit' $D/summary.csv"),
                 0);
    cr_assert_eq(shell_run("! test -e hit"), 0, "the decoder's name was run");
    cr_assert_eq(shell_run("! ls $D/plots | grep part"), 0, "half a picture was left");
}

Test(processes, a_folders_name_reaches_no_shell)
{
    cr_assert_eq(
        shell_run("mkdir \"$D/\\$(touch hit)\"; plots/draw.sh \"$D/\\$(touch hit)\" $D/p svg"), 1);
    shell_expect_in("err", "rename it");
    cr_assert_eq(shell_run("! test -e hit"), 0, "the folder's name was run");
}

Test(processes, what_a_plug_in_prints_stays_out_of_the_report)
{
    cr_assert_eq(shell_run("VICE=talks " VERIFY "--json >$D/json && ! grep -q 'step of' $D/json"),
                 0);
    shell_expect_in("json", "\"sha256_of_recomputed_logits\"");
}

Test(processes, what_a_plug_in_printed_is_shown_after_a_failure)
{
    cr_assert_eq(shell_run("VICE='talks and crashes' " VERIFY), 1);
    shell_expect_in("err", "the plug-in wrote:\n");
    shell_expect_in("err", "by standard error\n");
    shell_expect_in("err", "the plug-in crashed");
}

// Starts a plug-in that hangs, sends the parent the signal, and says how it ended and what is left.
static void expect_end(const char *signal_name, int code)
{
    char line[COMMAND];
    snprintf(line, sizeof line,
             "env --default-signal=HUP,INT,QUIT,TERM VICE=hangs " VERIFY "--timeout 60 & p=$!\n"
             "for i in $(seq 100); do c=$(pgrep -P $p) && break; sleep 0.05; done\n"
             "sleep 0.5; test -n \"$c\" || exit 99\n"
             "kill -%s $p; wait $p; code=$?\n"
             "for i in $(seq 40); do kill -0 $c || exit $code; sleep 0.05; done; exit 98",
             signal_name);
    int got = shell_run(line);
    cr_assert_eq(got, code, "%s: exit %d, not %d", signal_name, got, code);
    if (strcmp(signal_name, "KILL") != 0)
        cr_assert_eq(shell_run("! grep crashed $D/err"), 0);
}

Test(processes, a_plug_in_ends_with_its_parent_whatever_kills_that)
{
    expect_end("TERM", 143);
    expect_end("HUP", 129);
    expect_end("QUIT", 131);
    expect_end("KILL", 137);
}

// The record is not the verdict.
Test(processes, a_record_that_cannot_be_written_is_a_note)
{
    cr_assert_eq(shell_run("mkdir -p $D/b/results/verified.json.part && cp " BUILD_DIR
                           "/tested/bench $D/b && $D/b/bench verify " MODEL "-c 1-4"),
                 0);
    shell_expect_in("out", "verdict: PASS");
    shell_expect_in("err", "note: what was found is not recorded: cannot write");
    cr_assert_eq(shell_run("! $D/b/bench verify " MODEL "-c 1-4 2>&1 | grep -e --out"), 0);
}

Test(processes, a_plug_in_leaves_no_process_and_cannot_hide_in_another_group)
{
    cr_assert_eq(shell_run("PID=$D/pid VICE='starts a daemon' " VERIFY), 0);
    cr_assert_eq(shell_run("test -s $D/pid && ! kill -0 $(cat $D/pid)"), 0, "a daemon is left");
    cr_assert_eq(shell_run("VICE='leaves its group and hangs' " VERIFY "--timeout 1"), 1);
    shell_expect_in("err", "the plug-in hangs");
}

Test(processes, ctrl_c_is_the_users_and_no_crash)
{
    expect_end("INT", 130);
}

// What measures ends in good order, and says by which signal.
Test(processes, what_measures_exits_with_the_signals_number)
{
    static const struct {
        const char *name;
        int code;
    } signals[] = {{"INT", 130}, {"TERM", 143}, {"HUP", 129}};
    for (size_t i = 0; i < 3; i++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 "env --default-signal=HUP,INT,TERM " BUILD_DIR "/tested/bench sweep " MODEL
                 "-c 1,2 -n 100000 -o $D/%zu & p=$!\n"
                 "for i in $(seq 100); do test -s $D/%zu/samples.csv && break; sleep 0.05; done\n"
                 "kill -%s $p; wait $p",
                 i, i, signals[i].name);
        cr_assert_eq(shell_run(line), signals[i].code, "%s", signals[i].name);
        shell_expect_in("out", "PARTIAL");
    }
}

Test(processes, an_ignored_sigchld_is_no_hang)
{
    cr_assert_eq(shell_run("timeout 60 env --ignore-signal=CHLD " BUILD_DIR
                           "/tested/bench verify " MODEL "-c 1-8 " PLUGIN),
                 0);
    shell_expect_in("out", "PASS");
}

Test(processes, standard_output_that_cannot_be_written_is_a_failure)
{
    static const char *const lines[] = {"bench --help", "bench verify --help", "tokenize --help",
                                        "bench verify " MODEL "-c 1-4",
                                        "bench verify " MODEL "-c 1-4 " PLUGIN};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 "test -c /dev/full || exit 1; " BUILD_DIR "/tested/%s >/dev/full", lines[i]);
        cr_assert_eq(shell_run(line), 1, "%s", lines[i]);
        shell_expect_in("err", "cannot be written");
    }
}

Test(processes, messages_do_not_reach_files_when_streams_are_closed)
{
    cr_assert_eq(
        shell_run(BUILD_DIR "/tested/bench sweep " MODEL "-c 1,2 -n 6 --out $D/r >&- 2>&-"), 1);
    cr_assert_eq(
        shell_run("test -s $D/r/samples.csv && ! grep -E 'sweep|bench|medians' $D/r/*.csv"), 0);
}

Test(processes, logits_to_a_symbolic_link_are_written_through_it)
{
    const char *const generate =
        BUILD_DIR "/naive " MODEL "--ids 1,2 -n 2 --logits $D/link 2>&1 && test -L $D/link && "
                  "test -s $D/real && ! ls $D | grep part";
    cr_assert_eq(shell_run("ln -s real $D/link; touch $D/real"), 0);
    cr_assert_eq(shell_run(generate), 0);
    cr_assert_eq(
        shell_run("rm $D/real; " BUILD_DIR "/naive " MODEL "--ids 1,2 -n 2 --logits $D/link"), 1);
    shell_expect_in("err", "leads nowhere");
}

Test(processes, a_file_that_grows_too_long_leaves_no_part)
{
    cr_assert_eq(shell_run("ulimit -f 1; " BUILD_DIR "/naive " MODEL
                           "--ids 1,2 -n 20 --logits $D/x.npy 2>$D/../long; test $? = 1; code=$?; "
                           "rm -f $D/../long; ls $D | grep npy && exit 9; exit $code"),
                 0);
}

// A decoder that is ended by a signal while it writes logits leaves no half of them.
static void expect_no_part(const char *signal_name, int code)
{
    char line[COMMAND];
    snprintf(line, sizeof line,
             "env --default-signal " BUILD_DIR
             "/naive -m synthetic:124M --ids 1 -n 1000 --logits $D/x.npy & p=$!\n"
             "for i in $(seq 200); do ls $D | grep -q part && break; sleep 0.05; done\n"
             "kill -%s $p; wait $p; code=$?; ls $D | grep npy && exit 98; exit $code",
             signal_name);
    int got = shell_run(line);
    cr_assert_eq(got, code, "%s: exit %d, not %d", signal_name, got, code);
}

Test(processes, no_part_is_left_by_hup_and_quit)
{
    expect_no_part("HUP", 129);
    expect_no_part("QUIT", 131);
}

Test(processes, verify_where_nothing_can_be_written_says_so_first_and_gives_its_verdict)
{
    cr_assert_eq(shell_run("cp " BUILD_DIR
                           "/tested/bench $D/bench && touch $D/results && $D/bench verify " MODEL
                           "-c 1-4"),
                 0);
    shell_expect_in("err", "results cannot be written: what is found will not be recorded\n");
    shell_expect_in("out", "verdict: PASS");
    cr_assert_eq(shell_run("! grep -e --out $D/err"), 0);
    cr_assert_eq(shell_run("$D/bench sweep " MODEL "-c 1,2 -n 6"), 1);
    shell_expect_in("err", "--out");
    cr_assert_eq(shell_run("$D/bench sweep " MODEL "-c 1,2 -n 6; ! grep . $D/out"), 0);
}

// The system refuses the n-th descriptor, whichever call asks for it: a file, a pipe, a copy.
Test(processes, a_system_call_that_fails_is_named)
{
    size_t refused = 0;
    for (int n = 3; n <= 12; n++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 "(ulimit -n %d; " VERIFY
                 ")\ncode=$?; test $code != 1 || cp $D/err $D/was; exit $code",
                 n);
        int code = shell_run(line);
        cr_assert(code == 0 || code == 1 || code == 127, "%d descriptors: exit %d", n, code);
        refused += code == 1;
    }
    cr_assert_gt(refused, 0);
    shell_expect_in("was", "Too many open files");
    cr_assert_eq(shell_run("! grep -i 'out of memory' $D/was"), 0);
}

Test(processes, a_malformed_record_does_not_block_verify)
{
    static const char *const records[] = {"", "[]", "{", "3", "{\"a\": {\"build\": 3}}", "\\377"};
    cr_assert_eq(shell_run("mkdir $D/results; cp " BUILD_DIR "/tested/bench $D/bench"), 0);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 "printf '%s' >$D/results/verified.json; $D/bench verify " MODEL "-c 1-4 && "
                 "grep -q '\"passed\": true' $D/results/verified.json",
                 records[i]);
        cr_assert_eq(shell_run(line), 0, "%s", records[i]);
    }
}

// What is under its own name after a kill is whole: its last line ends.
Test(processes, a_kill_leaves_whole_files)
{
    for (int tenths = 1; tenths <= 8; tenths++) {
        char line[COMMAND];
        snprintf(line, sizeof line,
                 BUILD_DIR
                 "/tested/bench sweep " MODEL "-c 1,2,4 -n 2000 --out $D/k & sleep 0.%d; "
                 "kill -KILL $!; wait $!; for f in $D/k/summary.csv $D/k/context.json; do "
                 "test ! -s $f || test -z \"$(tail -c 1 $f)\" || exit 1; done",
                 tenths);
        cr_assert_eq(shell_run(line), 0, "after 0.%d s", tenths);
    }
}
