# What all plots share: the look, and how they read build/results. The caller sets theme (light or
# dark), format (svg or png) and results (the folder of the CSVs), a script headline, detail and
# unit, and for an experiment of build/bench curves its name, experiment, and what its x axis
# counts, axis (or another CSV, summary), and where a picture needs it a height; the picture goes to
# standard output.
set datafile separator comma
set datafile missing NaN # rows of another curve do not break a line
if (!exists("axis")) { axis = "context" }
if (!exists("summary")) { summary = results . (exists("experiment") ? "/curves/" . experiment . "-summary.csv" : "/summary.csv") }
model = system("sed -n '2s/^\"\\([^\"]*\\)\".*\\|^\\([^,]*\\),.*/\\1\\2/p' '" . summary . "'") # quoted if there are commas in it

# gnuplot ends a field at its first comma, quoted or not: those in a name are drawn as low quotes.
commas(file) = "awk -F'\"' -v OFS='\"' '{ for (i = 2; i <= NF; i += 2) gsub(\",\", \"‚\", $i); print }' '" . file . "'"
read(file) = "< " . commas(file)
file = summary
summary = read(file)
memory = read(results . "/memory.csv")

# Okabe and Ito's colours, which every kind of colour vision tells apart; the point shapes say the
# same again.
dark = theme eq "dark"
paper = dark ? "#0d1117" : "#ffffff"
ink = dark ? "#e6edf3" : "#1f2328"
faint = dark ? "#30363d" : "#d8dee4"
if (!exists("height")) { height = 450 }
if (format eq "png") {
    set terminal pngcairo size 1600,2*height enhanced font "sans-serif,14" fontscale 2 linewidth 2 pointscale 2 background rgb paper
} else {
    set terminal svg size 800,height enhanced font "sans-serif,14" background rgb paper
}
set style line 1 linecolor rgb "#D55E00" linewidth 2 pointtype 7 pointsize 0.7                        # naive: discs
set style line 2 linecolor rgb (dark ? "#56B4E9" : "#0072B2") linewidth 2 pointtype 5 pointsize 0.6 # KV cache: squares
set border 3 linecolor rgb ink
set tics nomirror textcolor rgb ink scale 0.6,0
set grid xtics ytics linecolor rgb faint linewidth 1 linetype 1
set key off
set tmargin 4 # the headline stands there
set label "{/:Bold=16 " . headline . "}" at screen 0.02, screen 0.94 textcolor rgb ink
set label model . detail noenhanced at screen 0.02, screen 0.88 font "sans-serif,12" textcolor rgb ink
set xlabel (axis eq "context" ? "context (tokens)" : axis) textcolor rgb ink
set ylabel unit textcolor rgb ink

# Contexts are powers of two, except the last; values have tics at 1, 2, 5, 10, ... A little room
# around all points.
stats summary using (column(axis)) nooutput
last = STATS_max # the curves' names stand beside these points
set xrange [STATS_min / 1.15 : last * 1.15]
set logscale x 2
set logscale y 10
set xtics format "%.0f"
set ytics format "%g" ()
do for [power = -6:9] { do for [digit in "1 2 5"] { set ytics add (digit * 10**power) } }
set autoscale yfix
set offsets 0, 0, graph 0.06, graph 0.06

# The decoders, in the order of their rows: naive, then kvcache or others; and as names at the
# right, where what enhanced text would take for a sign stands behind a backslash. A name is a line,
# since it may hold spaces. More than two stand in a key instead. What a shell reads is the name of
# the file, and nothing that stands in it. Column `name` of the rows of a decoder and metric; NaN in
# all others.
listed = commas(file) . " | sed -E -n -f plots/decoders.sed | awk '!seen[$0]++'"
decoders = system(listed) . "\n"
names = system(listed . " | sed 's/[_{}^@&]/\\\\&/g'") . "\n"
array decoder[32]
array printed[32]
curves = 0
while (strlen(decoders) > 1 && curves < 32) {
    curves = curves + 1
    decoder[curves] = decoders[1 : strstrt(decoders, "\n") - 1]
    printed[curves] = names[1 : strstrt(names, "\n") - 1]
    decoders = decoders[strstrt(decoders, "\n") + 1 : *]
    names = names[strstrt(names, "\n") + 1 : *]
}
array colours[6] = [dark ? "#E69F00" : "#B8860B", "#009E73", "#CC79A7", dark ? "#A08CFF" : "#7B61D9", ink, "#888888"]
do for [i = 3:curves] { set style line i linecolor rgb colours[(i - 3) % 6 + 1] linewidth 2 pointtype 3 + 2 * i pointsize 0.7 }
name_length = curves == 2 ? strlen(decoder[2]) : 0
if (curves > 2) { set key top left Left reverse textcolor rgb ink samplen 2 }
name_of(i) = curves > 2 ? printed[i] : ""
at_right(i) = curves > 2 ? "" : printed[i]
set rmargin (name_length > 7 ? name_length + 4 : 11)
of(i, metric, name) = strcol("decoder") eq decoder[i] && strcol("metric") eq metric ? column(name) : NaN
ending(value) = column(axis) == last ? value : NaN

# Says on the picture how many of its samples a CPU quota has stopped: `throttled` of each row, by
# the first metric, since all metrics of a sample have the same.
of_first(name) = strcol("metric") eq first_metric ? column(name) : NaN
if (file[strlen(file) - 10 : *] eq "summary.csv") {
    first_metric = system("sed -E -n '2{s/^(\"([^\"]|\"\")*\"|[^,]*),(\"([^\"]|\"\")*\"|[^,]*),([^,]*).*/\\5/;p}' '" . file . "'")
    stats summary using (of_first("samples")) nooutput; taken = STATS_sum
    stats summary using (of_first("throttled")) nooutput; throttled = STATS_sum
    if (throttled > 0) { set label sprintf("%.0f of %.0f samples were taken while the CPU quota throttled the program: the times are bent", throttled, taken) at screen 0.02, screen 0.83 textcolor rgb "#CF222E" font "sans-serif,12"; set tmargin 5.5 }
}

# An interval is drawn from its lower end upwards, under line and points (`with yerrorbars` would
# blank the paper around a point).
bars = 'with vectors heads size screen 0.006, 90'
labels = 'with labels left offset 1'
