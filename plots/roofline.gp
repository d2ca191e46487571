# The roofline: the speed that memory and arithmetic allow, by operations per byte, and where each
# stage of a step stands under it. A shape for each kind of stage, a ring for the whole. The arrow
# is what a cache changes at the longest context.
summary = results . "/roofline.csv"
axis = "intensity"
headline = "What limits each stage: arithmetic, or memory"
detail = ", one thread. One point for each stage and context"
unit = "speed (GFLOP/s)"
load "plots/style.gp"
cache = curves > 1 && decoder[1] eq "naive" ? 2 : 1
limit(kind) = real("0" . system(sprintf("sed -n 's/^%s,\\([^,]*\\),.*/\\1/p' '%s/roofs.csv'", kind, results)))
peak = limit("peak")
roof(x, kind) = x * limit(kind) < peak ? x * limit(kind) : peak

# The kinds of stages, their point types and what they are called.
kinds = "linear scores attend logits everything"
stages(kind) = kind == 1 ? "qkv proj fc fcproj" : word(kinds, kind)
array type[5] = [7, 9, 11, 13, 6]
array called[5] = ["linear layers", "attention: scores", "attention: values", "logits", "the whole step"]
size(kind) = kind == 5 ? 1.5 : 0.7
has(list, name) = strstrt(" " . list . " ", " " . name . " ") > 0
of(kind, decoder, pass, name) = strcol("decoder") eq decoder && strcol("pass") eq pass && has(stages(kind), strcol("stage")) ? column(name) : NaN

# Whole steps at the longest context.
stats summary using "context" nooutput
longest = STATS_max
whole(decoder, name) = column("context") == longest ? of(5, decoder, "step", name) : NaN
array naive[3]; array cached[3]
do for [i = 1:3] {
    column_name = word("intensity gflops multiply_adds", i)
    stats summary using (whole("naive", column_name)) nooutput; naive[i] = STATS_max
    stats summary using (whole(decoder[cache], column_name)) nooutput; cached[i] = STATS_max
}
fewer = naive[3] / cached[3]
slower = naive[2] / cached[2]

stats summary using (column("multiply_adds") > 0 ? column("gflops") : NaN) nooutput
left = 0.03 * peak / limit("memory"); right = 2000.; bottom = STATS_min / 2.5; top = peak * 2.3
set xrange [left : right]
set yrange [bottom : top]
set logscale x 10
set xtics format "%g"
set ytics auto; set ytics format "%g"
set xlabel "operations for each byte from memory (FLOP/byte)"
set samples 300
set lmargin at screen 0.1; set rmargin at screen 0.97; set tmargin at screen 0.82; set bmargin at screen 0.16
angle = atan2(0.66 * 9 / log10(top / bottom), 0.87 * 16 / log10(right / left)) * 180 / pi # of the slopes

text = 'front textcolor rgb ink font "sans-serif,12"'
# Names of the roofs, of the decoders and of the kinds, and what the arrow says.
set label sprintf("arithmetic: %.0f GFLOP/s", peak) at right, peak right offset -0.5, 0.5 @text
do for [kind in "memory L3 L2"] {
    if (limit(kind) > 0) {
        x = 0.12 * peak / limit(kind)
        x = x > 1.2 * left ? x : 1.2 * left
        set label sprintf("%s: %.0f GB/s", kind, limit(kind)) at x, x * limit(kind) left rotate by angle offset -0.6, 0.5 @text
    }
}
set label "naive" at naive[1], naive[2] left offset 1.4, -0.9 front textcolor linestyle 1
set label printed[cache] at cached[1], cached[2] left offset 1.2, -0.7 front textcolor linestyle 2
set label sprintf("at %g tokens: 1/%.0f of the operations", longest, fewer) at graph 0.14, graph 0.12 @text
set label sprintf("at 1/%.0f of the speed: %.0f times faster", slower, fewer / slower) at graph 0.14, graph 0.06 @text
set arrow from naive[1], naive[2] to cached[1] * fewer**0.04, cached[2] * slower**0.04 linecolor rgb ink linewidth 1 filled
do for [kind = 1:5] {
    set label called[kind] at graph 0.74, graph 0.44 - kind * 0.065 left point pointtype type[kind] pointsize size(kind) linecolor rgb ink offset 1.2, -0.2 @text
}
set label "prefill, cached" at graph 0.74, graph 0.05 left point linestyle 2 pointtype 6 pointsize 2.2 offset 1.2, -0.2 @text
tokens(t) = t == longest ? sprintf("%g tokens", t) : sprintf("%g", t)

plot '+' using 1:(roof($1, "memory")):(top) with filledcurves fillcolor rgb faint fillstyle transparent solid 0.5 noborder, \
     for [kind in "L3 L2"] '+' using 1:(roof($1, kind)) with lines linecolor rgb ink dashtype 3, \
     '+' using 1:(roof($1, "memory")) with lines linecolor rgb ink linewidth 2, \
     for [kind = 1:5] summary using "intensity":(of(kind, decoder[cache], "step", "gflops")) with points linestyle 2 pointtype type[kind] pointsize size(kind), \
     for [kind = 1:5] summary using "intensity":(of(kind, "naive", "step", "gflops")) with points linestyle 1 pointtype type[kind] pointsize size(kind), \
     summary using "intensity":(of(5, decoder[cache], "prefill", "gflops")) with points linestyle 2 pointtype 6 pointsize 2.2, \
     summary using (of(5, "naive", "step", "intensity")):(peak * 1.8):(tokens(column("context"))) with labels textcolor rgb ink
