#!/bin/sh
# Prints chapter 6: 06-bugs.in with every line `@bug NN` replaced by what tests/faults/NN-*.patch
# changes and what verify said of it, and `@table` and `@mutants` by the results: what the last
# `make faults` and `make mutants` left in $OUT. Fails if a bug is not shown.
cd "$(dirname "$0")/.." || exit
: "${OUT:=build}"

wrap() {
    fold -s -w 100 | sed 's/ $//'
}

show_bug() { # PATCH
    report=$OUT/faults/$(basename "$1" .patch)/report
    sed '/^[A-Z][a-z]*: /,$d' "$1" | tr '\n' ' ' | sed 's/ $//' | wrap
    echo
    sed -n 's/^World: \(.*\)$/In the world: \1./p' "$1" | wrap
    printf '\n```diff\n'
    sed '1,/^---/d' "$1" | grep '^[-+]' | grep -v '^+++ '
    printf '```\n\n'
    sed -n -E -e 's/ \(notes[^)]*\)//' -e '/^(length|located): /,$p' "$report" | grep -v '^  more: ' | sed 's/^/    /'
    echo
    sed -n 's/^Because: \(.*\)$/The prediction named another place: \1/p' "$1" | wrap
}

shown=
while IFS= read -r line; do
    case $line in
    '@table') cat "$OUT/faults/table" ;;
    '@mutants') sed 's/^/    /' "$OUT/mutants/summary" ;;
    '@bug '*)
        patch=$(echo tests/faults/"${line#@bug }"-*.patch)
        show_bug "$patch" || exit
        shown="$shown $patch"
        ;;
    *) printf '%s\n' "$line" ;;
    esac
done <notes/06-bugs.in
for patch in tests/faults/*.patch; do
    case $shown in *"$patch"*) ;; *) echo "notes/06-bugs.in: no @bug line shows $patch" >&2; exit 1 ;; esac
done
