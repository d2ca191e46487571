# The whole step, and its attention alone: in a model as it is used, the linear layers hide the
# slopes of attention.
experiment = "context"
headline = "One more token: whole step (solid), attention alone (dashed)"
detail = ", one thread. Bars: 95 % intervals"
unit = "time (ms)"
metrics = "step attention"
ends = "ns"
shown(v) = v / 1e6
powers = "2 1"
fine = 0
load "plots/curve.gp"
