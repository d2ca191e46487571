# The same seen the other way round: how fast text comes.
experiment = "throughput"
headline = "Tokens per second, by context"
detail = ", one thread. Bars: 95 % intervals"
unit = "tokens per second"
metrics = "tpot"
ends = "ns"
shown(v) = 1e9 / v
powers = ""
fine = 1
load "plots/curve.gp"
