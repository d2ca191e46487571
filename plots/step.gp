# Time of the one step that extends a context: what a KV cache changes. Straight lines on these axes
# are powers of the context.
headline = "Time to generate one more token, by context"
detail = ", one thread. Bars: 95 % interval of the median"
unit = "one step (ms)"
load "plots/style.gp"
ms(i, name) = of(i, "step", name) / 1e6
plot for [i = 1:curves] summary using "context":(ms(i, "ci_lo_ns")):(0):(ms(i, "ci_hi_ns") - ms(i, "ci_lo_ns")) @bars linestyle i notitle, \
     for [i = 1:curves] summary using "context":(ms(i, "median_ns")) with linespoints linestyle i title name_of(i), \
     for [i = 1:curves] summary using "context":(ending(ms(i, "median_ns"))):(at_right(i)) @labels, 0 textcolor linestyle i notitle
