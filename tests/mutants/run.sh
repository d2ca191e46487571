#!/usr/bin/env bash
# Breaks the cached decoder and what it stands on in every small way that mutate.awk knows, one at a
# time, and lets verify judge. What verify accepts is judged by the tests of the file that was
# changed, and then by verify under AddressSanitizer and UBSan. Who gets past all of them is a
# survivor and must be explained in equivalent.txt. Run it by `make mutants`, which sets OUT,
# PLUGIN_COMPILE, TEST_LINK and SANITIZERS; FILES are those to be changed, if not all.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
. tests/plugins/build.sh
files=${FILES:-kvcache/decoder.c common/kv/kv.c common/kv/attend.c common/kv/page.c common/kv/keep/keep.c
    common/kv/keep/keep_window.c common/number/form_f16.c common/math/kernel.c common/math/rowops.c common/math/softmax.c}

# Several layers and heads; heads of 4 to 64 channels; T a multiple of 16 and not, of one page and
# of several; sums longer than the kernel takes in one pass; a token 0 at position 0, as in memory
# that nobody has written; values that overflow; and the specs.
verify_everywhere() { # DIR
    local options spec expected
    for options in '-m synthetic:L=2,C=48,H=3,T=40,V=100 -c 1-40' '-m synthetic:L=3,C=40,H=2,T=80,V=33 -c 1-80' \
        '-m synthetic:L=1,C=128,H=2,T=40,V=13,dtype=f16 -c 1-40' '-m synthetic:L=1,C=30,H=2,T=20,V=9,F=800 -c 1-20 --weights q8' \
        '-m tests/faults/overflow -c 1-12'; do
        # shellcheck disable=SC2086 # several options
        "$OUT/bench" verify --work --budget 300 --decoder "$1/plugin.so" --timeout 5 $options >"$1/report" 2>&1 || return
    done
    for spec in window:8+3 f16 window:40,f16 heavy:8+4 q4 kivi2,window:70 "file:$1:1"; do
        "$OUT/bench" verify --work --budget 300 --decoder "$1/plugin.so:$spec" --timeout 5 -c 1-200 \
            -m synthetic:L=2,C=16,H=2,T=200,V=33 >"$1/report" 2>&1 || return
    done
    for spec in all window:8+3 kivi4:16; do
        expected=$(stages --decoder "kvcache:$spec") && [ "$(stages --decoder "$1/plugin.so:$spec")" = "$expected" ] || return
    done
}

# What an observer is shown, of the decoder as it is or of a plug-in.
stages() { # [OPTIONS]
    "$OUT/bench" digest --stages -c 30 -m synthetic:L=2,C=40,H=2,T=40,V=33 "$@" 2>/dev/null
}

# invalid: it does not compile. killed: verify refuses it; tested: the tests do. survived: neither
# does, not even under the sanitizers, which see what the bits do not: memory that is not the
# plug-in's own.
judge() { # DIR FILE
    local asan=max_malloc_fill_size=1000000000:malloc_fill_byte=127
    if ! build_plugin "$1" '-O1 -g0 -w'; then
        echo invalid
    elif ! verify_everywhere "$1"; then
        echo killed
    elif ! pass_tests "$1" "$2"; then
        echo tested
    elif without_slack "$1" && OUT=$OUT/sanitize build_plugin "$1" "-O1 -w -Icommon $SANITIZERS" &&
        ASAN_OPTIONS=$asan OUT=$OUT/sanitize verify_everywhere "$1"; then
        echo survived
    else
        echo killed
    fi
}

# The tests that judge FILE, linked anew with DIR's.
pass_tests() { # DIR FILE
    local filter objects=${TEST_LINK/"$OUT/obj/${2%.c}.o"/"$1/mutant.o"}
    case $2 in
    */math/kernel.c) filter='@(kernel|width)/*' ;;
    */math/*) filter='@(decoders|grouped|embed)/*' ;;
    */decoder.c | */keep/*) filter='@(decoders|properties|specs|subjects)/*' ;;
    *) filter='@(decoders|specs|place|grouped|snapshot|batch|subjects|store)/*' ;;
    esac
    sh -c "$PLUGIN_COMPILE -O1 -w -MF /dev/null -c -o '$1/mutant.o' '$1/$2' && $objects -o '$1/tests'" >"$1/log" 2>&1 &&
        timeout 300 "$1/tests" -j1 --fail-fast --timeout 120 --filter "$filter" >"$1/log" 2>&1
}

# Blocks end where they end, not at the next page: the sanitizers are to see what steps out of
# them.
without_slack() { # DIR
    sed 's/huge ? huge_page : .*)/CACHE_LINE)/' common/base/memory.c >"$1/common/base/memory.c" && ! cmp -s common/base/memory.c "$1/common/base/memory.c"
}

# Judges line NUMBER of $OUT/mutants/list: a file, a line's number, that line, the mutant's line.
examine() { # NUMBER
    local dir=$OUT/mutants/$1 file at mutant
    IFS=$'\t' read -r file at _ mutant <<<"$(sed -n "$1p" "$OUT/mutants/list" | sed 's/\\/\\\\/g')"
    start_copy "$dir"
    awk -v at="$at" -v mutant="$mutant" 'NR == at { print mutant; next } { print }' "$file" >"$dir/$file"
    judge "$dir" "$file" >"$OUT/mutants/$1.verdict"
    rm -r "$dir"
}

# Mutants as in equivalent.txt, three lines each: the file, the line, the mutant's line. Where one
# file has the same twice, they are numbered.
blocks() { # [VERDICT]
    paste "$OUT/mutants/verdicts" "$OUT/mutants/list" | awk -F '\t' -v wanted="${1-}" '
        { sub(/^ +/, "", $4); sub(/^ +/, "", $5); lines = "- " $4 "\n+ " $5; n = ++seen[$2, lines] }
        wanted == "" || $1 == wanted { print $2 (n > 1 ? ", number " n : "") "\n" lines }'
}

# The blocks of FILE that OTHER does not have.
only_in() { # FILE OTHER
    awk '/^(common|kvcache)\// { file = $0 } /^- / { line = $0 } /^\+ / { key = file "\n" line "\n" $0
         if (FILENAME == ARGV[1]) known[key]; else if (!(key in known)) print key }' "$2" "$1"
}

count() { # WORD
    grep -c "^$1$" "$OUT/mutants/verdicts"
}

judge_all() {
    local unexplained stale
    start_copy "$OUT/mutants/none"
    [ "$(judge "$OUT/mutants/none" kvcache/decoder.c)" = survived ] || { echo "the decoder as it is does not pass: see $OUT/mutants/none"; return 1; }
    for file in $files; do awk -f tests/mutants/mutate.awk "$file" | sed "s|^|$file\t|"; done >"$OUT/mutants/list"
    seq "$(wc -l <"$OUT/mutants/list")" | xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 "$0" examine
    seq "$(wc -l <"$OUT/mutants/list")" | sed "s|.*|$OUT/mutants/&.verdict|" | xargs cat >"$OUT/mutants/verdicts"
    blocks >"$OUT/mutants/all"
    blocks survived >"$OUT/mutants/survivors"
    unexplained=$(only_in "$OUT/mutants/survivors" tests/mutants/equivalent.txt)
    stale=$(only_in tests/mutants/equivalent.txt "$OUT/mutants/all")
    [ "$unexplained" ] && printf 'not killed, not explained:\n%s\n' "$unexplained"
    [ -z "${FILES-}" ] || stale=
    [ "$stale" ] && printf 'explained, but there is no such mutant:\n%s\n' "$stale"
    echo "$(wc -l <"$OUT/mutants/list") mutants: $(count killed) killed by verify, $(count tested) by tests, $(count survived) survived, $(count invalid) do not compile" |
        tee "$OUT/mutants/summary"
    [ -z "$unexplained$stale" ]
}

case ${1-} in
examine) examine "$2" ;;
*) rm -rf "$OUT/mutants" && mkdir -p "$OUT/mutants" && judge_all ;;
esac
