# The same tokens in another order: what changes stands first, or last.
summary = results . "/prefix-placement-summary.csv"
headline = "Time to the first token after 64 tokens have changed"
detail = ". Bars: 95 % interval of the median"
unit = "time to first token (ms)"
load "plots/style.gp"
unset logscale
set xlabel ""
set xrange [0.4 : curves + 0.6]
set xtics format "%s" ()
do for [i = 1:curves] { set xtics add (decoder[i] i) }
set ytics autofreq
set yrange [0:*]
set boxwidth 0.5
set style fill solid 0.4
set rmargin 4
ms(i, name) = of(i, "ttft", name) / 1e6
plot for [i = 1:curves] summary using (i):(ms(i, "median_ns")) with boxes linestyle i notitle, \
     for [i = 1:curves] summary using (i):(ms(i, "ci_lo_ns")):(0):(ms(i, "ci_hi_ns") - ms(i, "ci_lo_ns")) @bars linestyle i notitle, \
     for [i = 1:curves] summary using (i + 0.25):(ms(i, "median_ns")):(sprintf("%.3g ms", ms(i, "median_ns"))) @labels textcolor linestyle i notitle
