# What strategies-step.gp and strategies-memory.gp share: a curve for each spec over the contexts of
# the last model, the one with the longest context. A script sets metric, shown(v), which turns a
# value into what is drawn, headline, detail and unit.
summary = results . "/strategies-summary.csv"
height = 560
load "plots/style.gp"
last_model = system(commas(file) . " | sed -E -n '$s/^\"([^\"]*)\".*|^([^,]*),.*/\\1\\2/p'")
set label 2 system("sed -E -n '$s/^\"([^\"]*)\".*|^([^,]*),.*/\\1\\2/p' '" . file . "'") . detail noenhanced
of_spec(i, name) = strcol("model") eq last_model && strcol("decoder") eq decoder[i] && strcol("metric") eq metric ? shown(column(name)) : NaN
spec(d) = d eq "kvcache" ? "plain" : strstrt(d, "kvcache:") ? d[9:*] : d
set rmargin at screen 0.71
set key at screen 0.73, screen 0.84 left top Left reverse textcolor rgb ink samplen 2 font "sans-serif,11" noenhanced
do for [i = 1:curves] { set style line i pointtype 4 + i % 10 pointsize 0.6 }
stats summary using (strcol("model") eq last_model ? column(axis) : NaN) nooutput
set xrange [STATS_min / 1.15 : STATS_max * 1.15]
plot for [i = 1:curves] summary using (column(axis)):(of_spec(i, "median_value")) with linespoints linestyle i dashtype 1 + (i > 8) title spec(decoder[i])
