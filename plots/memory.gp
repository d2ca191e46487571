# Memory that grows with the context: what each cached decoder keeps, and what the naive one needs
# while it recomputes all rows.
headline = "Memory that grows with the context"
detail = ", float32 unless a decoder's name says otherwise"
unit = "memory (MiB)"
load "plots/style.gp"
MiB(i) = strcol("decoder") eq decoder[i] ? column(i == 1 ? "naive_activation_bytes" : "kv_bytes") / 2**20 : NaN
array end[curves]
do for [i = 1:curves] { stats memory using (ending(MiB(i))) nooutput; end[i] = STATS_max }
naive_up = curves > 1 && end[1] > end[2] ? 0.4 : -0.4 # names a little apart: the curves may be close
called(i) = i == 1 ? "naive's rows" : curves > 2 ? printed[i] : "KV cache"
plot for [i = 1:curves] memory using "context":(MiB(i)) with linespoints linestyle i title (curves > 2 ? called(i) : ""), \
     for [i = 1:curves] memory using "context":(ending(MiB(i))):(curves > 2 ? "" : called(i)) @labels, (i == 1 ? naive_up : -naive_up) textcolor linestyle i notitle
