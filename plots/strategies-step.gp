# One more token against the context, under each spec.
metric = "step_ns"
shown(v) = v / 1e6
headline = "One more token, by what is kept and how"
detail = ", one thread"
unit = "step (ms)"
load "plots/strategies-curve.gp"
