# Where attention overtakes the linear layers: each decoder's two parts cross.
experiment = "crossover"
headline = "Linear layers (solid) and attention (dashed) of one step"
detail = ", one thread. Bars: 95 % intervals"
unit = "time (ms)"
metrics = "linear attention"
ends = "ns"
shown(v) = v / 1e6
powers = ""
fine = 0
load "plots/curve.gp"
