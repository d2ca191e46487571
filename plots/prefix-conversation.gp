# What a conversation costs whose every request sends the whole history again: all requests
# together, by turns.
summary = results . "/prefix-conversation-summary.csv"
axis = "turns"
headline = "Time of all requests of a conversation, by turns"
detail = ", 32 tokens a turn. Bars: 95 % intervals. Grey: slope 2 and 1"
unit = "all requests (s)"
load "plots/style.gp"
s(i, name) = of(i, "total", name) / 1e9
array end[curves]
do for [i = 1:curves] { stats summary using (ending(s(i, "median_ns"))) nooutput; end[i] = STATS_max }
steep(i, n) = end[i] * (n / last)**(3 - i)
label_of(i) = decoder[i] eq "with" ? "prompt cache" : "no cache"
set rmargin 15
plot for [i = 1:curves] [last / 8. : last] '+' using 1:(steep(i, $1)) with lines linecolor rgb faint linewidth 8 notitle, \
     for [i = 1:curves] summary using (column(axis)):(s(i, "ci_lo_ns")):(0):(s(i, "ci_hi_ns") - s(i, "ci_lo_ns")) @bars linestyle i notitle, \
     for [i = 1:curves] summary using (column(axis)):(s(i, "median_ns")) with linespoints linestyle i notitle, \
     for [i = 1:curves] summary using (column(axis)):(ending(s(i, "median_ns"))):(label_of(i)) @labels, 0 textcolor linestyle i notitle
