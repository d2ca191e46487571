# Rows that a file has kept, beside the same rows computed.
summary = results . "/snapshot-summary.csv"
headline = "Time until the rows are there, by what a file has kept"
detail = ", one thread. Bars: 95 % interval of the median"
unit = "time (ms)"
load "plots/style.gp"
set xlabel "rows (tokens)"
set rmargin 20
set key off
ms(i, name) = of(i, "rows", name) / 1e6
beside(i) = decoder[i] eq "hidden" ? -0.6 : decoder[i] eq "hidden‚ from disk" ? 0.6 : 0
plot for [i = 1:curves] summary using "context":(ms(i, "ci_lo_ns")):(0):(ms(i, "ci_hi_ns") - ms(i, "ci_lo_ns")) @bars linestyle i notitle, \
     for [i = 1:curves] summary using "context":(ms(i, "median_ns")) with linespoints linestyle i notitle, \
     for [i = 1:curves] summary using "context":(ending(ms(i, "median_ns"))):(printed[i]) @labels, beside(i) textcolor linestyle i notitle
