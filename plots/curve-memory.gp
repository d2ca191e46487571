# What a process holds beside the model, and what its rows, keys and values were counted to take:
# systems hand out memory in larger pieces.
experiment = "memory"
headline = "Memory beside the model: measured (solid), counted (dashed)"
detail = ", float32. Each point is a process of its own"
unit = "memory (MiB)"
load "plots/style.gp"
counts = results . "/curves/memory-counts.csv"
MiB(i, name) = of(i, "held", name) / 2.**20
plot for [i = 1:2] counts using (column(axis)):(MiB(i, "bytes")) with lines linestyle i dashtype 2, \
     for [i = 1:2] summary using (column(axis)):(MiB(i, "median_bytes")) with linespoints linestyle i, \
     for [i = 1:2] summary using (column(axis)):(ending(MiB(i, "median_bytes"))):(word(names, i)) @labels, 0 textcolor linestyle i
