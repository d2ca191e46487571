# What all plots share: the look, and how they read build/results. The caller sets theme (light or
# dark), format (svg or png) and results (the folder of the CSVs), a script headline, detail and
# unit, and for an experiment of build/bench curves its name, experiment, and what its x axis
# counts, axis (or another CSV, summary); the picture goes to standard output.
set datafile separator comma
set datafile missing NaN # rows of another curve do not break a line
if (!exists("axis")) { axis = "context" }
if (!exists("summary")) { summary = results . (exists("experiment") ? "/curves/" . experiment . "-summary.csv" : "/summary.csv") }
memory = results . "/memory.csv"
model = system("sed -n '2s/^\"\\([^\"]*\\)\".*\\|^\\([^,]*\\),.*/\\1\\2/p' " . summary) # quoted if there are commas in it

# Okabe and Ito's colours, which every kind of colour vision tells apart; the point shapes say the
# same again.
dark = theme eq "dark"
paper = dark ? "#0d1117" : "#ffffff"
ink = dark ? "#e6edf3" : "#1f2328"
faint = dark ? "#30363d" : "#d8dee4"
if (format eq "png") {
    set terminal pngcairo size 1600,900 enhanced font "sans-serif,14" fontscale 2 linewidth 2 pointscale 2 background rgb paper
} else {
    set terminal svg size 800,450 enhanced font "sans-serif,14" background rgb paper
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
# right, where _ alone, or behind one backslash, is a subscript. More than two stand in a key
# instead. Column `name` of the rows of a decoder and metric; NaN in all others.
decoders = system("sed -E -n -f plots/decoders.sed '" . summary . "' | awk '!seen[$0]++'")
names = system("echo '" . decoders . "' | sed 's/_/\\\\_/g'")
curves = words(decoders)
array colours[6] = [dark ? "#E69F00" : "#B8860B", "#009E73", "#CC79A7", faint, ink, "#999999"]
do for [i = 3:curves] { set style line i linecolor rgb colours[(i - 3) % 6 + 1] linewidth 2 pointtype 3 + 2 * i pointsize 0.7 }
name_length = curves > 2 ? 0 : strlen(word(decoders, 2))
if (curves > 2) { set key top left Left reverse textcolor rgb ink samplen 2 }
name_of(i) = curves > 2 ? word(names, i) : ""
at_right(i) = curves > 2 ? "" : word(names, i)
set rmargin (name_length > 7 ? name_length + 4 : 11)
of(i, metric, name) = strcol("decoder") eq word(decoders, i) && strcol("metric") eq metric ? column(name) : NaN
ending(value) = column(axis) == last ? value : NaN

# An interval is drawn from its lower end upwards, under line and points (`with yerrorbars` would
# blank the paper around a point).
bars = 'with vectors heads size screen 0.006, 90'
labels = 'with labels left offset 1'
