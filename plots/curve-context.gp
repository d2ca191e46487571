# Step time against context: the whole step, its attention alone, and the slopes that theory gives attention.
if (!exists("experiment")) { experiment = "context"; headline = "One more token: the whole step (solid), its attention alone (dashed)" }
detail = ", one thread. Bars: 95 % interval of the median"
unit = "time (ms)"
load "plots/style.gp"
@decades
ms(i, metric, name) = of(i, metric, name) / 1e6
array end[2]
do for [i = 1:2] { stats summary using (ending(ms(i, "attention", "median_ns"))) nooutput; end[i] = STATS_max / 3 }
do for [i = 1:2] { set label "slope " . (3 - i) at last / 4, slope(end[i], 3 - i, last / 4.) offset 0, -0.8 textcolor rgb ink }
metric(k) = word("step attention", k) # solid and dashed
plot for [i = 1:2] [last / 16. : last] '+' using 1:(slope(end[i], 3 - i, $1)) with lines linecolor rgb faint linewidth 3, \
     for [k = 1:2] for [i = 1:2] summary using (column(axis)):(ms(i, metric(k), "ci_lo_ns")):(0):(ms(i, metric(k), "ci_hi_ns") - ms(i, metric(k), "ci_lo_ns")) @bars linestyle i, \
     for [k = 1:2] for [i = 1:2] summary using (column(axis)):(ms(i, metric(k), "median_ns")) with linespoints linestyle i dashtype k, \
     for [i = 1:2] summary using (column(axis)):(ending(ms(i, "step", "median_ns"))):(word(names, i)) @labels, 0.6 textcolor linestyle i
