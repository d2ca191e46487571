# All in all: how long a user waits for n tokens.
experiment = "generate"
axis = "tokens"
headline = "Time to generate n tokens, from the first to the last"
detail = ", one thread. Bars: 95 % intervals"
unit = "total (s)"
metrics = "total"
ends = "ns"
shown(v) = v / 1e9
powers = "2 1"
fine = 0
load "plots/curve.gp"
