#!/usr/bin/env bash
# Builds the cached decoder with one classic bug after another, verifies each, and holds what the
# locator says against the prediction in the patch's header. Run it by `make faults`, or by `make
# broken` to see one bug in full: they set OUT and PLUGIN_COMPILE and build what is needed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
. tests/plugins/build.sh

field() { # PATCH NAME: a line of the patch's header
    sed -n "s/^$2: //p" "$1"
}

# The cached decoder with PATCH, or as it is for an empty PATCH, as DIR/plugin.so.
build() { # DIR PATCH
    start_copy "$1" || return
    if [ "$2" ]; then
        sed -n 's/^+++ //p' "$2" | while read -r file; do cp "$file" "$1/$file"; done
        patch -s -p0 --fuzz=0 -d "$1" <"$2" >"$1/log" || { echo 'THE PATCH DOES NOT APPLY'; return 1; }
    fi
    build_plugin "$1" || { echo 'DOES NOT COMPILE'; return 1; }
}

# What the report in DIR says of where: as in a header's prediction.
located() { # DIR
    sed -En -e 's/^length: (layer [0-9]+).*/length, \1/p' -e 's/^located: (.*) \(context.*/\1/p' \
        -e 's/^located: (test .*)/\1/p' -e 's/.*the plug-in (crashed|hangs).*/\1/p' "$1/report" | head -n 1
}

# One row of the table: the kind of difference, its place, and how that compares with the
# prediction. Capitals: a failure.
judge() { # DIR PATCH STATUS
    local place predicted seen
    place=$(located "$1") predicted=$(field "$2" Predicted) seen=$(field "$2" Seen)
    # shellcheck disable=SC2053 # Seen may be a pattern
    if [ "$3" -ne 1 ]; then
        echo "NOT CAUGHT|$place|"
    elif [ -z "$seen" ] && [ "$place" = "$predicted" ]; then
        echo "$(kind "$1")|$place|as predicted"
    elif [[ $place == $seen ]] && [ "$(field "$2" Because)" ]; then
        echo "$(kind "$1")|$place|otherwise, explained"
    else
        echo "$(kind "$1")|$place|PREDICTED: $predicted"
    fi
}

kind() { # DIR
    local kind
    kind=$(sed -n 's/^  kind: //p' "$1/report")
    echo "${kind:-bug}"
}

# The tests with PATCH in one file of the sources, which DIR gets: the filter in its header is run,
# and the first test that fails is what locates the bug.
examine_by_tests() { # DIR PATCH
    local file objects
    file=$(sed -n 's/^+++ //p' "$2")
    rm -rf "$1" && mkdir -p "$1/$(dirname "$file")" && cp "$file" "$1/$file"
    patch -s -p0 --fuzz=0 -d "$1" <"$2" >"$1/log" || { echo 'THE PATCH DOES NOT APPLY'; return 1; }
    objects=${TEST_LINK/"$OUT/obj/${file%.c}.o"/"$1/patched.o"}
    sh -c "$PLUGIN_COMPILE -MF /dev/null -c -o '$1/patched.o' '$1/$file' && $objects -o '$1/tests'" \
        >"$1/log" 2>&1 || { echo 'DOES NOT COMPILE'; return 1; }
    "$1/tests" --filter "$(field "$2" Test)" >"$1/log" 2>&1
    sed -nE 's/.*\[FAIL\].* ([a-z_]+)::([a-z_]+):.*/located: test \1\/\2/p' "$1/log" | sort >"$1/report"
    echo '  kind: caught by tests' >>"$1/report"
    judge "$1" "$2" "$(grep -c -m 1 '^located' "$1/report")" >"$1/row"
}

examine() { # PATCH: leaves a row in the fault's directory
    local dir
    dir=$OUT/faults/$(basename "$1" .patch)
    if [ "$(field "$1" Test)" ]; then
        examine_by_tests "$dir" "$1" >"$dir.failure" || echo "$(cat "$dir.failure")||" >"$dir/row"
    elif build "$dir" "$1" >"$dir.failure"; then
        verify "$dir" "$(field "$1" Verify)" "$(field "$1" Spec)"
        judge "$dir" "$1" $? >"$dir/row"
    else
        echo "$(cat "$dir.failure")||" >"$dir/row"
    fi
    rm "$dir.failure"
}

verify() { # DIR OPTIONS SPEC
    # shellcheck disable=SC2086 # several options; a short walk is enough
    "$OUT/bench" verify --decoder "$1/plugin.so${3:+:$3}" --timeout 10 --budget 200 ${2:--c 1-40} >"$1/report" 2>&1
}

print_row() { # BUG KIND PLACE PREDICTION
    printf '| %-30s | %-17s | %-40s | %-20s |\n' "$@"
}

# The decoder as it is passes everything that a fault is verified with.
examine_unpatched() {
    local dir=$OUT/faults/none
    build "$dir" '' || return
    for patch in "$@"; do [ "$(field "$patch" Test)" ] || echo "$(field "$patch" Spec)|$(field "$patch" Verify)"; done | sort -u |
        while IFS='|' read -r spec options; do
            verify "$dir" "$options" "$spec" || { echo "DIFFERS: verify $spec $options"; exit 1; }
        done
}

table() { # PATCH...
    local row
    row=$(examine_unpatched "$@" | head -n 1)
    print_row bug 'caught as' 'located at' prediction
    print_row --- --- --- ---
    print_row 'none: the decoder as it is' "${row:-no difference}" '' ''
    printf '%s\n' "$@" | xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 "$0" examine
    for patch in "$@"; do
        IFS='|' read -r kind place prediction <"$OUT/faults/$(basename "$patch" .patch)/row"
        print_row "$(basename "$patch" .patch)" "$kind" "$place" "$prediction"
    done
}

# Whether each patch still fits the sources.
fit() { # PATCH...
    for patch in "$@"; do
        patch -s -p0 --fuzz=0 --dry-run <"$patch" >/dev/null || { echo "$patch DOES NOT APPLY: cut it anew"; return 1; }
    done
}

# The table, shown and kept for notes/06-bugs.sh. Capitals are failures. With QUICK, every fourth
# patch is tried.
examine_all() {
    local failed patches=(tests/faults/*.patch)
    fit "${patches[@]}" || return
    [ -z "${QUICK-}" ] || mapfile -t patches < <(printf '%s\n' "${patches[@]}" | awk 'NR % 4 == 1')
    table "${patches[@]}" | tee "$OUT/faults/table"
    failed=$(grep -c '[A-Z][A-Z]' "$OUT/faults/table")
    echo "$(($(wc -l <"$OUT/faults/table") - 2 - failed)) passed, $failed failed"
    [ "$failed" -eq 0 ]
}

show() { # PATCH
    sed '/^---/,$d' "$1"
    echo
    build "$OUT/faults/shown" "$1" && verify "$OUT/faults/shown" "$(field "$1" Verify)" "$(field "$1" Spec)"
    local status=$?
    cat "$OUT/faults/shown/report"
    [ "$status" -eq 1 ] || { echo 'verify should have found this bug' >&2; return 1; }
}

mkdir -p "$OUT/faults"
case ${1-} in
examine | show) "$@" ;;
*) examine_all ;;
esac
