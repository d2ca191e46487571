# Naive step time over cached step time. A bar spans the worst and the best ratio that the intervals
# of both medians allow.
headline = "Speed-up of one step by the KV cache"
detail = ", one thread. Bars: from the 95 % intervals of both medians"
unit = "naive step / cached step"
load "plots/style.gp"
set ytics format "%g×"
array median[last]; array low[last]; array high[last] # naive's, by context
here(x) = int(column("context"))
keep(x) = (median[here(0)] = column("median_ns"), low[here(0)] = column("ci_lo_ns"), high[here(0)] = column("ci_hi_ns"))
stats summary using (of(1, "step", "median_ns") > 0 ? keep(0) : NaN) nooutput
ratio(i) = median[here(0)] / of(i, "step", "median_ns")
worst(i) = low[here(0)] / of(i, "step", "ci_hi_ns")
best(i) = high[here(0)] / of(i, "step", "ci_lo_ns")
plot for [i = 2:curves] summary using "context":(worst(i)):(0):(best(i) - worst(i)) @bars linestyle i notitle, \
     for [i = 2:curves] summary using "context":(ratio(i)) with linespoints linestyle i title name_of(i), \
     for [i = 2:curves] summary using "context":(ending(ratio(i))):(curves > 2 ? "" : sprintf("%.3g×", ratio(i))) @labels, 0 textcolor linestyle i notitle
