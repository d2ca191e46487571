#!/bin/sh
# The cosine between the embeddings of two texts: sh notes/26-cosine.sh mean|last TEXT TEXT
for text in "$2" "$3"; do
    "${OUT:-build}/kvcache" --embed "$1" "$text" 2>/dev/null
done | awk -F'[][]' '
    { n = split($2, x, ","); for (i = 1; i <= n; i++) v[NR, i] = x[i] }
    END {
        for (i = 1; i <= n; i++) {
            ab += v[1, i] * v[2, i]; aa += v[1, i]^2; bb += v[2, i]^2
        }
        if (NR != 2 || n == 0) exit 1
        printf "%.3f\n", ab / sqrt(aa * bb)
    }'
