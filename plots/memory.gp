# Memory that grows with the context: what the cached decoder keeps, and what the naive one needs
# while it recomputes all rows.
headline = "Memory that grows with the context"
detail = ", float32"
unit = "memory (MiB)"
load "plots/style.gp"
MiB(i) = column(i == 1 ? "naive_activation_bytes" : "kv_bytes") / 2**20
stats memory using (ending(MiB(1) - MiB(2))) nooutput
naive_up = STATS_max > 0 ? 0.4 : -0.4 # names a little apart: the curves may be close
curve(i) = i == 1 ? "naive's rows" : "KV cache"
plot for [i = 1:2] memory using "context":(MiB(i)) with linespoints linestyle i, \
     for [i = 1:2] memory using "context":(ending(MiB(i))):(curve(i)) @labels, (i == 1 ? naive_up : -naive_up) textcolor linestyle i
