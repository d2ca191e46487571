# What a byte buys: bytes of keys and values a token against the divergence from plain, a point for
# each spec. Specs that lose nothing have no place on a logarithmic axis: they lie on its floor.
axis = "bytes_per_token"
summary = results . "/strategies.csv"
headline = "Bytes of keys and values, and what is lost for them"
detail = ". Further left and lower is better; 0: nothing is lost"
unit = "KL divergence from plain (nats)"
height = 560
load "plots/style.gp"
array bytes[64]; array kl[64]; array name[64]; array kind[64]
has(spec, word) = strstrt(spec, word) > 0
named(d) = d eq "kvcache" ? "plain" : has(d, "kvcache:") ? d[9:*] : d
# By colour: numbers get narrower (2), rows leave a window (1) or by attention (3), both (4), nothing is lost (5).
drops(spec) = has(spec, "window:") ? 1 : has(spec, "heavy:") ? 3 : 0
kind_of(spec, kl) = kl < 1e-12 ? 5 : drops(spec) && has(spec, "‚") ? 4 : drops(spec) ? drops(spec) : 2
n = 0
stats summary using (n = n + 1, name[n] = named(decoder[n]), bytes[n] = column("bytes_per_token"), kl[n] = column("kl_mean"), kind[n] = kind_of(name[n], kl[n]), kl[n] < 1e-12 ? NaN : kl[n]) nooutput
floor_kl = 10**(floor(log10(STATS_min)) - 1)
do for [i = 1:n] { if (kind[i] == 5) { kl[i] = floor_kl } }

# Where rows leave, much is lost, and the points crowd: their names stand above, the leftmost
# highest, so that no line to a point crosses a name.
above(i) = kl[i] > 0.03
array rank[64]
n_above = 0
do for [i = 1:n] { n_above = n_above + above(i) }
do for [i = 1:n] { rank[i] = 0; do for [j = 1:n] { if (above(j) && (bytes[j] > bytes[i] || (bytes[j] == bytes[i] && j > i))) { rank[i] = rank[i] + 1 } } }
level(i) = 10**(0.6 + 0.75 * rank[i])
style_of(k) = k == 5 ? 8 : k == 4 ? 4 : k
set style line 8 linecolor rgb ink linewidth 2 pointtype 13
do for [i = 1:n] {
    if (above(i)) { set arrow from bytes[i], kl[i] to bytes[i], level(i) nohead linecolor rgb faint linewidth 1 back
                    set label name[i] at bytes[i], level(i) left offset 0.3, 0 font "sans-serif,11" noenhanced textcolor linestyle style_of(kind[i])
    } else { set label name[i] at bytes[i], kl[i] left offset 0.9, 0 font "sans-serif,11" noenhanced textcolor linestyle style_of(kind[i]) }
}
set key off
set rmargin 3
set xlabel "bytes of keys and values a token, with 1024 tokens of context" textcolor rgb ink
set logscale x 2
stats summary using (column(axis)) nooutput
set xrange [STATS_min / 1.3 : STATS_max * 1.7]
set xtics format "%.0f"
unset ytics
set ytics nomirror textcolor rgb ink scale 0.6,0 ("0" floor_kl)
do for [power = -12:0] { if (10**power > floor_kl) { set ytics add (sprintf("10^{%d}", power) 10**power) } }
set yrange [floor_kl / 3 : 10**(0.6 + 0.75 * n_above)]
set offsets 0, 0, 0, 0
plot for [i = 1:n] '+' using (bytes[i]):(kl[i]) every ::0::0 with points linestyle style_of(kind[i]) pointsize 0.8 notitle
