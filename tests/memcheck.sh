#!/bin/sh
# Runs the programs on tiny models under valgrind's memcheck: memory read before it was written, or lost. `make valgrind`
# builds them first. usage: memcheck.sh FOLDER     Judged by the logs: the exit status is the program's own.
set -u
command -v valgrind >/dev/null || { echo "valgrind is missing: run 'make deps-fuzz'" >&2; exit 1; }
cd "$1" || exit 1
rm -f memcheck.*
export OMP_NUM_THREADS=1 # OpenMP's threads keep memory of their own to the end
tiny=synthetic:L=2,C=20,H=2,T=40,V=50

# Standard input and output are the caller's to redirect.
check() {
    called=$* program=./$1
    shift
    echo "$called" >&2
    valgrind -q --leak-check=full --show-leak-kinds=definite,indirect --log-file=memcheck.%p "$program" "$@" 2>errors && return
    echo "valgrind: $called fails:" >&2
    cat errors memcheck.* >&2
    exit 1
}

for decoder in naive kvcache; do
    check $decoder -m $tiny -n 20 --ids 1,2,3,4,5,6,7,8,9,10,11,12,13 --logits a.npy --all-logits b.npy >ids
    check $decoder -n 3 -t 0.8 -p 0.9 --json ROMEO: >json
done
for spec in f16 bf16 fp8 q8 q4 kivi4 kivi2 heavy:8+8,q8 window:8+2,q4; do
    check kvcache -m $tiny --kv $spec -n 30 --ids 1,2,3,4,5,6,7,8 >ids
done
check kvcache -m $tiny --weights q8 -n 2 --ids 1,2,3,4,5 >ids
check kvcache -m $tiny,dtype=f16 -n 2 --ids 1,2,3,4,5 >ids
echo 'What is gone, and what 9 remain?' >text
check tokenize <text >ids
check tokenize --decode <ids >again
cmp text again || exit 1
check bench verify -m $tiny >report
check bench compare a.npy a.npy >report
if cat memcheck.* | grep . >&2; then
    echo 'valgrind: errors, see above' >&2
    exit 1
fi
echo 'valgrind: nothing found'
