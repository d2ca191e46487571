# Time against the number of layers: each costs the same, with and without a cache.
experiment = "layers"
axis = "layers"
headline = "One more token at 64, by number of layers"
detail = " to L=32, one thread. Bars: 95 % intervals"
unit = "step (ms)"
metrics = "step"
ends = "ns"
shown(v) = v / 1e6
powers = "1 1"
fine = 1
load "plots/curve.gp"
