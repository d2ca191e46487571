#!/bin/sh
# Runs each fuzz target for a while, one after another, and fails if any finds something. `make
# fuzz` builds them first.
# usage: run.sh FOLDER SECONDS TARGET...     FOLDER/fuzz-TARGET are the programs; what they find stays in FOLDER.
set -u
folder=$1 seconds=$2
shift 2
shared=/dev/shm # in memory, where there is such a place: each run writes a file
[ -d "$shared" ] && [ -w "$shared" ] || shared=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$shared/lockstep-fuzz-XXXXXX") || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM
export UBSAN_OPTIONS=print_stacktrace=1

failed=0
for target; do
    log=$folder/$target.log
    mkdir -p "$folder/corpus/$target" "$folder/found"
    "$folder/fuzz-$target" -max_total_time="$seconds" -timeout=600 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="$folder/found/$target-" "$folder/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1
    code=$?
    awk -v target="$target" -v code=$code '
        /^#[0-9]+/ { for (i = 2; i < NF; i++) if ($i == "cov:") blocks = $(i + 1) }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::average_exec_per_sec/ { rate = $2 }
        END { printf "%-16s %10d runs, %6d a second, %5d blocks covered: %s\n", target, runs, rate, blocks,
              code == 0 ? "nothing found" : "FAILED" }' "$log"
    [ $code = 0 ] && continue
    failed=1
    grep -aE -A 12 'ERROR: |runtime error: |Assertion |FUZZ: ' "$log" || tail -n 5 "$log"
    grep -aE 'Test unit written to' "$log"
done
[ $failed = 0 ] && echo "fuzz: $# targets, nothing found"
exit $failed
