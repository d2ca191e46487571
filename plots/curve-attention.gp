# Attention alone: the part of a step that is O(t^2) without a cache, and O(t) with one.
experiment = "attention"
headline = "Attention of one more token, alone"
detail = ", one thread. Bars: 95 % intervals"
unit = "time (ms)"
metrics = "attention"
ends = "ns"
shown(v) = v / 1e6
powers = "2 1"
fine = 0
load "plots/curve.gp"
