# What a prompt costs of which a part is cached: that of the rows that are left.
summary = results . "/prefix-shares.csv"
axis = "cached"
headline = "Time to the first token, by the cached share of the prompt"
detail = ". Bars: 95 % interval of the median"
unit = "time to first token (ms)"
load "plots/style.gp"
# A curve for each of the longest prompts, from memory; beside the end of the longest, what comes from elsewhere.
lengths = system(commas(file) . " | sed 1d | cut -d, -f3 | uniq | tail -n 4")
unset logscale x
set xlabel "cached (%)"
set xrange [0:100]
set xtics autofreq
set rmargin 15
share = 'column("cached") / column("context") * 100'
ms(n, name) = column("context") == n && strcol("decoder") eq "in memory" ? column(name) / 1e6 : NaN
else(i) = column("context") == n_last && strcol("decoder") eq decoder[i] ? column("median_ns") / 1e6 : NaN
n_last = word(lengths, words(lengths)) + 0
set key bottom left Left reverse textcolor rgb ink samplen 2
plot for [n in lengths] summary using (@share):(ms(n + 0, "ci_lo_ns")):(0):(ms(n + 0, "ci_hi_ns") - ms(n + 0, "ci_lo_ns")) @bars linestyle 2 notitle, \
     for [n in lengths] summary using (@share):(ms(n + 0, "median_ns")) with linespoints linestyle 2 notitle, \
     for [n in lengths] summary using (@share):(column("cached") == 0 ? ms(n + 0, "median_ns") : NaN):(n . " tokens") with labels left offset 1,0.8 textcolor linestyle 2 notitle, \
     for [i = 2:curves] summary using (@share):(else(i)) with points linestyle (i == 2 ? 1 : i) title decoder[i]
