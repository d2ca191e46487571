# Naive step time over cached step time. A bar spans the worst and the best ratio that the intervals of both medians allow.
headline = "Speed-up of one step by the KV cache"
detail = ", one thread. Bars: from the 95 % intervals of both medians"
unit = "naive step / cached step"
load "plots/style.gp"
set ytics format "%g×"
array median[last]; array low[last]; array high[last] # naive's, by context
here(x) = int(column("context"))
keep(x) = (median[here(0)] = column("median_ns"), low[here(0)] = column("ci_lo_ns"), high[here(0)] = column("ci_hi_ns"))
stats summary using (of(1, "step", "median_ns") > 0 ? keep(0) : NaN) nooutput
ratio(x) = median[here(0)] / of(2, "step", "median_ns")
worst(x) = low[here(0)] / of(2, "step", "ci_hi_ns")
best(x) = high[here(0)] / of(2, "step", "ci_lo_ns")
plot summary using "context":(worst(0)):(0):(best(0) - worst(0)) @bars linestyle 2, \
     summary using "context":(ratio(0)) with linespoints linestyle 2, \
     summary using "context":(ending(ratio(0))):(sprintf("%.3g×", ratio(0))) @labels, 0 textcolor linestyle 2
