# What a process holds beside the model, and what its rows, keys and values were counted to take:
# systems hand out memory in larger pieces.
experiment = "memory"
headline = "Memory beside the model: measured (solid), counted (dashed)"
detail = ", float32. Each point is a process of its own"
unit = "memory (MiB)"
load "plots/style.gp"
counts = read(results . "/curves/memory-counts.csv")
MiB(i, name) = of(i, "held", name) / 2.**20
plot for [i = 1:curves] counts using (column(axis)):(MiB(i, "bytes")) with lines linestyle i dashtype 2 notitle, \
     for [i = 1:curves] summary using (column(axis)):(MiB(i, "median_bytes")) with linespoints linestyle i title name_of(i), \
     for [i = 1:curves] summary using (column(axis)):(ending(MiB(i, "median_bytes"))):(at_right(i)) @labels, 0 textcolor linestyle i notitle
