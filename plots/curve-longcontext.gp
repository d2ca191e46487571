# The same for a model of few channels and a long context: there attention rules, and the whole step
# bends to its slope.
experiment = "longcontext"
headline = "A long context: whole step (solid), attention alone (dashed)"
detail = ", one thread. Bars: 95 % intervals"
unit = "time (ms)"
metrics = "step attention"
ends = "ns"
shown(v) = v / 1e6
powers = "2 1"
fine = 0
load "plots/curve.gp"
