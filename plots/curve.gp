# What the experiments of build/bench curves share: a curve for each decoder and each of `metrics`,
# the first solid, the second dashed. A script sets also `ends`, the last word of the columns' names
# ("ns"); shown(v), which turns such a value into what is drawn; `powers`, the slopes that theory
# gives the last metric of naive and of kvcache, drawn as faint lines back from their ends ("":
# none); and `fine`: tics at 1, 2, 5, 10.
detail = detail . (powers eq "" ? "" : ". Grey: slope " . (powers eq "1 1" ? "1" : "2 and 1"))
load "plots/style.gp"
if (!fine) { set ytics auto; set ytics format "%g" }
drawn(i, k, name) = shown(of(i, word(metrics, k), name . "_" . ends))
array end[curves]
do for [i = 1:curves] { stats summary using (ending(drawn(i, words(metrics), "median"))) nooutput; end[i] = STATS_max }
steep(i, t) = end[i] * (t / last)**(word(powers, i) + 0)
slopes = words(powers) ? "for [i = 1:2] [last / 8. : last] '+' using 1:(steep(i, $1)) with lines linecolor rgb faint linewidth 8 notitle," : ""
plot @slopes \
     for [k = 1:words(metrics)] for [i = 1:curves] summary using (column(axis)):(drawn(i, k, "ci_lo")):(0):(drawn(i, k, "ci_hi") - drawn(i, k, "ci_lo")) @bars linestyle i notitle, \
     for [k = 1:words(metrics)] for [i = 1:curves] summary using (column(axis)):(drawn(i, k, "median")) with linespoints linestyle i dashtype k title (k == 1 ? name_of(i) : ""), \
     for [i = 1:curves] summary using (column(axis)):(ending(drawn(i, 1, "median"))):(at_right(i)) @labels, 0.4 textcolor linestyle i notitle
