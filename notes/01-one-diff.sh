#!/bin/sh
# Prints chapter 1: 01-one-diff.in with every line `@hunk TEXT` replaced by the one hunk of the
# decoders' diff in which TEXT is a changed line's part. Fails if there is no such hunk or more than
# one, and if a hunk is left unexplained.
cd "$(dirname "$0")/.." || exit
diff -U1 naive/decoder.c kvcache/decoder.c | awk '
    function fail(message) { print "notes/01-one-diff.in: " message > "/dev/stderr"; failed = 1; exit 1 }
    function find(text,    i, found) {
        for (i = 1; i <= n; i++)
            if (index(changed[i], text)) {
                if (found) fail("several hunks hold: " text)
                found = i
            }
        if (!found) fail("no hunk holds: " text)
        return found
    }
    FNR == NR && /^@@/ { n++ }
    FNR == NR { if (n) hunk[n] = hunk[n] $0 "\n"; if (/^[-+]/) changed[n] = changed[n] $0 "\n"; next }
    sub(/^@hunk /, "") { i = find($0); shown[i] = 1; printf "```diff\n%s```\n", hunk[i]; next }
    { print }
    END { for (i = 1; i <= n && !failed; i++) if (!shown[i]) fail("no @hunk line shows this:\n" hunk[i]) }
' - notes/01-one-diff.in
