# Time to first token: the whole prompt is computed, so a cache cannot help yet and naive and
# kvcache lie on one line.
headline = "Time to the first token, by prompt length"
detail = ", one thread. Bars: 95 % interval of the median"
unit = "time to first token (ms)"
load "plots/style.gp"
set xlabel "prompt (tokens)"
ms(i, name) = of(i, "ttft", name) / 1e6
plot for [i = 1:curves] summary using "context":(ms(i, "ci_lo_ns")):(0):(ms(i, "ci_hi_ns") - ms(i, "ci_lo_ns")) @bars linestyle i notitle, \
     for [i = 1:curves] summary using "context":(ms(i, "median_ns")) with linespoints linestyle i dashtype i title name_of(i), \
     for [i = 1:curves] summary using "context":(ending(ms(i, "median_ns"))):(at_right(i)) @labels, (i == 1 ? 0.6 : -0.6) textcolor linestyle i notitle
