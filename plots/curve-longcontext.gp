# The same for a model of few channels and a long context: there attention rules, and the whole step bends to its slope.
experiment = "longcontext"
headline = "A long context: the step (solid) bends to its attention (dashed)"
load "plots/curve-context.gp"
