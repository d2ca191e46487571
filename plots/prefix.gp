# Hits over capacity when a trace is replayed, beside the ten points of Mooncake's Figure 9.
axis = "tokens"
summary = results . "/prefix-trace.csv"
headline = "Prompt cache: blocks found again, by capacity"
detail = ""
unit = "hits (% of full blocks)"
load "plots/style.gp"
set label 2 "Mooncake's synthetic trace: 3,993 requests, blocks of 512 tokens; LRU" noenhanced
set logscale x 10
set xtics format "10^{%T}"
set xlabel "capacity (tokens)" textcolor rgb ink
unset logscale y
set ytics auto
set yrange [0:70]
set offsets 0, 0, 0, 0
set key top left Left reverse textcolor rgb ink samplen 2
plot summary using "tokens":(100 * column("last_to_first")) with linespoints linestyle 2 title "replayed, touched last to first", \
     summary using "tokens":(100 * column("first_to_last")) with linespoints linestyle 3 title "replayed, touched first to last", \
     summary using "tokens":(100 * column("figure9")) with points linestyle 1 pointsize 1.2 title "published: Figure 9, FAST '25"
